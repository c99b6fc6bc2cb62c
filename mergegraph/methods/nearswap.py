"""Interpolation that is strongest where two models are close."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mergegraph.fields import Coefficient, Weights
from mergegraph.methods.combination import Combination
from mergegraph.methods.kernel import Kernel

if TYPE_CHECKING:
    from torch import Tensor

_SMALLEST = 1e-37
"""Below every difference that matters, and its reciprocal is still finite in float32."""


class NearSwap(Combination):
    """Takes b where it is within t of a, and moves ever less of the way to it where it is further.

    w = min(t / |a - b|, 1);  y = (1 - w) a + w b

    alchemonaut, "QuartetAnemoi", https://huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001
    """

    in_pieces = True
    gives = "weights"
    scratch = 1
    example = "near: {op: nearswap, a: base, b: tuned, t: 0.001}"

    op: Literal["nearswap"] = "nearswap"
    a: Weights = Field(description="the model that is kept where the two are far apart")
    b: Weights = Field(description="the model that is taken where the two are close")
    t: Coefficient = Field(description="the distance up to which b is taken whole")

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        a, b = operands
        share = k.scratch()
        k.ops.sub(a, b, out=share)
        share.abs_().clamp_(min=_SMALLEST).reciprocal_().mul_(k.p.t).clamp_(0, 1)
        k.ops.lerp(a, b, share, out=k.out)
