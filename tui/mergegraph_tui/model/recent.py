"""The recipes that were open before, by their paths: a list in `$XDG_STATE_HOME/mergegraph/recent.json`."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from mergegraph_tui.model.autosave import state_folder
from mergegraph_tui.model.files import from_home, write_text

_MOST_RECENT = 30


def remember(path: Path) -> None:
    """The recipe at `path` was opened or saved. Where that cannot be kept, nothing happens."""
    there = [path.absolute(), *(each for each in recent() if each != path.absolute())][:_MOST_RECENT]
    with suppress(OSError):
        _file().parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_text(_file(), json.dumps([str(each) for each in there], indent=1), 0o600)


def recent() -> tuple[Path, ...]:
    """The recipes that were open before, the newest first; some may be gone."""
    try:
        kept: Any = json.loads(_file().read_text("utf-8"))
        return tuple(Path(str(each)) for each in kept)
    except (OSError, ValueError, TypeError):
        return ()


def short(path: Path, folder: Path) -> str:
    """A path as it is said: from `folder` where it is below, else from the home folder, else whole."""
    with suppress(ValueError):
        return str(path.absolute().relative_to(folder.absolute()))
    return from_home(path)


def _file() -> Path:
    return state_folder().parent / "recent.json"
