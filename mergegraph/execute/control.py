"""Stopping and pausing a run from outside: a flag for signals, a file for other processes.

Both are looked at between tiles: running tiles finish. A second SIGINT or SIGTERM interrupts whatever else the run is
at, and ends it in the same way.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from mergegraph.tensors.sources.retry import hurry

_PAUSE_POLL_SECONDS = 0.1


class Control:
    """`stop(signum)` asks the run to end; `pause_file`, while it exists, makes workers wait."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.pause_files: tuple[Path, ...] = ()
        self._stop = threading.Event()
        self._failed = threading.Event()
        self._looked = 0.0
        self._paused = False

    @property
    def stopping(self) -> bool:
        """Whether workers should end: somebody asked, or another worker failed."""
        return self._stop.is_set() or self._failed.is_set()

    @property
    def paused(self) -> bool:
        """Whether a pause file exists; the file system is asked ten times a second, not once a tensor."""
        now = time.monotonic()
        if now - self._looked >= _PAUSE_POLL_SECONDS:
            self._looked = now
            self._paused = any(path.exists() for path in self.pause_files)
        return self._paused

    def begin(self, pause_files: tuple[Path, ...]) -> None:
        """Ready for a run: an earlier failure is forgotten, and so is a pause that was left behind."""
        self._failed.clear()
        hurry(False)
        for path in pause_files:
            path.unlink(missing_ok=True)
        self.pause_files = pause_files

    def stop(self, signum: int = signal.SIGINT) -> None:
        self.signal = signum
        self._stop.set()
        hurry(True)

    def fail(self) -> None:
        """A worker failed; the others end after their tile."""
        self._failed.set()

    def wait_while_paused(self) -> None:
        while self.paused and not self.stopping:
            self._stop.wait(_PAUSE_POLL_SECONDS)


@contextmanager
def stop_on_signals(control: Control) -> Generator[None]:
    """SIGINT and SIGTERM ask `control` to stop while the block runs; only in the main thread, where they arrive."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(signum: int, frame: FrameType | None) -> None:
        if control.signal is not None:
            raise KeyboardInterrupt
        control.stop(signum)

    previous = {signum: signal.signal(signum, ask) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
