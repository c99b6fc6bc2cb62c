"""Interpolation along the great circle between two models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mergegraph.errors import Problem
from mergegraph.expr import Expr, Space, apply
from mergegraph.fields import Coefficient, Weights
from mergegraph.methods.base import Parameters
from mergegraph.methods.combination import Combination
from mergegraph.methods.kernel import Kernel
from mergegraph.statistic import dot

if TYPE_CHECKING:
    from torch import Tensor

_NEARLY_PARALLEL = 0.9995


class Slerp(Combination):
    """Spherical interpolation between two models, one angle per tensor.

    theta = arccos(<a, b> / |a||b|);  y = sin((1-t) theta) / sin(theta) a + sin(t theta) / sin(theta) b

    Where |cos theta| > 0.9995, or one of them is zero, the straight line (1-t) a + t b. t outside [0, 1] goes on
    along the circle, and warns.

    Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985.
    """

    gives = "weights"
    in_pieces = True
    example = "mid: {op: slerp, a: base, b: tuned, t: 0.3}"

    op: Literal["slerp"] = "slerp"
    a: Weights = Field(description="the model at t = 0")
    b: Weights = Field(description="the model at t = 1")
    t: Coefficient = Field(default=0.5, description="how far to go from a to b")

    def objection(self, p: Parameters) -> Problem | None:
        if 0 <= p.t <= 1:
            return None
        return Problem(
            f"t is {float(p.t):g}: the circle is followed past its ends.",
            why="between 0 and 1 the result lies between the two models",
            severity="warning",
        )

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        a, b = (operand for operand in inputs if operand is not None)
        return apply(self.op, (a, b), (("t", float(p.t)),), space, (dot(a, a), dot(b, b), dot(a, b)))

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        a, b = operands
        aa, bb, ab = k.stats
        of_a, of_b = _shares(aa, bb, ab, k.p.t)
        k.ops.mul(a, of_a, out=k.out)
        k.out.add_(b, alpha=of_b)


def _shares(aa: float, bb: float, ab: float, t: float) -> tuple[float, float]:
    """The coefficients of a and b."""
    norms = math.sqrt(aa) * math.sqrt(bb)
    cosine = ab / norms if norms else 1.0
    if not abs(cosine) <= _NEARLY_PARALLEL:
        return 1 - t, t
    angle = math.acos(cosine)
    return math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)
