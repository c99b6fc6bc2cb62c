"""The mean of directions on the sphere itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from mergegraph.errors import Problem, RunError
from mergegraph.expr import Value
from mergegraph.methods.on_sphere import MeanOnSphere
from mergegraph.methods.sphere import Directions, has_direction, is_antipodal


class Karcher(MeanOnSphere):
    """The Riemannian mean of the inputs' directions, at their mean length.

    m = argmin_m sum_i weight_i angle(m, x_i)², |m| = 1;  y = m · sum_i weight_i |x_i|   (weights with sum 1)

    The x_i are the `inputs`. m is found by steps sum_i weight_i log_m(x_i / |x_i|) from their mean direction, until
    one is shorter than `tol` or after `max_iter`: on numbers, from the inputs' products, not on tensors. An input
    that is all zeros has no direction and counts in the length only; directions that cancel out, or one opposite to
    the mean, are an error. Models give weights and deltas a delta; with `base` the deltas are formed first, and the
    result is a delta.

    Karcher, "Riemannian center of mass and mollifier smoothing", CPAM 1977; for models arXiv 2603.04972.
    """

    example = "mean: {op: karcher, inputs: [a, {from: b, weight: 0.5}]}"

    op: Literal["karcher"] = "karcher"
    max_iter: int = Field(default=10, ge=1, description="steps at most")
    tol: float = Field(default=1e-5, ge=0, description="the length of a step, as an angle, at which the mean is found")

    def options(self) -> tuple[tuple[str, Value], ...]:
        return (("max_iter", self.max_iter), ("tol", self.tol))

    @classmethod
    def direction(cls, inputs: Directions, weights: Sequence[float], p: Any) -> Sequence[float]:
        return _mean(inputs, weights, p.max_iter, p.tol)


def _mean(inputs: Directions, weights: Sequence[float], max_iter: int, tol: float) -> list[float]:
    """The mean direction, as shares of the inputs' directions."""
    has_direction(inputs.length(weights), weights)
    has_direction(abs(math.fsum(weights)), weights)
    weights = [weight / math.fsum(weights) for weight in weights]
    mean = [weight / inputs.length(weights) for weight in weights]
    for _ in range(max_iter):
        step = _step(inputs, weights, mean)
        length = inputs.length(step)
        if length <= tol:
            break
        onward, aside = math.cos(length), math.sin(length) / length
        mean = [onward * here + aside * there for here, there in zip(mean, step, strict=True)]
    return mean


def _step(inputs: Directions, weights: Sequence[float], mean: Sequence[float]) -> list[float]:
    """Σ weight_i log_mean(u_i), as shares; log_m(u) = angle / sin(angle) (u - cos(angle) m)."""
    cosines = [max(-1.0, min(1.0, cosine)) for cosine in inputs.along(mean)]
    pulls = [weight * _stretch(cosine) if weight else 0.0 for weight, cosine in zip(weights, cosines, strict=True)]
    back = math.fsum(map(float.__mul__, pulls, cosines))
    return [pull - back * here for pull, here in zip(pulls, mean, strict=True)]


def _stretch(cosine: float) -> float:
    """angle / sin(angle). RunError at a half turn, where every way is as short."""
    if is_antipodal(cosine):
        raise RunError(
            Problem(
                "An input points away from the mean of all: there is no one way from one to the other.",
                why=f"the cosine between them is {cosine:.9f}",
                fix="use other weights, or leave the tensor out with `except:`",
            )
        )
    angle = math.acos(cosine)
    return angle / math.sin(angle) if angle > 1e-7 else 1.0
