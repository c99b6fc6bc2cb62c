"""What lies on disk, read again: the checksum of every tensor of a file and its sha256, in one pass over its bytes.

Reads into one small buffer a file, whatever its size; several files are read by several threads. Says what the bytes
are, never whether they are right.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TypeVar

import xxhash

from mergegraph.tensors.checksum import block_digests, tensor_checksum
from mergegraph.tensors.local_file import LocalFile, opened

BUFFER_BYTES = 1 << 20
"""At least one block of the widest dtype."""

_TICK_SECONDS = 0.1
_MOST_THREADS = 4

Advance = Callable[[int], None]
"""Told how many more bytes were read."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Extent:
    """Where one tensor lies in its file, and the block that its checksum is made of. Bytes."""

    name: str
    offset: int
    nbytes: int
    block_bytes: int


@dataclass(frozen=True, slots=True)
class ReadBack:
    """A file as it is on disk. `sha256` is empty where nobody asked for it or a part could not be read.

    `header` is the xxh3_128 of what comes before the tensors; `unread` says why a tensor has no checksum.
    """

    header: str
    sha256: str
    checksums: dict[str, str] = field(default_factory=dict[str, str])
    unread: dict[str, str] = field(default_factory=dict[str, str])


class _Stopped(Exception):
    """Ends a thread whose result nobody waits for."""


def read_back(
    path: str,
    header_bytes: int,
    extents: Sequence[Extent],
    advance: Advance,
    *,
    with_sha256: bool,
    from_disk: bool = False,
) -> ReadBack:
    """Read a safetensors file whose tensors, in order, fill it behind its header. OSError when it cannot be opened.

    `from_disk`: have the system write the file out and forget it first, so that the disk answers and not the memory.
    """
    whole = hashlib.sha256() if with_sha256 else None
    with opened(path) as file:
        _prepare(file, from_disk)
        reader = _Pieces(file, advance, whole.update if whole else lambda piece: None)
        header = xxhash.xxh3_128()
        unread: dict[str, str] = {}
        checksums: dict[str, str] = {}
        try:
            for piece in reader.pieces(0, header_bytes, BUFFER_BYTES):
                header.update(piece)
        except (OSError, EOFError) as error:
            unread[""] = _reason(error)
        for extent in extents:
            try:
                checksums[extent.name] = reader.checksum(extent)
            except (OSError, EOFError) as error:
                unread[extent.name] = _reason(error)
    sha256 = whole.hexdigest() if whole and not unread else ""
    return ReadBack("" if "" in unread else header.hexdigest(), sha256, checksums, unread)


def sha256_of(path: str, advance: Advance, *, from_disk: bool = False) -> str:
    """The sha256 of a file. OSError when it cannot be read."""
    whole = hashlib.sha256()
    with opened(path) as file:
        _prepare(file, from_disk)
        for _ in _Pieces(file, advance, whole.update).pieces(0, file.file_bytes, BUFFER_BYTES):
            pass
    return whole.hexdigest()


def in_threads(jobs: Sequence[Callable[[Advance], T]], tick: Callable[[int], None] = lambda read: None) -> list[T]:
    """The results of jobs that read, in order; the first failure of one ends all of them between two pieces.

    `tick` is called by the caller's own thread, ten times a second, with the bytes read so far; what it raises ends the
    jobs too.
    """
    if not jobs:
        return []
    read = _Count()
    with ThreadPoolExecutor(min(len(jobs), _MOST_THREADS)) as pool:
        futures = [pool.submit(job, read.add) for job in jobs]
        try:
            _wait(futures, lambda: tick(read.total))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            read.stop.set()
    tick(read.total)
    return [future.result() for future in futures]


def _wait(futures: Sequence[Future[T]], tick: Callable[[], None]) -> None:
    pending = set(futures)
    while pending:
        done, pending = wait(pending, _TICK_SECONDS, FIRST_EXCEPTION)
        for future in done:
            future.result()
        tick()


@dataclass
class _Count:
    total: int = 0
    stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, byte_count: int) -> None:
        if self.stop.is_set():
            raise _Stopped
        with self._lock:
            self.total += byte_count


class _Pieces:
    """Reads an open file in pieces, each of which `feed` gets before the caller."""

    def __init__(self, file: LocalFile, advance: Advance, feed: Callable[[memoryview], None]) -> None:
        self._file, self._advance, self._feed = file, advance, feed
        self._buffer = memoryview(bytearray(min(BUFFER_BYTES, max(file.file_bytes, 1))))

    def pieces(self, offset: int, nbytes: int, piece_bytes: int) -> Iterator[memoryview]:
        """`nbytes` from `offset`; each piece is good until the next. EOFError where the file ends before."""
        for start in range(0, nbytes, piece_bytes):
            piece = self._buffer[: min(piece_bytes, nbytes - start)]
            if len(piece) < min(piece_bytes, nbytes - start):
                raise EOFError(f"the file has {self._file.file_bytes:,} bytes")
            self._fill(piece, offset + start)
            self._feed(piece)
            yield piece
            self._advance(len(piece))

    def checksum(self, extent: Extent) -> str:
        whole_blocks = BUFFER_BYTES // extent.block_bytes * extent.block_bytes
        pieces = self.pieces(extent.offset, extent.nbytes, whole_blocks)
        return tensor_checksum(block_digests(piece, extent.block_bytes) for piece in pieces)

    def _fill(self, piece: memoryview, offset: int) -> None:
        filled = 0
        while filled < len(piece):
            count = os.preadv(self._file.descriptor, [piece[filled:]], offset + filled)
            if not count:
                raise EOFError(f"the file ends at byte {offset + filled:,}")
            filled += count


def _prepare(file: LocalFile, from_disk: bool) -> None:
    if from_disk:
        os.fsync(file.descriptor)  # pages that are not written yet cannot be dropped
    if hasattr(os, "posix_fadvise"):
        if from_disk:
            os.posix_fadvise(file.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.posix_fadvise(file.descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)


def _reason(error: OSError | EOFError) -> str:
    return str(error) if isinstance(error, EOFError) else os.strerror(error.errno or 0)
