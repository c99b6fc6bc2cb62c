"""One writer per output folder: a lock file that dies with its process and says who holds it.

`flock` decides, on the file and on the folder: the file is removed before the folder gets its final name, and until
that has happened nobody else may enter. Where the file system has no locks (some cluster mounts), the name written in
the file decides.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import json
import os
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import cast

from mergegraph.errors import OutputError, Problem

# NFS locks only what is open for writing (EBADF), which a folder never is.
_NO_FLOCK = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK, errno.EBADF}


class FolderLock:
    """The lock file of one folder, and the folder, held by this process."""

    def __init__(self, path: Path, fd: int, folder_fd: int) -> None:
        self.path = path
        self._fd = fd
        self._folder_fd = folder_fd

    @classmethod
    def take(cls, path: Path) -> FolderLock:
        """Hold the lock at `path`, made if absent. OutputError names the holder when there is one.

        FileNotFoundError when the folder is gone.
        """
        while True:
            with ExitStack() as undo:
                folder_fd = _opened(path.parent, os.O_RDONLY | os.O_DIRECTORY, undo)
                _lock_folder(folder_fd, path)
                fd = _opened(path, os.O_RDWR | os.O_CREAT, undo)
                _lock(fd, path)
                if _is_at(folder_fd, path.parent) and _is_at(fd, path):
                    _write_holder(fd)
                    undo.pop_all()
                    return cls(path, fd, folder_fd)

    def release(self) -> None:
        """Let others in. The file stays, empty, unless it was removed."""
        if self._fd < 0:
            return
        os.ftruncate(self._fd, 0)
        for fd in (self._fd, self._folder_fd):
            # Closing is not enough: a forked child may still hold the same open file.
            with contextlib.suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)
        self._fd = -1


def holder(path: Path) -> int:
    """The process that wrote itself into the lock file at `path`, on this machine; 0 where none did. It may be dead."""
    try:
        held_by = _holder(path.read_bytes()[:4096])
    except OSError:
        return 0
    pid = held_by.get("pid")
    return pid if isinstance(pid, int) and held_by.get("host") == socket.gethostname() else 0


def _opened(path: Path, flags: int, undo: ExitStack) -> int:
    fd = os.open(path, flags, 0o666)
    undo.callback(os.close, fd)
    return fd


def _lock_folder(fd: int, path: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _held(path, path.read_bytes() if path.exists() else b"") from None
    except OSError as error:
        if error.errno not in _NO_FLOCK:
            raise


def _lock(fd: int, path: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _held(path, os.pread(fd, 4096, 0)) from None
    except OSError as error:
        if error.errno not in _NO_FLOCK:
            raise
        written = os.pread(fd, 4096, 0)
        if written and _may_be_alive(written):
            raise _held(path, written) from error


def _is_at(fd: int, path: Path) -> bool:
    """False when the last holder removed or renamed it between our opening and locking it."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(fd), there)


def _write_holder(fd: int) -> None:
    since = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": since}).encode(), 0)


def _holder(written: bytes) -> dict[str, object]:
    try:
        value: object = json.loads(written)
    except ValueError:
        return {}
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _may_be_alive(written: bytes) -> bool:
    holder = _holder(written)
    pid = holder.get("pid")
    if holder.get("host") != socket.gethostname() or not isinstance(pid, int):
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _held(path: Path, written: bytes) -> OutputError:
    holder = _holder(written)
    who = f"process {holder.get('pid', '?')} on {holder.get('host', '?')}, since {holder.get('since', '?')}"
    return OutputError(
        Problem(
            f"Another run is writing {path.parent}.",
            why=f"held by {who}",
            fix=f"wait for it, stop it, or write to another path (if it is long dead: rm {path})",
        )
    )
