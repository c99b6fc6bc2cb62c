"""What the writer asks of a file system: free space, reserved space, whole writes, syncs, exchanged names.

Raises plain OSError: what a failure means for a run is said by those who call. macOS has no fallocate,
fdatasync or exchange; the nearest thing is used there.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_ASIDE = ".replaced-by-mergegraph-"
"""A name that nobody gives a folder of their own: what has it is deleted."""
_UNSUPPORTED = {errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS}


def free_bytes(path: Path) -> int:
    """Bytes that may still be written where `path` is or will be; quotas are not seen."""
    place = path.absolute()
    while not place.exists():
        place = place.parent
    facts = os.statvfs(place)
    return facts.f_bavail * facts.f_frsize if facts.f_blocks else sys.maxsize


def allocated_bytes(folder: Path) -> int:
    """Bytes of disk that the files directly in `folder` hold; 0 when there is no such folder."""
    if not folder.is_dir():
        return 0
    with os.scandir(folder) as entries:
        return sum(entry.stat(follow_symlinks=False).st_blocks * 512 for entry in entries)


def reserve(fd: int, nbytes: int) -> None:
    """Give the open file its full length, with the disk space taken now where the file system can."""
    try:
        os.posix_fallocate(fd, 0, nbytes)
    except AttributeError:
        os.ftruncate(fd, nbytes)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        os.ftruncate(fd, nbytes)


def write_fully(fd: int, buffer: memoryview, offset: int) -> None:
    """Write all of `buffer` at `offset`. A nearly full disk writes a part and reports the rest at the next call."""
    remaining = buffer.cast("B") if buffer.nbytes else buffer
    while remaining.nbytes:
        count = os.pwrite(fd, remaining, offset)
        if not count:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        remaining = remaining[count:]
        offset += count


def sync_data(fd: int) -> None:
    """Make the file's bytes survive a power cut."""
    getattr(os, "fdatasync", os.fsync)(fd)


def sync_path(path: Path) -> None:
    """Make a closed file, or the names in a folder, survive a power cut."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_file(path: Path, content: bytes, *, sync: bool) -> None:
    """Put `content` at `path` in one step: a reader sees the old bytes or the new ones, never a part."""
    draft = path.with_name(f".{path.name}.tmp")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        write_fully(fd, memoryview(content), 0)
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)
    draft.replace(path)


def exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step; False where the system cannot."""
    import ctypes

    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(one), None, str(other))


def put_folder(new: Path, final: Path) -> Path | None:
    """Give the folder `new` the name `final`. Returns what was there, moved aside, when there was something."""
    if not os.path.lexists(final):
        new.rename(final)
        return None
    old = final.with_name(f"{final.name}{_ASIDE}{os.urandom(4).hex()}")
    if exchange(new, final):
        new.rename(old)
        return old
    final.rename(old)
    try:
        new.rename(final)
    except OSError:
        old.rename(final)
        raise
    return old


def moved_aside(final: Path) -> list[Path]:
    """What `put_folder` moved aside and nobody deleted, because the run was stopped before it could."""
    pattern = re.compile(re.escape(final.name + _ASIDE) + "[0-9a-f]{8}")
    if not final.parent.is_dir():
        return []
    return sorted(entry for entry in final.parent.iterdir() if pattern.fullmatch(entry.name))


def delete(path: Path) -> None:
    """Remove a folder with all it holds, a file, or a link (never what the link points to)."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
