"""Keeping a merge inside the range its sources span."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from mergegraph.fields import Weights
from mergegraph.methods.combination import Combination
from mergegraph.methods.kernel import Kernel

if TYPE_CHECKING:
    from torch import Tensor


class Clamp(Combination):
    """Every element moved into the range that the given models span there.

    y = min(max(input, min_i within_i), max_i within_i)

    sd-mecha, the method `clamp`, https://github.com/ljleb/sd-mecha
    """

    in_pieces = True
    gives = "weights"
    scratch = 1
    example = "safe: {op: clamp, input: merged, within: [base, a, b]}"

    op: Literal["clamp"] = "clamp"
    input: Weights = Field(description="the merge that is kept in range")
    within: Annotated[tuple[Weights, ...], Field(min_length=1, description="the models that span the range")]

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        x, first, *rest = operands
        bound = k.scratch()
        bound.copy_(first)
        for other in rest:
            k.ops.minimum(bound, other, out=bound)
        k.ops.maximum(x, bound, out=k.out)
        bound.copy_(first)
        for other in rest:
            k.ops.maximum(bound, other, out=bound)
        k.ops.minimum(k.out, bound, out=k.out)
