"""Only what several tasks use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, Strict

from mergegraph.expr import Expr, Space, apply
from mergegraph.fields import Inputs
from mergegraph.methods.base import Parameters
from mergegraph.methods.kernel import Kernel
from mergegraph.methods.over_deltas import OverDeltas

if TYPE_CHECKING:
    from torch import Tensor


class Consensus(OverDeltas):
    """Consensus task arithmetic: the sum of the deltas, without the elements that fewer than `agreeing` tasks use.

    y = D where sum_i m_i >= agreeing, else 0;  D = sum_i d_i over the inputs, m_i = |d_i| >= threshold |D - d_i|

    Wang et al., "Localizing task information for improved model merging and compression", ICML 2024, arXiv 2405.07813.
    """

    in_pieces = True
    scratch = 3
    example = "shared: {op: consensus, inputs: [d_code, d_chat, d_math]}"

    op: Literal["consensus"] = "consensus"
    inputs: Inputs = Field(description="deltas, or models with `base`")
    threshold: float = Field(default=0.4, ge=0, description="how large a delta is beside the others where it is used")
    agreeing: Annotated[int, Strict(), Field(ge=1)] = Field(default=2, description="how many tasks must use an element")

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        parameters = (("threshold", self.threshold), ("agreeing", self.agreeing))
        return apply(self.op, self.deltas(inputs), parameters, space)

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        others, size, users = k.scratch(), k.scratch(), k.scratch()
        k.out.zero_()
        for delta in operands:
            k.out.add_(delta)
        users.zero_()
        for delta in operands:
            k.ops.sub(k.out, delta, out=others)
            others.abs_().mul_(k.p.threshold)
            k.ops.abs(delta, out=size)
            k.ops.ge(size, others, out=size)
            users.add_(size)
        k.ops.ge(users, k.p.agreeing, out=users)
        k.out.mul_(users)
