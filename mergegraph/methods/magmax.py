"""The strongest change wins, element by element."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mergegraph.expr import Expr, Space, apply
from mergegraph.fields import Inputs
from mergegraph.methods.base import Parameters
from mergegraph.methods.kernel import Kernel
from mergegraph.methods.over_deltas import OverDeltas

if TYPE_CHECKING:
    from torch import Tensor


class MagMax(OverDeltas):
    """Each element from the delta that is largest there in magnitude; the first of equals.

    y = d_i with i = argmax_i |d_i|, over the inputs

    Marczak et al., "MagMax: leveraging model merging for seamless continual learning", ECCV 2024, arXiv 2407.06322.
    """

    in_pieces = True
    scratch = 2
    example = "strongest: {op: magmax, inputs: [d_code, d_chat]}"

    op: Literal["magmax"] = "magmax"
    inputs: Inputs = Field(description="deltas, or models with `base`")

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        return apply(self.op, self.deltas(inputs), (), space)

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        first, *others = operands
        k.out.copy_(first)
        keep, taken = k.scratch(), k.scratch()
        for delta in others:
            k.ops.abs(delta, out=taken)
            k.ops.abs(k.out, out=keep)
            k.ops.le(taken, keep, out=keep)
            k.out.mul_(keep)
            k.ops.eq(keep, 0, out=keep)
            k.ops.mul(delta, keep, out=taken)
            k.out.add_(taken)
