"""Deltas that agree on a sign are combined; those that disagree are left out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from mergegraph.errors import Problem
from mergegraph.expr import Expr, Space, apply
from mergegraph.fields import WeightedInput
from mergegraph.methods.base import Parameters
from mergegraph.methods.kernel import Kernel
from mergegraph.methods.over_deltas import OverDeltas

if TYPE_CHECKING:
    from torch import Tensor

_SUBSETS_UP_TO = 16
_CANCELS_BELOW = 1e-3


class Elect(OverDeltas):
    """The election of TIES: for each element a sign is elected, and only the deltas of that sign count.

    s = sign(sum_i weight_i d_i);  y = sum_i weight_i d_i / sum_i weight_i over the inputs with sign(weight_i d_i) = s

    `sign: count` elects by the number of deltas of each sign instead of their mass; a sum of zero counts as plus.
    `combine: sum` leaves out the division. `vote: unweighted` leaves the weights out of the election.

    Yadav et al., "TIES-merging: resolving interference when merging models", NeurIPS 2023, arXiv 2306.01708.
    """

    scratch = 3
    example = "agreed: {op: elect, inputs: [d_code, {from: d_chat, weight: 0.5}]}"

    op: Literal["elect"] = "elect"
    inputs: Annotated[tuple[WeightedInput, ...], Field(min_length=1, description="deltas, or models with `base`")]
    sign: Literal["mass", "count"] = Field(default="mass", description="what is added up to elect a sign")
    combine: Literal["mean", "sum"] = Field(default="mean", description="of the deltas that have the elected sign")
    vote: Literal["weighted", "unweighted"] = Field(default="weighted", description="do weights count in the election")

    def objection(self, p: Parameters) -> Problem | None:
        if self.combine == "sum":
            return None
        weights = [float(p["inputs", index, "weight"]) for index in range(len(self.inputs))]
        cancelling = _cancelling(weights)
        if not cancelling:
            return None
        names = " and ".join(f'"{self.inputs[index].from_}" ({weights[index]:g})' for index in cancelling)
        return Problem(
            f"The weights of {names} cancel out.",
            why="where just these deltas agree on a sign, their mean is divided by about zero",
            fix="add `combine: sum`, or use weights of one sign",
        )

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        weights = [(f"weight{index}", float(p["inputs", index, "weight"])) for index in range(len(self.inputs))]
        options = (("sign", self.sign), ("combine", self.combine), ("vote", self.vote))
        return apply(self.op, self.deltas(inputs), (*options, *weights), space)

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        weights: list[float] = [getattr(k.p, f"weight{index}") for index in range(len(operands))]
        votes = weights if k.p.vote == "weighted" else [1.0] * len(weights)
        elected, agrees, divisor = k.scratch(), k.scratch(), k.scratch()
        _elect(k, operands, votes, elected, agrees)
        divisor.zero_()
        k.out.zero_()
        for delta, weight, vote in zip(operands, weights, votes, strict=True):
            k.ops.mul(delta, elected, out=agrees)
            _ = k.ops.gt(agrees, 0, out=agrees) if vote > 0 else k.ops.lt(agrees, 0, out=agrees)
            divisor.add_(agrees, alpha=weight)
            agrees.mul_(delta)
            k.out.add_(agrees, alpha=weight)
        if k.p.combine == "mean":
            k.ops.eq(divisor, 0, out=agrees)
            divisor.add_(agrees)
            k.out.div_(divisor)


def _elect(k: Kernel, deltas: Sequence[Tensor], votes: list[float], elected: Tensor, spare: Tensor) -> None:
    """`elected` = +1 or -1, the sign of the votes' sum; zero is plus."""
    elected.zero_()
    for delta, vote in zip(deltas, votes, strict=True):
        counted: Any = k.ops.sign(delta, out=spare) if k.p.sign == "count" else delta
        elected.add_(counted, alpha=vote)
    k.ops.lt(elected, 0, out=spare)
    k.ops.ge(elected, 0, out=elected)
    elected.sub_(spare)


def _cancelling(weights: list[float]) -> tuple[int, ...]:
    """The smallest set of inputs whose weights nearly cancel; every subset up to 16 inputs, above that any pair
    of opposite signs."""
    if all(weight >= 0 for weight in weights) or all(weight <= 0 for weight in weights):
        return ()
    if len(weights) > _SUBSETS_UP_TO:
        return weights.index(max(weights)), weights.index(min(weights))
    for size in range(2, len(weights) + 1):
        for chosen in combinations(range(len(weights)), size):
            part = [weights[index] for index in chosen]
            if abs(sum(part)) <= _CANCELS_BELOW * sum(map(abs, part)):
                return chosen
    return ()
