"""Interpolations on the sphere: weighted inputs of one space, by their directions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from mergegraph.errors import Problem
from mergegraph.expr import Expr, Space, Value, apply
from mergegraph.fields import WeightedInput
from mergegraph.methods.base import Parameters
from mergegraph.methods.combination import Combination
from mergegraph.methods.kernel import Kernel
from mergegraph.methods.over_deltas import OverDeltas
from mergegraph.methods.scaling import weighted_sum
from mergegraph.methods.sphere import VANISHES_BELOW, Directions, directions, gram

if TYPE_CHECKING:
    from torch import Tensor


class OnSphere(OverDeltas):
    """Interpolates models, or deltas; with `base` deltas are formed first and the result is one."""

    gives = "same"

    inputs: Annotated[tuple[WeightedInput, ...], Field(min_length=1, description="models, or deltas")]

    def space(self, spaces: Sequence[Space]) -> Space:
        return super().space(spaces) if self.base is not None else Combination.space(self, spaces)

    def passed(self, inputs: Sequence[Expr | None], space: Space) -> Expr:
        return Combination.passed(self, inputs, space) if space == "weights" else super().passed(inputs, space)

    def weights(self, p: Parameters) -> list[Fraction]:
        """The weight of each input for one tensor, as written."""
        return [p["inputs", index, "weight"] for index in range(len(self.inputs))]


class MeanOnSphere(OnSphere):
    """A mean direction at the mean length. Its weights are divided by their sum."""

    in_pieces = True
    scratch = 1

    def objection(self, p: Parameters) -> Problem | None:
        weights = self.weights(p)
        shown = ", ".join(f"{float(weight):g}" for weight in weights)
        if abs(sum(weights)) <= VANISHES_BELOW * sum(map(abs, weights)):
            return Problem(
                f"The weights of {self.op} add up to zero.",
                why=f"weights {shown} are divided by their sum",
                fix="change a weight",
            )
        return None if min(weights) >= 0 or max(weights) <= 0 else outside(f"weights {shown}")

    def options(self) -> tuple[tuple[str, Value], ...]:
        """What `direction` looks at beside the inputs."""
        return ()

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        tensors, weights = self.deltas(inputs), self.weights(p)
        shares = [(f"weight{index}", float(weight / sum(weights))) for index, weight in enumerate(weights)]
        return apply(self.op, tensors, (*self.options(), *shares), space, gram(tensors))

    @classmethod
    def direction(cls, inputs: Directions, weights: Sequence[float], p: Any) -> Sequence[float]:
        """A multiple of the mean direction, as shares of the inputs' directions. A weight of 0 for inputs without one.

        RunError where there is no mean direction.
        """
        raise NotImplementedError

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        if not math.isfinite(sum(k.stats)):
            # The run finds out which input is not finite.
            k.out.fill_(math.nan)
            return
        weights: list[float] = [getattr(k.p, f"weight{index}") for index in range(len(operands))]
        inputs = directions(k.stats, len(operands))
        counted = inputs.counted(weights)
        if not any(counted):
            k.out.zero_()
            return
        shares = cls.direction(inputs, counted, k.p)
        weighted_sum(k, operands, inputs.coefficients(shares, inputs.mean_length(weights)))


def outside(numbers: str) -> Problem:
    """The warning for an interpolation that goes past its inputs."""
    return Problem(
        f"An interpolation with {numbers} goes past its inputs.",
        why="shares between 0 and 1 give what lies between them",
        severity="warning",
    )
