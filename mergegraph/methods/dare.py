"""Most of a task vector dropped at random, the rest scaled up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mergegraph.expr import Expr, Space, apply, linear
from mergegraph.methods.base import Parameters
from mergegraph.methods.kernel import Kernel
from mergegraph.methods.thinning import Rescale, Thinning, restored

if TYPE_CHECKING:
    from torch import Tensor


class Dare(Thinning):
    """Drop and rescale: every element is kept with probability `density`, and the others become zero.

    y_i = m_i d_i / density, m_i ~ Bernoulli(density)   (l1: m_i d_i · sum |d| / sum |m d|; none: m_i d_i)

    Yu et al., "Language models are super Mario: absorbing abilities from homologous models as a free lunch",
    ICML 2024, arXiv 2311.03099.
    """

    scratch = 1
    in_pieces = True
    loses = "drop"
    example = "thin: {op: dare, input: d_code, density: 0.3}"

    op: Literal["dare"] = "dare"
    rescale: Rescale = Field(
        default="expected", description="expected (divide by density), l1 (keep the sum of magnitudes), none"
    )

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        (delta,) = self.deltas(inputs)
        density = float(p.density)
        if density >= 1:
            return delta
        if density <= 0:
            return linear([], "delta")
        scale = 1 / density if self.rescale == "expected" else 1.0
        kept = apply(self.op, (delta,), (("density", density), ("scale", scale)), "delta", (), p.noises[-1])
        return restored(kept, delta) if self.rescale == "l1" else kept

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        (delta,) = operands
        kept = k.uniform(k.scratch())
        k.ops.lt(kept, k.p.density, out=kept)
        k.ops.mul(delta, kept, out=k.out)
        if k.p.scale != 1.0:
            k.out.mul_(k.p.scale)
