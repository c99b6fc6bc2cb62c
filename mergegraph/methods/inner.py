"""Inner products of whole rows or columns inside a kernel, in float64 and without memory that grows with the tile.

A float32 tile holds half of itself as float64, so operands are widened half by half into tiles that are free. The
halves are cut along the axis that is summed over: how many rows are in a tile does not change a bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any

from mergegraph.methods.kernel import Kernel

if TYPE_CHECKING:
    from torch import Tensor

ROW, COLUMN = 1, 0
"""The dimension that is summed over: along each row, along each column."""


def inner(k: Kernel, x: Tensor, y: Tensor, dim: int, spare: Tensor, other: Tensor | None = None) -> list[float]:
    """<x, y> of each row or column; `spare`, and `other` where y is not x, are tiles to overwrite."""
    total: Any = None
    for start, length in halves(x, dim):
        product = widened(k, x.narrow(dim, start, length), spare)
        if other is None:
            product.mul_(product)
        else:
            product.mul_(widened(k, y.narrow(dim, start, length), other))
        part = product.sum(dim)
        total = part if total is None else total.add_(part)
    return [] if total is None else total.tolist()


def grams(k: Kernel, tiles: Sequence[Tensor], dim: int, spare: Tensor, other: Tensor) -> list[tuple[float, ...]]:
    """For each row or column <tile_i, tile_j>, i <= j, in the order of `gram` of whole tensors."""
    pairs = combinations_with_replacement(range(len(tiles)), 2)
    found = [inner(k, tiles[i], tiles[j], dim, spare, None if i == j else other) for i, j in pairs]
    return list(zip(*found, strict=True))


def halves(x: Tensor, dim: int) -> list[tuple[int, int]]:
    """(start, length) of parts along `dim` that fit into a tile like x as float64."""
    whole = x.shape[dim]
    step = whole if x.element_size() == 8 else max(1, whole // 2)
    return [(start, min(step, whole - start)) for start in range(0, whole, step)] if whole else []


def widened(k: Kernel, part: Tensor, spare: Tensor) -> Tensor:
    """`part` as float64 in the memory of `spare`; in new memory where it is one element wide and does not fit."""
    flat = spare.view(-1)
    each = 8 // flat.element_size()
    # A slice of a stack of odd size begins at an odd element, where no float64 can.
    aligned = flat[int(flat.storage_offset()) % each :]
    room = aligned[: aligned.numel() // each * each].view(k.ops.float64)
    target = (
        room[: part.numel()].view(part.shape)
        if part.numel() <= room.numel()
        else k.ops.empty_like(part, dtype=k.ops.float64)
    )
    return target.copy_(part)
