"""The mean direction of any number of inputs, at their mean length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from mergegraph.methods.on_sphere import MeanOnSphere
from mergegraph.methods.sphere import Directions, has_direction


class MultiSlerp(MeanOnSphere):
    """Spherical interpolation between any number of inputs: their directions and their lengths are averaged apart.

    u_i = x_i / |x_i|;  m = sum_i weight_i u_i;  y = m / |m| · sum_i weight_i |x_i|   (weights with sum 1)

    The x_i are the `inputs`. One that is all zeros has no direction and counts in the length only; directions that
    cancel out are an error. Models give weights and deltas a delta; with `base` the deltas are formed first, and the
    result is a delta.

    Goddard, "Multi-SLERP", https://goddard.blog/posts/multislerp-wow-what-a-cool-idea, as in mergekit; its step in
    the tangent space is zero at the mean that it starts from, which leaves this.
    """

    example = "mean: {op: multislerp, inputs: [a, {from: b, weight: 0.5}]}"

    op: Literal["multislerp"] = "multislerp"

    @classmethod
    def direction(cls, inputs: Directions, weights: Sequence[float], p: Any) -> Sequence[float]:
        has_direction(inputs.length(weights), weights)
        return weights
