"""The buffers that products and joined matrices are computed in, whatever the tile: how many bytes each has."""

from __future__ import annotations

from math import prod

from mergegraph.dtypes import BY_CODE
from mergegraph.plan.extent import Extent
from mergegraph.plan.steps import Join, Multiply, Program, Split

STAGED_ELEMENTS = 65_536
"""Stored numbers of another dtype are converted so many at a time."""
_DOUBLE = 8


def block_rows(columns: int) -> int:
    """Rows of a product that are multiplied at a time, from the first row of the tensor on: never the budget's
    choice, since the bits of a product depend on how many rows are multiplied."""
    return Extent(0, columns, columns).leaf // columns


def room(step: Multiply | Join, *, double: bool) -> tuple[int, ...]:
    """Bytes of a step's buffers, in their order.

    Multiply: the factor that is held whole, a block of the other, a block of the result, staging.
    Join: the result, the result rounded, staging.
    """
    width = 8 if double else 4
    if isinstance(step, Multiply):
        rows = block_rows(step.columns)
        staged = STAGED_ELEMENTS * _DOUBLE if any(BY_CODE[code].bits != 8 * width for code in step.dtypes) else 0
        elements = step.rank * step.columns, rows * step.rank, rows * step.columns
        return (*(count * width for count in elements), staged)
    elements = prod(step.shape)
    longest = max([piece.shape[1] for piece in step.pieces])
    return elements * width, elements * BY_CODE[step.dtype].itemsize, max(STAGED_ELEMENTS, longest) * _DOUBLE


def room_bytes(program: Program) -> int:
    """What the step with the largest buffers takes; each is a multiple of 64 bytes."""
    steps = [step for step in program.steps if isinstance(step, Multiply | Join)]
    return max((sum(map(aligned, room(step, double=program.double))) for step in steps), default=0)


def split_bytes(step: Split, workspace: int) -> int:
    """What torch allocates for the factors of a matrix: a float64 copy of it, and both factors with temporaries.
    `workspace`: of the kernel that finds the directions."""
    rows, columns = step.shape
    return workspace + _DOUBLE * (rows * columns + 3 * (rows + columns) * step.rank)


def aligned(count: int) -> int:
    return -(-count // 64) * 64
