"""Task vectors merged by their singular vectors, made to stay out of each other's way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mergegraph.expr import Expr, Space, apply
from mergegraph.fields import Inputs
from mergegraph.methods.base import Parameters
from mergegraph.methods.kernel import Kernel
from mergegraph.methods.over_deltas import OverDeltas
from mergegraph.methods.recombining import recombine
from mergegraph.methods.spectrum import (
    NEGLIGIBLE,
    Blocked,
    blocked,
    eigen,
    largest_magnitude,
    room,
    wide,
    zeros,
)

if TYPE_CHECKING:
    from torch import Tensor


class Tsv(OverDeltas):
    """Task singular vectors: of each delta the strongest directions, an equal share of the rank for all, orthogonalised
    against each other and added up. The result is a sum: scale it afterwards.

    y = P_U Q_U^T Sigma P_V Q_V^T, where U, Sigma, V are the first floor(min(m, n) / T) singular triplets of each of
    the T inputs side by side, and U = P_U D Q_U^T

    At least one triplet of each. Directions below a millionth of their delta, and those that the others already
    have, are left out: a delta that is given twice counts once. Tensors of fewer than two dimensions are averaged.

    Gargiulo et al., "Task singular vectors: reducing task interference in model merging", CVPR 2025,
    arXiv 2412.00081 (TSV-M).
    """

    granularity = "matrix"
    matrices_only = True
    example = "merged: {op: tsv, inputs: [d_code, d_chat]}"

    op: Literal["tsv"] = "tsv"
    inputs: Inputs = Field(description="deltas, or models with `base`")

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        return apply(self.op, self.deltas(inputs), (), space)

    @classmethod
    def workspace(cls, rows: int, columns: int, operands: int) -> int:
        return room(6, max(rows, operands), max(columns, operands))

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        scale = largest_magnitude(k.ops, operands)
        matrices = [blocked(k.ops, wide(delta), scale) for delta in operands]
        rows, columns = matrices[0].rows, matrices[0].columns
        share = min(rows, max(1, rows // len(matrices)))
        short, floors = zeros(k.ops, rows, share * len(matrices)), zeros(k.ops, len(matrices), share)
        for index, matrix in enumerate(matrices):
            short[:, index * share : (index + 1) * share] = eigen(k.ops, matrix.gram())[1][:, rows - share :]
            floors[index] = NEGLIGIBLE * matrix.norm()

        def along(part: slice) -> Tensor:
            own = [short[:, i * share : (i + 1) * share].T @ each.block(part) for i, each in enumerate(matrices)]
            return k.ops.cat(own)

        directions = Blocked(k.ops, short.shape[1], columns, along)
        recombine(k.ops, short, directions, floors.view(-1), lambda values: values, wide(k.out), scale)
