"""Trying again where a server may answer the next time: what is worth it, how long to wait, when to stop.

Tried again: 408, 429 and 5xx, a connection that is refused, reset or silent, a body that ends early. Never tried again:
an answer that stays what it is (401, 403, 404, 412, 416).
"""

from __future__ import annotations

import email.utils
import random
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from mergegraph.tensors.sources.traffic import count

MOST_RETRIES = 5
MOST_SECONDS_ASKED = 330.0
"""The Hub counts requests in windows of 300 seconds."""

_FIRST_SECONDS = 0.5
_LONGEST_SECONDS = 30.0
_RETRIED = frozenset((408, 425, 429, 500, 502, 503, 504))
_RATE_LIMIT = re.compile(r'"[\w-]+"\s*;\s*r\s*=\s*(?P<left>\d+)\s*;\s*t\s*=\s*(?P<seconds>\d+)')

T = TypeVar("T")

_hurry = threading.Event()


class Passing(Exception):
    """A failure that may pass. `wait_seconds`: how long the server asks to wait, if it does."""

    def __init__(self, what: str, wait_seconds: float | None = None) -> None:
        super().__init__(what)
        self.what, self.wait_seconds = what, wait_seconds


class Lasting(Exception):
    """An answer that will be the same the next time. `status` is 0 where it is no status that is wrong."""

    def __init__(self, what: str, status: int = 0) -> None:
        super().__init__(what)
        self.what, self.status = what, status


class GaveUp(Exception):
    """Every try failed; `what` is the last failure."""

    def __init__(self, what: str, tries: int) -> None:
        super().__init__(what)
        self.what, self.tries = what, tries


def retrying(server: str, attempt: Callable[[], T]) -> T:
    """What `attempt` gives, tried again after a `Passing` failure. GaveUp after the last; other exceptions pass."""
    for tried in range(MOST_RETRIES + 1):
        try:
            return attempt()
        except Passing as failure:
            if tried == MOST_RETRIES or _hurry.is_set():
                raise GaveUp(failure.what, tried + 1) from failure
            count(server, repeated=1)
            _hurry.wait(_seconds(tried, failure.wait_seconds))
    raise AssertionError("unreachable")


def hurry(wanted: bool) -> None:
    """Somebody wants the process to end: nothing is waited for, nor tried again."""
    _hurry.set() if wanted else _hurry.clear()


def is_passing(status: int) -> bool:
    """Whether a status may be another one the next time."""
    return status in _RETRIED or status > 504


def asked_to_wait(headers: Mapping[str, str]) -> float | None:
    """The seconds that `Retry-After` (a number or a date) or the Hub's `RateLimit` asks for; headers in any case."""
    known = {name.lower(): value for name, value in headers.items()}
    if (after := known.get("retry-after", "").strip()) != "":
        return _after(after)
    limit = _RATE_LIMIT.search(known.get("ratelimit", ""))
    return float(limit["seconds"]) if limit and limit["left"] == "0" else None


def _after(text: str) -> float | None:
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _seconds(tried: int, asked: float | None) -> float:
    """Half of it at random, so that many workers do not come back at once."""
    if asked is not None:
        return min(asked, MOST_SECONDS_ASKED) + random.uniform(0, 0.25)
    return min(_FIRST_SECONDS * 2**tried, _LONGEST_SECONDS) * random.uniform(0.5, 1.0)
