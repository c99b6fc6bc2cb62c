"""The sum of task vectors, its weakest directions replaced by each task's own, all equally strong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from mergegraph.expr import Expr, Space, apply
from mergegraph.fields import Inputs, Number
from mergegraph.methods.base import Parameters
from mergegraph.methods.kernel import Kernel
from mergegraph.methods.over_deltas import OverDeltas
from mergegraph.methods.recombining import recombine
from mergegraph.methods.spectrum import (
    NEGLIGIBLE,
    Blocked,
    blocked,
    blocked_sum,
    eigen,
    is_tall,
    largest_magnitude,
    norm_of,
    reciprocal,
    room,
    wide,
    zeros,
)

if TYPE_CHECKING:
    from torch import Tensor


class IsoCts(OverDeltas):
    """Isotropic merging in common and task-specific subspaces: the strongest directions of the sum of the deltas, the
    rest of the rank from what is left of each delta. The result is a sum: scale it afterwards.

    y = mean(sigma) P_U Q_U^T P_V Q_V^T, where U, sigma, V are the triplets side by side and U = P_U D Q_U^T: the first
    c of sum_i d_i = U_c Sigma_c V_c^T, and the first (r - c) / T of (I - U_c U_c^T) d_i for each of the T inputs

    r is the short side; c is `common_fraction` of it, rounded so that the rest divides by T. Directions below a
    millionth of their matrix, and those that others already have, are left out. Tensors of fewer than two dimensions
    are averaged.

    Marczak et al., "No task left behind: isotropic model merging with common and task-specific subspaces", ICML 2025,
    arXiv 2502.04959.
    """

    granularity = "matrix"
    matrices_only = True
    example = "merged: {op: iso_cts, inputs: [d_code, d_chat], common_fraction: 0.8}"

    op: Literal["iso_cts"] = "iso_cts"
    inputs: Inputs = Field(description="deltas, or models with `base`")
    common_fraction: Annotated[Number, Field(ge=0, le=1)] = Field(
        default=0.8, description="the share of the rank that the sum of the deltas gets"
    )

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        return apply(self.op, self.deltas(inputs), (("common_fraction", self.common_fraction),), space)

    @classmethod
    def workspace(cls, rows: int, columns: int, operands: int) -> int:
        return room(7, rows, columns)

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        scale = largest_magnitude(k.ops, operands)
        matrices = [blocked(k.ops, wide(delta), scale) for delta in operands]
        total = blocked_sum(k.ops, [wide(delta) for delta in operands], scale)
        own = task_share(total.rows, len(matrices), k.p.common_fraction)
        chosen = _Chosen(k.ops, total, total.rows - own * len(matrices))
        for matrix in matrices:
            chosen.add(matrix, own, is_tall(k.out))

        def level(values: Tensor) -> Tensor:
            return values.mean().expand_as(values) if len(values) else values

        recombine(k.ops, chosen.short, chosen.along(), chosen.floors, level, wide(k.out), scale)


def task_share(rank: int, tasks: int, common_fraction: float) -> int:
    """How many directions each task gets; the sum gets the rest of the rank."""
    return min(rank // tasks, round((rank - int(rank * common_fraction)) / tasks))


class _Chosen:
    """The directions of the sum and of each task, along the short side, as columns of `short`."""

    def __init__(self, ops: Any, total: Blocked, common: int) -> None:
        self.ops, self.total, self.common, self.count = ops, total, common, common
        self.short = zeros(ops, total.rows, total.rows)
        self.floors = zeros(ops, 1, total.rows)[0]
        self.tasks: list[tuple[Blocked, slice, Tensor | None]] = []
        gram = total.gram()
        floor = NEGLIGIBLE * norm_of(gram)
        squares, vectors = eigen(ops, gram)
        self.short[:, :common] = vectors[:, total.rows - common :]
        self.floors[:common] = floor
        values = squares[total.rows - common :].sqrt()
        self.inverse = reciprocal(values, (values > floor).to(ops.float64))

    def add(self, matrix: Blocked, own: int, tall: bool) -> None:
        """The strongest directions of a task's matrix without the common ones.

        What is taken out are the common directions along the rows of the matrix as stored: the short side, or where
        it is tall the long one, `inverse · shortᵀ total`.
        """
        gram = matrix.gram()
        common, taken = self.short[:, : self.common], None
        place = slice(self.count, self.count + own)
        self.floors[place] = NEGLIGIBLE * norm_of(gram)
        if tall:
            taken = matrix.cross(self.total) @ common
            taken.mul_(self.inverse)
            gram.addmm_(taken, taken.T, alpha=-1)
        else:
            gram.addmm_(common, common.T @ gram, alpha=-1)
            gram.addmm_(gram @ common, common.T, alpha=-1)
        self.short[:, place] = eigen(self.ops, gram)[1][:, self.total.rows - own :]
        if taken is not None:
            taken = (self.short[:, place].T @ taken).mul_(self.inverse)
        self.tasks.append((matrix, place, taken))
        self.count += own

    def along(self) -> Blocked:
        """The directions along the long side, times their singular values, as rows."""

        def block(columns: slice) -> Tensor:
            total = self.short[:, : self.common].T @ self.total.block(columns)
            rows = [total]
            for matrix, place, taken in self.tasks:
                rows.append(self.short[:, place].T @ matrix.block(columns))
                if taken is not None:
                    rows[-1].addmm_(taken, total, alpha=-1)
            return self.ops.cat(rows)

        return Blocked(self.ops, self.count, self.total.columns, block)
