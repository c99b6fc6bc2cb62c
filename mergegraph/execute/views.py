"""The bytes of a stored tensor, or of a view of one, from any byte on: what is asked for is read, and no more.

A view has the rows of another vocabulary: stored rows, zeros, or the mean of the model's own rows. Knows nothing of
programs and tiles.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from mergegraph.dtypes import BY_CODE
from mergegraph.expr import Read
from mergegraph.views import MEAN_ROW, ZERO_ROW

TORCH_DTYPES: Mapping[str, torch.dtype] = {
    code: getattr(torch, dtype.torch_name) for code, dtype in BY_CODE.items() if hasattr(torch, dtype.torch_name or "-")
}
_CHUNK_ELEMENTS = 1 << 18
_ZEROS = 1 << 16


class Source(Protocol):
    """Where raw bytes come from: fills `buffer` from `offset` of `path`, or raises."""

    def __call__(self, path: str, offset: int, buffer: memoryview, /) -> None: ...


class WithMeans:
    """A source that remembers the mean rows of what it reads, so that each is found once."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._means: dict[Read, bytes] = {}
        self._lock = threading.Lock()

    def __call__(self, path: str, offset: int, buffer: memoryview, /) -> None:
        self._source(path, offset, buffer)

    def mean_row(self, read: Read) -> bytes:
        """The mean row of a view, in its stored dtype."""
        with self._lock:
            if read not in self._means:
                self._means[read] = mean_row(read, self._source)
            return self._means[read]


def read_view(read: Read, start: int, buffer: memoryview, source: Source) -> None:
    """Fill `buffer` from byte `start` of the tensor that `read` shows."""
    if read.rows is None:
        source(read.path, read.offset + start, buffer)
        return
    rows, width, done = read.rows, read.row_bytes, 0
    while done < len(buffer):
        row, inside = divmod(start + done, width)
        run = bisect_right(rows.starts, row) - 1
        first, count = rows.runs[run]
        skipped = (row - rows.starts[run]) * width + inside
        taken = min(count * width - skipped, len(buffer) - done)
        part = buffer[done : done + taken]
        if first >= 0:
            source(read.path, read.offset + first * width + skipped, part)
        elif first == ZERO_ROW:
            _repeat(bytes(min(taken, _ZEROS)), 0, part)
        else:
            assert first == MEAN_ROW
            row_bytes = source.mean_row(read) if isinstance(source, WithMeans) else mean_row(read, source)
            _repeat(row_bytes, inside, part)
        done += taken


def _repeat(row: bytes, inside: int, part: memoryview) -> None:
    """Fill `part` with the row again and again, from byte `inside` on."""
    done = 0
    while done < len(part):
        taken = min(len(row) - inside, len(part) - done)
        part[done : done + taken] = row[inside : inside + taken]
        done, inside = done + taken, 0


def mean_row(read: Read, source: Source) -> bytes:
    """The mean of the first `own` stored rows, added up in float64 in their order, rounded once to the stored dtype."""
    assert read.rows is not None
    dtype: torch.dtype = getattr(torch, BY_CODE[read.dtype].torch_name)
    columns = read.row_bytes // dtype.itemsize
    total = torch.zeros(columns, dtype=torch.float64)
    step = max(1, _CHUNK_ELEMENTS // columns)
    for first in range(0, read.rows.own, step):
        count = min(step, read.rows.own - first)
        raw = bytearray(count * read.row_bytes)
        source(read.path, read.offset + first * read.row_bytes, memoryview(raw))
        total += torch.frombuffer(raw, dtype=dtype).view(count, columns).to(torch.float64).sum(dim=0)
    return _bytes((total / read.rows.own).to(dtype))


def _bytes(row: Tensor) -> bytes:
    content: list[int] = row.view(torch.uint8).tolist()  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return bytes(content)  # pyright: ignore[reportUnknownArgumentType]
