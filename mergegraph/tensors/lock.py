"""One writer per output folder: a lock file that dies with its process and says who holds it.

`flock` decides. Where the file system has none (some cluster mounts), the name written in the file does.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import json
import os
import socket
from pathlib import Path
from typing import cast

from mergegraph.errors import OutputError, Problem

_NO_FLOCK = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK}


class FolderLock:
    """The lock file of one folder, held by this process."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd

    @classmethod
    def take(cls, path: Path) -> FolderLock:
        """Hold the lock at `path`, made if absent. OutputError names the holder when there is one.

        FileNotFoundError when the folder is gone.
        """
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                _lock(fd, path)
                if _is_at(fd, path):
                    _write_holder(fd)
                    return cls(path, fd)
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    def release(self) -> None:
        """Let others in. The file stays, empty, unless it was removed."""
        if self._fd < 0:
            return
        os.ftruncate(self._fd, 0)
        # Closing is not enough: a forked child may still hold the same open file.
        with contextlib.suppress(OSError):
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        os.close(self._fd)
        self._fd = -1


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
    """False when the last holder removed the file between our opening and locking it."""
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
