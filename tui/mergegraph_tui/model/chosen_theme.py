"""The theme that the user chose last: one word in `$XDG_STATE_HOME/mergegraph/theme`.

What is there counts only where it is the name of a theme. Where it cannot be kept, the next start has the usual one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from mergegraph_tui.model.autosave import state_folder
from mergegraph_tui.model.files import read_text, write_text

_PRIVATE = 0o600
_one_writes = threading.Lock()


def chosen_theme(themes: Collection[str]) -> str | None:
    """The name of the theme; None where none of `themes` was chosen."""
    found = read_text(_file())
    name = found[0].strip() if isinstance(found, tuple) else ""
    return name if name in themes else None


def keep_theme(newest: Callable[[], str]) -> None:
    """Keep the theme that is the newest when it is written; for a thread, since a disk may be busy with a merge."""
    with _one_writes, suppress(OSError):
        _file().parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_text(_file(), f"{newest()}\n", _PRIVATE)


def _file() -> Path:
    return state_folder().parent / "theme"
