"""A recipe's file: read whole, written in one step, and told apart from what it was before.

A write goes to a new file beside the old one, which takes its place when all of it is on the disk; the old one's mode
stays, and a link stays a link.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mergegraph.errors import Location, Problem, RecipeError
from mergegraph.recipe.text import decode, read_raw, special_kind
from mergegraph.tensors.missing import expanded

_NEW_MODE = 0o666


@dataclass(frozen=True, slots=True)
class Stamp:
    """What changes when a file does."""

    device: int
    inode: int
    file_bytes: int
    modified_ns: int


def from_home(path: Path) -> str:
    """A path as it is said: from the home folder where it is below it, else whole."""
    with contextlib.suppress(ValueError, RuntimeError):
        return f"~/{path.absolute().relative_to(Path.home())}"
    return str(path.absolute())


def typed_path(typed: str, folder: Path) -> Path:
    """A path as it was typed, from `folder` where it is relative."""
    return folder / expanded(typed.strip())


def is_there(path: Path) -> bool:
    """Whether something is at `path`. What cannot be looked at is not there, as a name that is too long."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """The same for folders."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def stamp(path: Path) -> Stamp | None:
    """The stamp of the file at `path`; None where there is none."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return Stamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def read_text(path: Path) -> tuple[str, Stamp | None] | Problem:
    """The text of a recipe file, every character of it, and the stamp that it had before it was read."""
    at = Location(str(path))
    if kind := special_kind(path):
        return Problem(f"{path} is {kind}, not a recipe.", at, fix="name a YAML file")
    found = stamp(path)
    try:
        raw = read_raw(path)
        mark = "\ufeff" if raw.startswith(b"\xef\xbb\xbf") else ""
        return mark + decode(raw, str(path)), found
    except FileNotFoundError:
        return Problem(f"There is no file {path}.", at, fix="check the name and the folder")
    except RecipeError as error:
        return error.problems[0]
    except (OSError, ValueError) as error:
        return Problem(f"{path} cannot be read: {_reason(error)}.", at, fix="name a YAML file that you may read")


def write_text(path: Path, text: str, mode: int = _NEW_MODE) -> Problem | None:
    """Put `text` into the file at `path`, all or nothing. `mode`: of a file that is new, before the umask."""
    try:
        target = Path(os.path.realpath(path))
        content = text.encode("utf-8")
        _replace(target, content, mode)
    except (OSError, ValueError) as error:
        fix = "save it under another name, in a folder that you may write to"
        return Problem(f"{path} cannot be written: {_reason(error)}.", Location(str(path)), fix=fix)
    return None


def _replace(target: Path, content: bytes, mode: int) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), _mode(target, mode))
            with contextlib.suppress(OSError):
                owner = target.stat()
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    _sync_folder(target.parent)


def _mode(target: Path, mode: int) -> int:
    try:
        return stat.S_IMODE(target.stat().st_mode)
    except OSError:
        umask = os.umask(0)
        os.umask(umask)
        return mode & ~umask


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _reason(error: Exception) -> str:
    return str((error.strerror if isinstance(error, OSError) else None) or error)
