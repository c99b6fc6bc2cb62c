"""The largest elements of a delta by magnitude: a kernel, and the expression that trim and ties build with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mergegraph.expr import Expr, Noise, Population, apply, linear
from mergegraph.methods.kernel import Kernel, Piece
from mergegraph.methods.thinning import Rescale, restored
from mergegraph.statistic import abs_quantile

if TYPE_CHECKING:
    from torch import Tensor


class KeepLargest(Piece):
    """The elements whose magnitude is at the threshold or above; of those just at it, a random share, so that as
    many are kept as were asked for. `scale` multiplies what is kept."""

    name = "keep_largest"
    scratch = 2

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        (delta,) = operands
        (threshold,) = k.stats
        size, kept = k.scratch(), k.scratch()
        k.ops.abs(delta, out=size)
        if threshold.share_of_equal < 1:
            k.uniform(kept)
            k.ops.lt(kept, threshold.share_of_equal, out=kept)
            k.ops.eq(size, threshold.value, out=k.out)
            kept.mul_(k.out)
            k.ops.gt(size, threshold.value, out=k.out)
            kept.add_(k.out)
        else:
            k.ops.ge(size, threshold.value, out=kept)
        k.ops.mul(delta, kept, out=k.out)
        if k.p.scale != 1.0:
            k.out.mul_(k.p.scale)


def trimmed(delta: Expr, density: float, rescale: Rescale, noise: Noise, over: Population | None = None) -> Expr:
    """The `density` largest elements of `delta`, among those of the tensor or of a population."""
    if density >= 1:
        return delta
    if density <= 0:
        return linear([], "delta")
    threshold = abs_quantile(delta if over is None else over, "largest", share=density)
    scale = ("scale", 1 / density if rescale == "expected" else 1.0)
    kept = apply(KeepLargest.name, (delta,), (scale,), "delta", (threshold,), noise)
    return restored(kept, delta) if rescale == "l1" else kept
