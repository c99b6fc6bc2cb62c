"""Which tensors of the output are safely on disk. Append-only; a line counts only with its newline and checksum.

Knows nothing of tensors: a record is any JSON object, and the first is the header. A line is the CRC-32 of its
JSON in 8 hex digits, a space, the JSON, a newline. Reading stops at the first line that is not exactly that, so
a torn or damaged tail is never believed; so does the run of zeros that was reserved and not yet written.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, cast

from mergegraph.tensors.disk import reserve, sync_data, write_fully
from mergegraph.tensors.local_file import opened, read_range

Record = Mapping[str, object]


class JournalContents(NamedTuple):
    """What a journal holds up to its first bad line. `header` is None when not even the first line is whole."""

    header: Record | None
    records: list[Record]
    valid_bytes: int


def read_journal(path: Path) -> JournalContents:
    """Everything before the first bad line. OSError when there is no such file."""
    with opened(str(path)) as file:
        content = read_range(file, 0, file.file_bytes)
    lines: list[Record] = []
    position = 0
    while (end := content.find(b"\n", position)) >= 0:
        record = _decode(content[position:end])
        if record is None:
            break
        lines.append(record)
        position = end + 1
    return JournalContents(lines[0] if lines else None, lines[1:], position)


class Journal:
    """A journal open for appending. Not thread-safe: its owner decides whose turn it is."""

    def __init__(self, fd: int, end: int) -> None:
        self._fd = fd
        self._end = end

    @classmethod
    def create(
        cls, path: Path, header: Record, records: Iterable[Record] = (), *, reserve_bytes: int = 0, sync: bool = True
    ) -> Journal:
        """Put a journal with `header` and `records` at `path` in one step, in place of any other.

        `reserve_bytes` behind them are taken from the disk now, so that a disk that fills later does not stop a commit.
        """
        lines = b"".join(map(_encode, [header, *records]))
        draft = path.with_name(f".{path.name}.tmp")
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            if reserve_bytes:
                reserve(fd, len(lines) + reserve_bytes)
            write_fully(fd, memoryview(lines), 0)
            if sync:
                os.fsync(fd)
            draft.replace(path)
        except BaseException:
            os.close(fd)
            raise
        return cls(fd, len(lines))

    def append(self, records: Iterable[Record]) -> None:
        """Add `records`; they survive a killed process from here, and a power cut from the next `sync`."""
        lines = b"".join(map(_encode, records))
        write_fully(self._fd, memoryview(lines), self._end)
        self._end += len(lines)

    def sync(self) -> None:
        """Make what was appended survive a power cut. A failure is final: the kernel may have dropped the data."""
        sync_data(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _encode(record: Record) -> bytes:
    text = json.dumps(record, separators=(",", ":")).encode()
    return b"%08x %b\n" % (zlib.crc32(text), text)


def _decode(line: bytes) -> Record | None:
    checksum, _, text = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(text):
        return None
    try:
        value: object = json.loads(text)
    except ValueError:
        return None
    return cast("Record", value) if isinstance(value, dict) else None
