"""The sum of task vectors with all its directions equally strong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mergegraph.expr import Expr, Space, apply
from mergegraph.fields import Inputs
from mergegraph.methods.base import Parameters
from mergegraph.methods.kernel import Kernel
from mergegraph.methods.over_deltas import OverDeltas
from mergegraph.methods.spectrum import blocked_sum, largest_magnitude, room, root, wide

if TYPE_CHECKING:
    from torch import Tensor


class IsoC(OverDeltas):
    """Isotropic merging in the common subspace: the sum of the deltas, every singular value replaced by their mean.
    The result is a sum: scale it afterwards.

    y = mean(sigma) U V^T, with sum_i d_i = U diag(sigma) V^T over the inputs

    Directions below a millionth of the sum are left out: they are noise. Tensors of fewer than two dimensions are
    averaged.

    Marczak et al., "No task left behind: isotropic model merging with common and task-specific subspaces", ICML 2025,
    arXiv 2502.04959.
    """

    granularity = "matrix"
    matrices_only = True
    example = "merged: {op: iso_c, inputs: [d_code, d_chat]}"

    op: Literal["iso_c"] = "iso_c"
    inputs: Inputs = Field(description="deltas, or models with `base`")

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        return apply(self.op, self.deltas(inputs), (), space)

    @classmethod
    def workspace(cls, rows: int, columns: int, operands: int) -> int:
        return room(4, rows, columns)

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        scale = largest_magnitude(k.ops, operands)
        total = blocked_sum(k.ops, [wide(delta) for delta in operands], scale)
        flat, mean = root(k.ops, total.gram())
        total.store(flat, wide(k.out), mean * scale)
