"""Texts are checked in the background: in a thread that always takes the newest one.

A text that a newer one overtook is never looked at. What checks is imported there too, with the first text.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mergegraph_tui.model.checked import Checked

if TYPE_CHECKING:
    from mergegraph_tui.model.headers import Headers


class Checker:
    """Checks texts in a thread of its own. `on_checked` is called there with every result, newest text last."""

    def __init__(self, on_checked: Callable[[Checked], None] = lambda checked: None) -> None:
        self._on_checked = on_checked
        self._changed = threading.Condition()
        self._waiting: tuple[str, Path | None, Path | None] | None = None
        self._is_busy = self._is_closed = False
        self._newest: Checked | None = None
        self._thread = threading.Thread(target=self._work, name="checker", daemon=True)
        self._thread.start()

    @property
    def newest(self) -> Checked | None:
        """The last result; None before the first. Its `text` says what it is about."""
        return self._newest

    def submit(self, text: str, path: Path | None = None, folder: Path | None = None) -> None:
        """Check `text` next; one that still waits is dropped."""
        with self._changed:
            self._waiting = (text, path, folder)
            self._changed.notify_all()

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Until nothing is left to check; False where that takes longer."""
        with self._changed:
            return self._changed.wait_for(lambda: self._waiting is None and not self._is_busy, timeout_seconds)

    def close(self) -> None:
        """End the thread after what it is doing. Does not wait for it."""
        with self._changed:
            self._is_closed, self._waiting = True, None
            self._changed.notify_all()

    def _work(self) -> None:
        headers: Headers | None = None
        while True:
            with self._changed:
                self._is_busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting is not None or self._is_closed)
                if self._waiting is None:
                    return
                (text, path, folder), self._waiting, self._is_busy = self._waiting, None, True
            from mergegraph_tui.model.checking import check_text
            from mergegraph_tui.model.headers import Headers

            headers = headers or Headers()
            self._newest = checked = check_text(text, path, folder=folder, headers=headers)
            self._on_checked(checked)
