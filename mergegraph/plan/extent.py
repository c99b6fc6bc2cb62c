"""How the elements of a tensor are cut into tiles, so that no bit depends on where a cut falls.

    unit   elements that a kernel must see together: one, a row, a matrix
    leaf   whole units that a statistic is fed at a time; a tile is whole leaves

Units and leaves follow from the tensor's shape and its kernels alone, never from the budget.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mergegraph.methods.kernel import Granularity
from mergegraph.statistic import CHUNK_ELEMENTS


@dataclass(frozen=True, slots=True)
class Extent:
    """`elements` of a tensor in units of `unit`, in rows of `columns` (0 where kernels see no rows)."""

    elements: int
    unit: int
    columns: int

    @property
    def leaf(self) -> int:
        """The fewest whole units of at least 65,536 elements; one matrix."""
        return self.unit * -(-CHUNK_ELEMENTS // self.unit) if self.unit < CHUNK_ELEMENTS else self.unit

    def tile(self, wanted: int) -> int:
        """The elements of a tile: whole leaves, about `wanted`."""
        return self.leaf * max(1, wanted // self.leaf)


def extent(shape: tuple[int, ...], granularity: Granularity) -> Extent:
    """The cut of a tensor. A 3-D tensor is a stack of matrices, whose rows are its rows; a convolution is the matrix
    [out, -1]; a tensor of one dimension is one row."""
    elements = math.prod(shape)
    if granularity == "element":
        return Extent(elements, 1, 0)
    row = shape[2] if len(shape) == 3 else math.prod(shape[1:]) if len(shape) > 1 else elements
    if granularity == "row":
        return Extent(elements, max(row, 1), max(row, 1))
    matrix = shape[1] * shape[2] if len(shape) == 3 else elements
    return Extent(elements, max(matrix, 1), max(row, 1))
