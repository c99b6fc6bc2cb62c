"""The election of TIES, which elect and ties share: who votes, who wins, and what the winners make together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from mergegraph.errors import Problem
from mergegraph.expr import Apply, Expr, apply
from mergegraph.fields import WeightedInput
from mergegraph.methods.base import Parameters
from mergegraph.methods.kernel import Kernel, Piece
from mergegraph.methods.over_deltas import OverDeltas

if TYPE_CHECKING:
    from torch import Tensor

_SUBSETS_UP_TO = 16
_CANCELS_BELOW = 1e-3


class Winners(Piece):
    """What the deltas that have the elected sign make together."""

    name = "winners"
    loses = "election"
    scratch = 3
    in_pieces = True

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        weights: list[float] = [getattr(k.p, f"weight{index}") for index in range(len(operands))]
        votes = weights if k.p.vote == "weighted" else [1.0] * len(weights)
        half, agreeing, divisor = k.scratch(), k.scratch(), k.scratch()
        _elect(k, operands, votes, half, agreeing)
        for index, (delta, weight, vote) in enumerate(zip(operands, weights, votes, strict=True)):
            # Half of |delta|, or minus that, where its sign is the elected one; else zero.
            k.ops.mul(delta, half, out=agreeing)
            _ = agreeing.clamp_(min=0) if vote > 0 else agreeing.clamp_(max=0)
            _add(k, k.out, agreeing, weight, is_first=not index)
            if k.p.combine == "mean":
                _ = k.ops.gt(agreeing, 0, out=agreeing) if vote > 0 else k.ops.lt(agreeing, 0, out=agreeing)
                _add(k, divisor, agreeing, weight / 4, is_first=not index)
        # Two halves make a quarter, which the divisor has too.
        k.out.mul_(half)
        if k.p.combine == "mean":
            k.ops.eq(divisor, 0, out=agreeing)
            divisor.add_(agreeing)
            k.out.div_(divisor)
        else:
            k.out.mul_(4)


class ElectedSign(Piece):
    """The sign that an election gives each element, 1 or -1. With no parameters all deltas have one vote of their
    size."""

    name = "elected_sign"
    only_counted = True
    scratch = 1
    in_pieces = True

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        is_weighted = getattr(k.p, "vote", "unweighted") == "weighted"
        votes: list[float] = [getattr(k.p, f"weight{n}") if is_weighted else 1.0 for n in range(len(operands))]
        _elect(k, operands, votes, k.out, k.scratch())
        k.out.mul_(2)


class Electing(OverDeltas):
    """A method that ends in an election among weighted deltas."""

    inputs: Annotated[tuple[WeightedInput, ...], Field(min_length=1, description="deltas, or models with `base`")]
    sign: Literal["mass", "count"] = Field(default="mass", description="what is added up to elect a sign")
    combine: Literal["mean", "sum"] = Field(default="mean", description="of the deltas that have the elected sign")
    vote: Literal["weighted", "unweighted"] = Field(default="weighted", description="do weights count in the election")

    def weights(self, p: Parameters) -> list[float]:
        """The weight of each input for one tensor."""
        return [float(p["inputs", index, "weight"]) for index in range(len(self.inputs))]

    def objection(self, p: Parameters) -> Problem | None:
        weights = self.weights(p)
        cancelling = _cancelling(weights) if self.combine == "mean" else ()
        if not cancelling:
            return None
        names = " and ".join(f'"{self.inputs[index].from_}" ({weights[index]:g})' for index in cancelling)
        return Problem(
            f"The weights of {names} cancel out.",
            why="where just these deltas agree on a sign, their mean is divided by about zero",
            fix="add `combine: sum`, or use weights of one sign",
        )

    def elected(self, deltas: Sequence[Expr], p: Parameters) -> Expr:
        """The outcome of the election."""
        weights = [(f"weight{index}", weight) for index, weight in enumerate(self.weights(p))]
        options = (("sign", self.sign), ("combine", self.combine), ("vote", self.vote))
        return apply(Winners.name, deltas, (*options, *weights), "delta")


def elected_sign(election: Apply) -> Apply:
    """The signs of an election, of the same operands and options."""
    return apply(ElectedSign.name, election.operands, election.parameters, election.space)


def vote_of(election: Apply, index: int) -> float:
    """How an operand's vote counts: below 0 its elements are elected where their sign is the other one."""
    options = dict(election.parameters)
    return float(options[f"weight{index}"]) if options.get("vote") == "weighted" else 1.0


def _elect(k: Kernel, deltas: Sequence[Tensor], votes: list[float], half: Tensor, spare: Tensor) -> None:
    """`half` = +1/2 or -1/2, with the sign of the votes' sum; zero is plus."""
    for index, (delta, vote) in enumerate(zip(deltas, votes, strict=True)):
        by_count = getattr(k.p, "sign", "mass") == "count"
        counted: Any = k.ops.sign(delta, out=spare) if by_count else delta
        _add(k, half, counted, vote, is_first=not index)
    k.ops.ge(half, 0, out=half)
    half.sub_(0.5)


def _add(k: Kernel, total: Tensor, term: Tensor, factor: float, *, is_first: bool) -> None:
    """`total` += `factor` · `term`; the first term needs no zeros to be added to."""
    _ = k.ops.mul(term, factor, out=total) if is_first else total.add_(term, alpha=factor)


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
