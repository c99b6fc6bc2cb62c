"""The strongest directions of a task vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, Strict, model_validator

from mergegraph.errors import Unfit
from mergegraph.expr import Expr, Space, Value, apply
from mergegraph.fields import Either, Number
from mergegraph.methods.base import Parameters
from mergegraph.methods.kernel import Kernel
from mergegraph.methods.over_deltas import OverDeltas
from mergegraph.methods.spectrum import blocked, eigen, is_tall, largest_magnitude, reciprocal, room, wide, zeros

if TYPE_CHECKING:
    from torch import Tensor

_ROUNDING = 1e-12
"""An energy of 1 is reached by what rounding leaves of it."""


class LowRank(OverDeltas):
    """The best approximation of a delta by a matrix of low rank, tensor by tensor: its truncated singular value
    decomposition.

    y = sum_(r <= rank) sigma_r u_r v_r^T, with input = sum_r sigma_r u_r v_r^T and sigma_1 >= sigma_2 >= …

    `energy: e` takes the smallest rank that holds a share e of sum sigma_r². A rank of the short side or more
    changes nothing, and tensors of fewer than two dimensions are kept as they are.

    Eckart and Young, "The approximation of one matrix by another of lower rank", Psychometrika 1936.
    """

    granularity = "matrix"
    matrices_only = True
    example = "slim: {op: low_rank, input: d_code, rank: 16}"

    op: Literal["low_rank"] = "low_rank"
    input: Either = Field(description="the delta; with `base`, a model")
    rank: Annotated[int, Strict(), Field(ge=1)] | None = Field(default=None, description="how many directions are kept")
    energy: Annotated[Number, Field(gt=0, le=1)] | None = Field(
        default=None, description="or the share of the sum of squares that they hold, up to 1"
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.rank is None) == (self.energy is None):
            fix = "write `rank: 16`, or `energy: 0.9`" if self.rank is None else "leave out `rank:` or `energy:`"
            raise Unfit("low_rank takes `rank` or `energy`, one of the two", fix)
        return self

    def passed(self, inputs: Sequence[Expr | None], space: Space) -> Expr:
        return self.deltas(inputs)[0]

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        chosen: tuple[str, Value] = ("energy", self.energy or 1.0) if self.rank is None else ("rank", self.rank)
        return apply(self.op, self.deltas(inputs), (chosen,), space)

    @classmethod
    def workspace(cls, rows: int, columns: int, operands: int) -> int:
        return room(4, rows, columns)

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        (delta,) = operands
        scale = largest_magnitude(k.ops, operands)
        kept = leading(k.ops, delta, scale, getattr(k.p, "rank", None), getattr(k.p, "energy", None))
        if kept.shape[0] == kept.shape[1]:
            k.out.copy_(delta)
        else:
            blocked(k.ops, wide(delta), scale).store(kept @ kept.T, wide(k.out), scale)


def leading(ops: Any, delta: Tensor, scale: float, rank: int | None, energy: float | None) -> Tensor:
    """The directions that are kept, along the short side: [short side, rank], orthonormal, weakest first."""
    matrix = blocked(ops, wide(delta), scale)
    if rank is not None and rank >= matrix.rows:
        return zeros(ops, matrix.rows, matrix.rows).fill_diagonal_(1.0)
    squares, vectors = eigen(ops, matrix.gram())
    wanted = rank if rank is not None else _rank_of(squares.flip(0), energy or 1.0)
    return vectors[:, matrix.rows - wanted :].clone()


def _rank_of(squares: Tensor, energy: float) -> int:
    """The fewest of the largest squares that hold a share of their sum; at least one."""
    held = squares.cumsum(0)
    missing = held < energy * (1 - _ROUNDING) * squares.sum()
    return min(int(missing.sum()) + 1, len(squares))


def factors(ops: Any, delta: Tensor, *, rank: int | None = None, energy: float | None = None) -> tuple[Tensor, Tensor]:
    """(B [rows, rank], A [rank, columns]) in float64, strongest direction first: B A is what `low_rank` makes of a
    delta [rows, columns]. Both have the roots of the singular values, so that a half type holds them equally well.

    Takes float64 copies of both factors, beyond the kernel's workspace.
    """
    scale = largest_magnitude(ops, (delta,))
    kept = leading(ops, delta, scale, rank, energy).flip(1)
    along = kept.T @ wide(delta).to(ops.float64)
    roots = along.square().sum(1).sqrt_().sqrt_()
    short, long = kept * roots, along.mul_(reciprocal(roots, (roots > 0).to(ops.float64))[:, None])
    return (long.T, short.T) if is_tall(delta) else (short, long)
