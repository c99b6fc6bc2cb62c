"""Singular values and directions of whole matrices, found in float64 from their small Gram matrices.

A matrix is looked at wide: transposed where it has more rows than columns, so that the short side comes first. What
has the size of the matrix itself is made a block of columns at a time; only squares of the short side are held whole.
The eigenvectors of a Gram matrix are singular vectors, and their signs and rotations cancel in all that is made here.

Half the digits are lost by squaring: singular values below `NEGLIGIBLE` of a matrix's norm are noise, in float32 the
rounding of the matrix itself, and count as zero. They have no direction. Inputs are divided by the largest magnitude
first, so that no square overflows or vanishes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

NEGLIGIBLE = 1e-6
_BLOCK_COLUMNS = 512
_DOUBLE = 2
"""A float64 takes the room of two elements of the compute dtype, float32; where that is float64 the promise is wide."""
_BLOCKS = 6
"""Blocks of columns that are held at a time, at most."""
_EIGEN_SQUARES = 3
"""What finding eigenvectors takes, beyond its input; no blocks are held meanwhile."""


@dataclass(frozen=True)
class Blocked:
    """A float64 matrix [rows, columns], made a block of columns at a time by `block`. `ops`: the torch module."""

    ops: Any
    rows: int
    columns: int
    block: Callable[[slice], Tensor]

    def gram(self, added_to: Tensor | None = None) -> Tensor:
        """X Xᵀ, [rows, rows]; in `added_to` where it is given."""
        total = zeros(self.ops, self.rows, self.rows) if added_to is None else added_to
        for columns in column_blocks(self.columns):
            part = self.block(columns)
            total.addmm_(part, part.T)
        return total

    def cross(self, other: Blocked) -> Tensor:
        """X Yᵀ, [rows, other.rows]."""
        total = zeros(self.ops, self.rows, other.rows)
        for columns in column_blocks(self.columns):
            total.addmm_(self.block(columns), other.block(columns).T)
        return total

    def norm(self) -> float:
        """The Frobenius norm."""
        return math.sqrt(sum(float(self.block(columns).square_().sum()) for columns in column_blocks(self.columns)))

    def store(self, factor: Tensor, out: Tensor, scale: float) -> None:
        """`out` = scale · factor X, for `factor` [n, rows] and `out` [n, columns]."""
        for columns in column_blocks(self.columns):
            out[:, columns].copy_((factor @ self.block(columns)).mul_(scale))


def zeros(ops: Any, rows: int, columns: int) -> Tensor:
    """A float64 matrix of zeros."""
    made: Tensor = ops.zeros((rows, columns), dtype=ops.float64)
    return made


def column_blocks(columns: int) -> Iterator[slice]:
    """`columns` cut into blocks, the same whatever the machine."""
    return (slice(start, start + _BLOCK_COLUMNS) for start in range(0, columns, _BLOCK_COLUMNS))


def is_tall(matrix: Tensor) -> bool:
    """Whether the columns are the short side."""
    return matrix.shape[0] > matrix.shape[1]


def wide(matrix: Tensor) -> Tensor:
    """The matrix or its transpose, [short side, long side]; the same memory."""
    return matrix.T if is_tall(matrix) else matrix


def largest_magnitude(ops: Any, matrices: Sequence[Tensor]) -> float:
    """max |x| over all elements; 1 where all are zero, so that it can be divided by."""
    extremes = [ops.aminmax(matrix) for matrix in matrices if matrix.numel()]
    largest = max((max(-float(low), float(high)) for low, high in extremes), default=0.0)
    return largest or 1.0


def blocked(ops: Any, matrix: Tensor, scale: float) -> Blocked:
    """matrix / scale."""
    return Blocked(ops, matrix.shape[0], matrix.shape[1], lambda columns: as_double(ops, matrix[:, columns], scale))


def blocked_sum(ops: Any, matrices: Sequence[Tensor], scale: float) -> Blocked:
    """The sum of matrices of one shape, over `scale`."""

    def block(columns: slice) -> Tensor:
        total = as_double(ops, matrices[0][:, columns], scale)
        for matrix in matrices[1:]:
            total.add_(as_double(ops, matrix[:, columns], scale))
        return total

    return Blocked(ops, matrices[0].shape[0], matrices[0].shape[1], block)


def as_double(ops: Any, part: Tensor, scale: float) -> Tensor:
    """A new float64 tensor, part / scale."""
    copied: Tensor = part.to(ops.float64, copy=True)
    return copied.div_(scale)


def eigen(ops: Any, gram: Tensor) -> tuple[Tensor, Tensor]:
    """The squared singular values, smallest first and none below zero, and the directions as columns.

    NaN throughout where a NaN or Inf comes in: LAPACK refuses those, and the run finds and explains them in the result.
    """
    if not math.isfinite(float(gram.sum())):
        return gram.diagonal().clone().fill_(math.nan), gram.fill_(math.nan)
    values, vectors = ops.linalg.eigh(gram)
    return values.clamp_(min=0), vectors


def norm_of(gram: Tensor) -> float:
    """The Frobenius norm of the matrix that a Gram matrix is of."""
    return float(gram.trace().clamp(min=0).sqrt())


def root(ops: Any, gram: Tensor, power: int = -1, cut: float | None = None) -> tuple[Tensor, float]:
    """(gram^(power/2) on the directions that are not negligible, the mean of all singular values). `power`: -1 or -2.

    With -1, `root(X Xᵀ) X` is the nearest matrix to X with orthonormal rows; with -2 it is the pseudo-inverse.
    Singular values up to `cut` are negligible; by default those below `NEGLIGIBLE` of the norm.
    """
    norm = norm_of(gram)
    values, vectors = eigen(ops, gram)
    singular = values.sqrt()
    kept = (singular > (NEGLIGIBLE * norm if cut is None else cut)).to(ops.float64)
    mean = float((singular * kept).sum()) / max(len(singular), 1)
    scaled = vectors * reciprocal(singular if power == -1 else values, kept)
    return scaled @ vectors.T, mean


def reciprocal(values: Tensor, kept: Tensor) -> Tensor:
    """1 / values where `kept` is 1, and 0 where it is 0."""
    return kept / (values * kept + (1 - kept))


def room(squares: int, rows: int, columns: int) -> int:
    """Workspace of a kernel that holds so many squares of the short side while eigenvectors are found, and blocks of
    columns at other times. One block more is for the buffers of the matrix product."""
    short, long = min(rows, columns), max(rows, columns)
    square, block = short * short, short * min(_BLOCK_COLUMNS, long)
    return _DOUBLE * (max(squares * square, (squares - _EIGEN_SQUARES) * square + _BLOCKS * block) + block)
