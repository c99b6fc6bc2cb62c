"""Opens a local file to read byte ranges from it, and says which file it is.

Regular files only: a pipe or a device at a model's path is refused instead of waited for. Never maps a
file into memory, because a mapped file that somebody truncates kills the process (SIGBUS).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LocalFile:
    """An open descriptor. `identity` is `file:<dev>,<ino>,<size>,<mtime_ns>` at the moment of opening."""

    path: str
    descriptor: int
    file_bytes: int
    identity: str


def open_local(path: str) -> LocalFile:
    """Open for reading; the caller closes `descriptor`. OSError also for a folder, a pipe or a device."""
    # A pipe without a writer would make a plain open wait for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return LocalFile(path, descriptor, status.st_size, _identity(status))


def identity_now(file: LocalFile) -> str:
    """The identity of an open file as it is at this moment; another one when somebody wrote into it."""
    return _identity(os.fstat(file.descriptor))


@contextmanager
def opened(path: str) -> Generator[LocalFile, None, None]:
    """`open_local`, closed at the end of the block."""
    file = open_local(path)
    try:
        yield file
    finally:
        os.close(file.descriptor)


def read_range(file: LocalFile, offset: int, byte_count: int) -> bytes:
    """`byte_count` bytes from `offset`; fewer only where the file ended when it was opened, or ends now."""
    # pread takes memory for all that it is asked for.
    byte_count = min(byte_count, file.file_bytes - offset)
    pieces: list[bytes] = []
    while byte_count > 0 and (piece := os.pread(file.descriptor, byte_count, offset)):
        pieces.append(piece)
        offset += len(piece)
        byte_count -= len(piece)
    return b"".join(pieces)


def _identity(status: os.stat_result) -> str:
    return f"file:{status.st_dev},{status.st_ino},{status.st_size},{status.st_mtime_ns}"
