"""What Ray says of itself, kept apart from what the command says.

Threads of Ray print to the driver's own streams, warnings of 800 characters to stdout among them (2.60), whatever it is
told of logging; whoever reads JSON there, or asked for quiet, wants none of it.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

_SHOWN = 200
_KEPT = 20
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


class RaySaid:
    """The last of what Ray said, each line shortened."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_KEPT)

    def add(self, text: str) -> None:
        self._lines.extend([line for each in text.splitlines() if (line := _ESCAPES.sub("", each).strip()[:_SHOWN])])

    @property
    def last(self) -> str:
        """What it said last; empty where it said nothing."""
        return self._lines[-1] if self._lines else ""


class _OfOneThread:
    """A stream for the thread that made this; what others write goes elsewhere."""

    def __init__(self, stream: Any, said: RaySaid) -> None:
        self._stream, self._said, self._thread = stream, said, threading.get_ident()

    def write(self, text: str) -> int:
        if threading.get_ident() == self._thread:
            return self._stream.write(text)
        self._said.add(text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Heard(logging.Handler):
    def __init__(self, said: RaySaid) -> None:
        super().__init__(logging.WARNING)
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        self._said.add(record.getMessage())


@contextmanager
def kept_apart() -> Generator[RaySaid]:
    """Within the block, only the thread that entered it writes to stdout and stderr."""
    said, logger = RaySaid(), logging.getLogger("ray")
    streams, heard, propagated = (sys.stdout, sys.stderr), _Heard(said), logger.propagate
    stdout: Any = _OfOneThread(sys.stdout, said)
    stderr: Any = _OfOneThread(sys.stderr, said)
    sys.stdout, sys.stderr, logger.propagate = stdout, stderr, False
    logger.addHandler(heard)
    try:
        yield said
    finally:
        logger.removeHandler(heard)
        sys.stdout, sys.stderr = streams
        logger.propagate = propagated
