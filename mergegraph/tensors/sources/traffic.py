"""How much was asked of every server, and how much came: bytes of bodies, not of headers. Of this process."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Traffic:
    """`requests` counts every attempt, `repeated` those that followed a failure."""

    requests: int = 0
    body_bytes: int = 0
    repeated: int = 0


_lock = threading.Lock()
_by_server: dict[str, Traffic] = {}


def count(server: str, *, body_bytes: int = 0, requests: int = 0, repeated: int = 0) -> None:
    """Add to a server's counts."""
    with _lock:
        known = _by_server.get(server, Traffic())
        _by_server[server] = replace(
            known,
            requests=known.requests + requests,
            body_bytes=known.body_bytes + body_bytes,
            repeated=known.repeated + repeated,
        )


def traffic() -> Mapping[str, Traffic]:
    """The counts so far, by server: a host, or the bucket of an object store."""
    with _lock:
        return dict(_by_server)
