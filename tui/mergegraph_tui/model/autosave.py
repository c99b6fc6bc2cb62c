"""Unsaved text, kept where a crash does not take it: in the state folder of the user, never beside the recipe.

`$XDG_STATE_HOME/mergegraph/unsaved/` (by default `~/.local/state/…`) has a file for each document that an interface
has open and unsaved, readable by its user alone. A lock on a file beside it says that the interface still lives; what
nobody holds is offered when the recipe is opened again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergegraph_tui.model.files import write_text

_PRIVATE = 0o600


@dataclass(frozen=True, slots=True)
class Recovered:
    """Text that was never saved. `path` is the recipe's, None for one without a file; `kept_in` where it is kept."""

    path: Path | None
    text: str
    kept_in: Path


def state_folder() -> Path:
    """Where unsaved texts are kept."""
    named = os.environ.get("XDG_STATE_HOME", "")
    root = Path(named) if Path(named).is_absolute() else Path.home() / ".local" / "state"
    return root / "mergegraph" / "unsaved"


class Autosave:
    """The unsaved text of one document, from `keep` to `discard`. Nothing here raises: it is a second line only."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or state_folder()
        self._lock: int | None = None
        self._file: Path | None = None

    def keep(self, path: Path | None, text: str) -> bool:
        """Keep `text` as the unsaved one of the recipe at `path`; False where that cannot be done."""
        wanted = self.folder / f"{_key(path)}-{os.getpid()}-{id(self):x}.json"
        if self._file != wanted:
            self.discard()
            if not self._hold(wanted):
                return False
        written = json.dumps({"path": str(path.absolute()) if path else None, "text": text})
        return write_text(wanted, written, _PRIVATE) is None

    def discard(self) -> None:
        """There is nothing unsaved any more."""
        file, lock = self._file, self._lock
        self._file = self._lock = None
        if file is not None:
            _remove(file)
        if lock is not None:
            os.close(lock)

    def _hold(self, file: Path) -> bool:
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(_lock_of(file), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        self._file = file
        return True


def recoverable(path: Path | None = None, folder: Path | None = None) -> tuple[Recovered, ...]:
    """What was never saved of the recipe at `path` (of recipes without a file where it is None), newest first."""
    found: list[tuple[int, Recovered]] = []
    with contextlib.suppress(OSError):
        for file in (folder or state_folder()).glob(f"{_key(path)}-*.json"):
            kept = None if _is_held(file) else _read(file)
            if kept is not None and kept.path == (path.absolute() if path else None):
                found.append((file.stat().st_mtime_ns, kept))
    return tuple(kept for _, kept in sorted(found, key=lambda each: each[0], reverse=True))


def forget(kept: Recovered) -> None:
    """The text was taken over, or is not wanted."""
    _remove(kept.kept_in)


def _key(path: Path | None) -> str:
    return hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:20] if path else "untitled"


def _lock_of(file: Path) -> Path:
    return file.with_suffix(".lock")


def _is_held(file: Path) -> bool:
    try:
        lock = os.open(_lock_of(file), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def _read(file: Path) -> Recovered | None:
    try:
        kept: Any = json.loads(file.read_text("utf-8"))
        path, text = kept["path"], kept["text"]
        return Recovered(Path(path) if path is not None else None, str(text), file)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remove(file: Path) -> None:
    for each in (file, _lock_of(file)):
        with contextlib.suppress(OSError):
            each.unlink()
