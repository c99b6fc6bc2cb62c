"""Reads byte ranges of the planned input files into the caller's buffers, from any number of threads.

Opens each file once, when it is first needed, and refuses one that is no longer the file that was planned. A file of a
server is read by its source, which pins it. Knows nothing of tensors. Never maps a file: a mapped file that somebody
truncates kills the process.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from threading import Lock
from types import TracebackType

from mergegraph.errors import InputError, Problem, RunError
from mergegraph.tensors.local_file import LocalFile, identity_now, open_local
from mergegraph.tensors.sources.door import planned_source
from mergegraph.tensors.sources.location import is_remote
from mergegraph.tensors.sources.source import RangeSource

AHEAD_BYTES = 16 << 20
"""So much of a file is asked for before it is read, so that the disk works while tiles are computed."""


class FileReader:
    """A set of open files. `identities`: path to the identity it had when planned.

    Close it after the last read has returned.

        with FileReader({file.path: file.identity for file in checkpoint.files}) as reader:
            reader.read_into(tensor.path, tensor.offset, buffer)
    """

    def __init__(self, identities: Mapping[str, str]) -> None:
        self._identities = dict(identities)
        self._files: dict[str, LocalFile] = {}
        self._sources: dict[str, RangeSource] = {}
        self._asked: dict[str, tuple[int, int]] = {}
        self._lock = Lock()
        self._closed = False

    def read_into(self, path: str, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` (contiguous, writable) from byte `offset` of `path`. All of it, or RunError."""
        if is_remote(path):
            self._read_remote(path, offset, buffer.cast("B"))
            return
        file = self._files.get(path) or self._open(path)
        wanted = buffer.cast("B")
        self._read_ahead(file, offset, offset + len(wanted))
        done = 0
        # One call moves at most 2 GiB - 4 KiB on Linux, so large buffers take several.
        while done < len(wanted):
            try:
                count = os.preadv(file.descriptor, [wanted[done:]], offset + done)
            except OSError as error:
                raise RunError(_unreadable(path, error)) from error
            if count == 0:
                raise RunError(_short(path, offset, len(wanted), done))
            done += count

    def _read_remote(self, path: str, offset: int, buffer: memoryview) -> None:
        try:
            source = self._sources.get(path) or self._open_remote(path)
            source.read_into(offset, buffer)
        except InputError as error:
            raise RunError(*error.problems) from error.__cause__

    def _read_ahead(self, file: LocalFile, begin: int, end: int) -> None:
        """Ask the kernel for what follows, in steps of half of `AHEAD_BYTES`."""
        first, last = self._asked.get(file.path, (0, 0))
        follows = first <= begin <= last
        if (follows and end + AHEAD_BYTES // 2 <= last) or not hasattr(os, "posix_fadvise"):
            return
        start, stop = last if follows else end, end + AHEAD_BYTES
        self._asked[file.path] = (first if follows else begin, stop)
        os.posix_fadvise(file.descriptor, start, stop - start, os.POSIX_FADV_WILLNEED)

    def require_unchanged(self) -> None:
        """RunError when a file that was read is no longer what was planned: somebody wrote into it meanwhile."""
        with self._lock:
            files = dict(self._files)
        for path, file in files.items():
            if (now := identity_now(file)) != self._identities[path]:
                raise RunError(_changed(path, self._identities[path], now))

    def close(self) -> None:
        """Close every file. Harmless when repeated."""
        with self._lock:
            self._closed = True
            while self._files:
                _, file = self._files.popitem()
                os.close(file.descriptor)

    def __enter__(self) -> FileReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, path: str) -> LocalFile:
        with self._lock:
            assert not self._closed, f"{path} is read from a closed reader"
            if path not in self._files:
                self._files[path] = _open_planned(path, self._identities[path])
            return self._files[path]

    def _open_remote(self, path: str) -> RangeSource:
        with self._lock:
            if path not in self._sources:
                source = planned_source(path, self._identities[path])
                if source.identity != self._identities[path]:
                    raise RunError(_replaced(path, self._identities[path], source.identity))
                self._sources[path] = source
            return self._sources[path]


def _open_planned(path: str, identity: str) -> LocalFile:
    try:
        file = open_local(path)
    except OSError as error:
        raise RunError(_unreadable(path, error)) from error
    if file.identity != identity:
        os.close(file.descriptor)
        raise RunError(_changed(path, identity, file.identity))
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    return file


def _changed(path: str, planned: str, now: str) -> Problem:
    return Problem(
        f"{path} has changed since it was planned.",
        why=f"it was {planned}, it is {now} (device, inode, bytes, time of the last change in ns)",
        fix="run the same command again with --overwrite: it begins again with the file as it is now",
    )


def _replaced(path: str, planned: str, now: str) -> Problem:
    return Problem(
        f"{path} has changed since it was planned.",
        why=f"it was {planned}, it is {now}",
        fix="run the same command again with --overwrite: it begins again with the file as it is now",
    )


def _short(path: str, offset: int, wanted: int, read: int) -> Problem:
    return Problem(
        f"{path} ended early: {wanted:,} bytes were expected at byte {offset:,}, {read:,} were there.",
        why="the file was truncated after it was planned",
        fix="put the whole file back, and run the same command again with --overwrite",
    )


def _unreadable(path: str, error: OSError) -> Problem:
    too_many = error.errno in (errno.EMFILE, errno.ENFILE)
    fix = "ulimit -n 65536" if too_many else "check the disk or the network share, and run the same command again"
    return Problem(f"{path} cannot be read: {error.strerror}.", fix=fix)
