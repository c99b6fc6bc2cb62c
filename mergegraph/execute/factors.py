"""Products of stored matrices, block of rows by block of rows, and matrices put together for an adapter.

What a block is follows from the shapes alone, and every block is multiplied in buffers of its own: the bits of a
matrix product depend on the number of rows and on where they lie in memory. So they are the same for any tile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mergegraph.dtypes import BY_CODE
from mergegraph.execute.views import Source
from mergegraph.expr import Read
from mergegraph.methods.low_rank import factors
from mergegraph.plan.rooms import aligned, block_rows, room
from mergegraph.plan.steps import Join, Multiply, Split


@dataclass(frozen=True)
class Room:
    """A step's buffers, cut from `storage` (uint8) as `plan.rooms` says."""

    storage: Tensor
    dtype: torch.dtype
    source: Source

    def buffers(self, step: Multiply | Join) -> list[Tensor]:
        """Each as bytes."""
        at, cut = 0, list[Tensor]()
        for nbytes in room(step, double=self.dtype == torch.float64):
            cut.append(self.storage[at : at + nbytes])
            at += aligned(nbytes)
        return cut

    def load(self, read: Read, first: int, into: Tensor, staged: Tensor) -> None:
        """Elements of a stored tensor from `first` on, in the compute dtype, to a contiguous 1-D `into`."""
        stored = torch_dtype(read.dtype)
        if stored == self.dtype:
            self.source(read.path, read.offset + first * stored.itemsize, byte_view(into.view(torch.uint8)))
            return
        step = staged.numel() // stored.itemsize
        for start in range(0, into.numel(), step):
            part = into[start : start + step]
            raw = staged[: part.numel() * stored.itemsize]
            self.source(read.path, read.offset + (first + start) * stored.itemsize, byte_view(raw))
            part.copy_(raw.view(stored))


def multiply(step: Multiply, left: Read, right: Read, start: int, out: Tensor, given: Room) -> None:
    """The rows of the product that `out` holds, 1-D, from element `start` of the tensor on."""
    held_bytes, block_bytes, result_bytes, staged = given.buffers(step)
    held, block, result = (each.view(given.dtype) for each in (held_bytes, block_bytes, result_bytes))
    whole, streamed = (left, right) if step.is_transposed else (right, left)
    given.load(whole, 0, held, staged)
    rows, length = block_rows(step.columns), right.nbytes // torch_dtype(right.dtype).itemsize // step.rank
    assert start % (rows * step.columns) == 0, "a tile begins with a block"
    first_row = start // step.columns
    for first in range(0, out.numel() // step.columns, rows):
        count, row = min(rows, out.numel() // step.columns - first), first_row + first
        part = block[: count * step.rank]
        if step.is_transposed:
            for number in range(step.rank):
                given.load(streamed, number * length + row, part[number * count : (number + 1) * count], staged)
        else:
            given.load(streamed, row * step.rank, part, staged)
        made = result[: count * step.columns]
        product(part, held, made.view(count, step.columns), is_transposed=step.is_transposed)
        out[first * step.columns : (first + count) * step.columns].copy_(made)


def product(block: Tensor, held: Tensor, out: Tensor, *, is_transposed: bool) -> None:
    """A block of rows, `out` [count, columns].

    `block` is [count, rank] and `held` [rank, columns]; transposed, [rank, count] and [columns, rank].
    """
    count, columns = out.shape
    if is_transposed:
        torch.mm(block.view(-1, count).t(), held.view(columns, -1).t(), out=out)
    else:
        torch.mm(block.view(count, -1), held.view(-1, columns), out=out)


def split(step: Split, source: Tensor, left: Tensor, right: Tensor) -> None:
    """The factors of a whole matrix, each at the beginning of its slot."""
    rows, columns = step.shape
    sides = factors(torch, source.view(rows, columns), rank=step.rank)
    for side, slot in zip(sides, (left, right), strict=True):
        slot[: side.numel()].view(side.shape).copy_(side)


def join(step: Join, slots: Sequence[Tensor], reads: Sequence[Read], given: Room) -> tuple[Tensor, Tensor]:
    """(the matrix as computed, 1-D; where its rounded form belongs)."""
    result_bytes, rounded, staged = given.buffers(step)
    result = result_bytes.view(given.dtype)
    whole, at = result.view(step.shape), 0
    for piece in step.pieces:
        rows, columns = piece.shape
        place = whole[at : at + rows] if step.axis == 0 else whole[:, at : at + columns]
        at += piece.shape[step.axis]
        if piece.dtype:
            _load_rows(reads[piece.number], place, staged, given.source)
        else:
            place.copy_(slots[piece.number][: rows * columns].view(rows, columns))
        if piece.coefficient != 1:
            place.mul_(piece.coefficient)
    return result, rounded.view(torch_dtype(step.dtype))


def _load_rows(read: Read, place: Tensor, staged: Tensor, source: Source) -> None:
    """A whole stored matrix to `place`, which may be some columns of a wider one."""
    stored = torch_dtype(read.dtype)
    rows, columns = place.shape
    step = staged.numel() // (columns * stored.itemsize)
    for first in range(0, rows, step):
        count = min(step, rows - first)
        raw = staged[: count * columns * stored.itemsize]
        source(read.path, read.offset + first * columns * stored.itemsize, byte_view(raw))
        place[first : first + count].copy_(raw.view(stored).view(count, columns))


def byte_view(tensor: Tensor) -> memoryview:
    """The memory of a contiguous uint8 tensor, shared with it."""
    shared: Any = tensor.numpy()  # pyright: ignore[reportUnknownMemberType]
    return memoryview(shared)


def torch_dtype(code: str) -> torch.dtype:
    """torch's dtype of a safetensors code."""
    dtype: torch.dtype = getattr(torch, BY_CODE[code].torch_name)
    return dtype
