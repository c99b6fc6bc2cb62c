"""A task vector without its largest and its smallest changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from mergegraph.errors import Problem
from mergegraph.expr import Expr, Space, apply, linear
from mergegraph.fields import Coefficient
from mergegraph.methods.base import Parameters
from mergegraph.methods.kernel import Kernel
from mergegraph.methods.thinning import Rescale, Thinning, density_problem, restored
from mergegraph.statistic import abs_quantile

if TYPE_CHECKING:
    from torch import Tensor


class Outliers(Thinning):
    """Breadcrumbs: the largest changes are dropped as outliers, the next largest kept, the rest dropped as noise.

    y = d where rank_i(|d|) in (n_top, n_top + k], else 0;  k = floor(density n), n_top = min(floor(gamma n), n - k)

    Ranks are from the largest, in each tensor or (`scope: model`) over all of the node. A density of 1 keeps
    everything. Of equals at either end a random part is kept, as many as are wanted.

    Davari and Belilovsky, "Model breadcrumbs: scaling multi-task model merging with sparse masks", ECCV 2024,
    arXiv 2312.06795.
    """

    in_pieces = True
    scratch = 3
    example = "crumbs: {op: outliers, input: d_code, density: 0.6, gamma: 0.05}"

    op: Literal["outliers"] = "outliers"
    gamma: Coefficient = Field(default=0.01, description="the share of elements dropped as outliers")
    scope: Literal["tensor", "model"] = Field(default="tensor", description="what is ranked together")
    rescale: Rescale = Field(default="none", description="none, l1 (keep the sum of magnitudes), expected (1/density)")

    def objection(self, p: Parameters) -> Problem | None:
        if 0 <= p.gamma <= 1:
            return density_problem(float(p.density))
        return Problem(f"A gamma of {float(p.gamma):g} is no share.", fix="write a share between 0 and 1")

    def gathered(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Sequence[Expr]:
        return self.deltas(inputs) if self.scope == "model" else ()

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        (delta,) = self.deltas(inputs)
        density, gamma = float(p.density), float(p.gamma)
        if density >= 1:
            return delta
        if density <= 0:
            return linear([], "delta")
        over = p.populations[0] if self.scope == "model" else delta
        ends = [abs_quantile(over, rank, density=density, gamma=gamma) for rank in ("top_and_kept", "top_dropped")]
        scale = ("scale", 1 / density if self.rescale == "expected" else 1.0)
        kept = apply(self.op, (delta,), (scale,), "delta", ends, p.noises[-1])
        return restored(kept, delta) if self.rescale == "l1" else kept

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        """What is at or above the lower end, less what is at or above the upper; one random number serves both, so
        that with equal ends what the upper takes is part of what the lower takes."""
        (delta,) = operands
        low, high = k.stats
        size, chosen, mask = k.scratch(), k.scratch(), k.scratch()
        k.ops.abs(delta, out=size)
        k.out.zero_()
        for end, sign in ((low, 1.0), (high, -1.0)):
            if end.wanted:
                _take(k, size, end, sign, chosen, mask)
        k.out.mul_(delta)
        if k.p.scale != 1.0:
            k.out.mul_(k.p.scale)


def _take(k: Kernel, size: Tensor, end: Any, sign: float, chosen: Tensor, mask: Tensor) -> None:
    """`k.out` += sign where a magnitude is above an end, or just at it and chosen."""
    k.ops.eq(size, end.value, out=mask)
    if end.share_of_equal < 1:
        k.uniform(chosen)
        k.ops.lt(chosen, end.share_of_equal, out=chosen)
        mask.mul_(chosen)
    k.out.add_(mask, alpha=sign)
    k.ops.gt(size, end.value, out=mask)
    k.out.add_(mask, alpha=sign)
