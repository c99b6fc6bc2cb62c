"""The largest elements of a delta by magnitude: a kernel, and the expression that trim and ties build with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mergegraph.expr import Expr, Noise, Population, apply, linear
from mergegraph.methods.kernel import Kernel, Piece
from mergegraph.methods.thinning import Rescale, restored
from mergegraph.statistic import abs_quantile

if TYPE_CHECKING:
    from torch import Tensor


class KeepLargest(Piece):
    """The elements whose magnitude is above the threshold; of those just at it, a random share, so that as many are
    kept as were asked for. `scale` multiplies what is kept."""

    name = "keep_largest"
    loses = "trim"
    in_pieces = True

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        (delta,) = operands
        (threshold,) = k.stats
        k.ops.hardshrink(delta, threshold.value, out=k.out)
        k.draw_equal(delta, threshold.value, threshold.share_of_equal)
        if k.p.scale != 1.0:
            k.out.mul_(k.p.scale)


def choose(k: Kernel, size: Tensor, threshold: Any, chosen: Tensor) -> None:
    """`chosen` = 1 where a size is above the threshold, or just at it and drawn, so that as many are chosen as were
    wanted; 0 elsewhere. `k.out` is used on the way."""
    if threshold.share_of_equal >= 1:
        k.ops.ge(size, threshold.value, out=chosen)
        return
    k.uniform(chosen)
    k.ops.lt(chosen, threshold.share_of_equal, out=chosen)
    k.ops.eq(size, threshold.value, out=k.out)
    chosen.mul_(k.out)
    k.ops.gt(size, threshold.value, out=k.out)
    chosen.add_(k.out)


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
