"""Keeps the unsaved text from a thread of its own: a disk that is busy with a merge must not hold up keys."""

from __future__ import annotations

import threading
from pathlib import Path

from mergegraph_tui.model.autosave import Autosave

_MOST_SECONDS = 2.0


class Keeper:
    """The newest of what it is told counts; what a newer one overtook is never written."""

    def __init__(self, folder: Path | None = None) -> None:
        self._autosave = Autosave(folder)
        self._changed = threading.Condition()
        self._wanted: tuple[Path | None, str] | None = None
        self._is_new = self._is_busy = self._is_closed = False
        self._thread: threading.Thread | None = None

    def keep(self, path: Path | None, text: str) -> None:
        """Keep `text` as the unsaved one of the recipe at `path`."""
        self._want((path, text))

    def discard(self) -> None:
        """There is nothing unsaved any more."""
        if self._thread is not None:
            self._want(None)

    def wait(self, seconds: float = _MOST_SECONDS) -> bool:
        """Until the last wish is fulfilled; False where that takes longer."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._is_new and not self._is_busy, seconds)

    def close(self, *, discard: bool) -> None:
        """End the thread. What is kept stays, to be offered the next time, unless it is to be discarded."""
        if discard:
            self.discard()
        self.wait()
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _want(self, wanted: tuple[Path | None, str] | None) -> None:
        with self._changed:
            self._wanted, self._is_new = wanted, True
            self._changed.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="keeper", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._is_busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._is_new or self._is_closed)
                if not self._is_new:
                    return
                wanted, self._is_new, self._is_busy = self._wanted, False, True
            if wanted is None:
                self._autosave.discard()
            else:
                self._autosave.keep(*wanted)
