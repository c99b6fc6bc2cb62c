"""Changes that only one model made are kept whole; those that several made are averaged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mergegraph.expr import Expr, Space, Stat, apply
from mergegraph.fields import Inputs
from mergegraph.methods.base import Parameters
from mergegraph.methods.kernel import Kernel, Piece
from mergegraph.methods.over_deltas import OverDeltas
from mergegraph.statistic import count, dot, total

if TYPE_CHECKING:
    from torch import Tensor


class OnAlone(Piece):
    """1 where the operand number `which` is on and no other is; or, if `shared`, on together with others."""

    in_pieces = True
    name = "on_alone"
    scratch = 2

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        on, others = k.scratch(), k.scratch()
        which: int = k.p.which
        thresholds = _thresholds(k, len(operands))
        others.zero_()
        for index, delta in enumerate(operands):
            if index != which:
                _on(k, delta, thresholds[index], on)
                others.add_(on)
        k.ops.gt(others, 0, out=others)
        if not k.p.shared:
            others.neg_().add_(1)
        _on(k, operands[which], thresholds[which], on)
        k.ops.mul(on, others, out=k.out)


class Unique(Piece):
    """The mean of the operands that are on; where one is alone, it times its factor."""

    in_pieces = True
    name = "mean_of_those_on"
    scratch = 3

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        thresholds, factors = _thresholds(k, len(operands)), _factors(k, len(operands))
        on, number, alone = k.scratch(), k.scratch(), k.scratch()
        number.zero_()
        alone.zero_()
        k.out.zero_()
        for delta, threshold, factor in zip(operands, thresholds, factors, strict=True):
            _on(k, delta, threshold, on)
            number.add_(on)
            alone.add_(on, alpha=factor)
            on.mul_(delta)
            k.out.add_(on)
        k.ops.eq(number, 1, out=on)
        alone.mul_(on)
        on.neg_().add_(1)
        alone.add_(on)
        number.clamp_(min=1)
        k.out.div_(number).mul_(alone)


def _on(k: Kernel, delta: Tensor, threshold: float, out: Tensor) -> None:
    """1 where the magnitude is above the threshold."""
    k.ops.abs(delta, out=out)
    k.ops.gt(out, threshold, out=out)


def _thresholds(k: Kernel, inputs: int) -> list[float]:
    """Epsilon, or epsilon times the rms of each delta: the first statistics are their squares and counts."""
    if not k.p.relative:
        return [k.p.epsilon] * inputs
    squares, counts = k.stats[:inputs], k.stats[inputs : 2 * inputs]
    return [k.p.epsilon * math.sqrt(square / max(n, 1)) for square, n in zip(squares, counts, strict=True)]


def _factors(k: Kernel, inputs: int) -> list[float]:
    """1 + r min(shared / unique, alpha) for each delta: the last statistics are how many of each there are."""
    if not k.p.rescaled:
        return [1.0] * inputs
    unique, shared = k.stats[-2 * inputs : -inputs], k.stats[-inputs:]
    ratios = [s / u if u else math.inf for u, s in zip(unique, shared, strict=True)]
    return [1 + k.p.r * min(ratio, k.p.alpha) for ratio in ratios]


class Ram(OverDeltas):
    """RAM: where one of the inputs changed an element, its change; where several did, the mean of theirs.

    y = sum_i on_i d_i / max(1, sum_i on_i),  on_i = |d_i| > epsilon

    `relative: true` takes epsilon as a share of the root mean square of each delta. Made for models tuned by
    reinforcement learning, whose changes are sparse.

    Yuan et al., "Behavior knowledge merge in reinforced agentic models", 2026, arXiv 2601.13572.
    """

    example = "agents: {op: ram, inputs: [d_code, d_chat]}"

    op: Literal["ram"] = "ram"
    inputs: Inputs = Field(description="deltas, or models with `base`")
    epsilon: float = Field(default=1e-5, ge=0, description="a change is one above this")
    relative: bool = Field(default=False, description="take epsilon as a share of each delta's root mean square")

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        return unique_and_shared(self.deltas(inputs), self.epsilon, relative=self.relative)


def unique_and_shared(
    deltas: Sequence[Expr], epsilon: float, *, relative: bool, factor: tuple[float, float] | None = None
) -> Expr:
    """The expression of ram; with `factor` (r, alpha) that of ram_plus."""
    scale: list[Stat] = [dot(each, each) for each in deltas] + [count(each) for each in deltas] if relative else []
    settings = (("epsilon", epsilon), ("relative", relative))
    counted: list[Stat] = []
    if factor is not None:
        for shared in (False, True):
            for which in range(len(deltas)):
                marked = (*settings, ("which", which), ("shared", shared))
                counted.append(total(apply(OnAlone.name, deltas, marked, "delta", scale)))
    r, alpha = factor or (0.0, 0.0)
    parameters = (*settings, ("rescaled", factor is not None), ("r", r), ("alpha", alpha))
    return apply(Unique.name, deltas, parameters, "delta", [*scale, *counted])


class RamPlus(Ram):
    """RAM+: as ram, and a change that only one model made is scaled up, the more of its changes others share.

    y = ram, where one input alone is on: y = (1 + r min(shared_i / unique_i, alpha)) d_i

    unique_i and shared_i count the elements of the tensor where input i is on alone and together with others.

    Yuan et al., "Behavior knowledge merge in reinforced agentic models", 2026, arXiv 2601.13572.
    """

    example = "agents: {op: ram_plus, inputs: [d_code, d_chat], r: 0.1, alpha: 0.2}"

    op: Literal["ram_plus"] = "ram_plus"  # pyright: ignore[reportIncompatibleVariableOverride]
    r: float = Field(default=0.1, description="how much is added for what is shared")
    alpha: float = Field(default=0.2, ge=0, description="the largest ratio of shared to unique that counts")

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        return unique_and_shared(self.deltas(inputs), self.epsilon, relative=self.relative, factor=(self.r, self.alpha))
