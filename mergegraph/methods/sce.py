"""Select, calculate, erase: the elements that the models disagree on most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from mergegraph.errors import Problem
from mergegraph.expr import Expr, Noise, Space, apply
from mergegraph.fields import Coefficient, Input
from mergegraph.methods.base import Parameters
from mergegraph.methods.kernel import Kernel, Piece
from mergegraph.methods.largest import choose
from mergegraph.methods.over_deltas import OverDeltas
from mergegraph.methods.thinning import density_problem
from mergegraph.statistic import abs_quantile, dot

if TYPE_CHECKING:
    from torch import Tensor


class Variance(Piece):
    """The population variance of each element across the operands."""

    in_pieces = True
    name = "variance"
    scratch = 2

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        mean, apart = k.scratch(), k.scratch()
        share = 1 / len(operands)
        k.ops.mul(operands[0], share, out=mean)
        for delta in operands[1:]:
            mean.add_(delta, alpha=share)
        k.out.zero_()
        for delta in operands:
            k.ops.sub(delta, mean, out=apart)
            apart.mul_(apart)
            k.out.add_(apart, alpha=share)


class Selected(Piece):
    """The first operand where the second, a variance, is at the threshold or above (of equals a random share)."""

    in_pieces = True
    name = "where_varied"
    loses = "trim"
    scratch = 1

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        delta, variance = operands
        (threshold,) = k.stats
        mask = k.scratch()
        choose(k, variance, threshold, mask)
        k.ops.mul(delta, mask, out=k.out)


class Erased(Piece):
    """The weighted mean of the operands whose sign is that of the sum of all; weights are their mean squares."""

    in_pieces = True
    name = "erased"
    loses = "election"
    scratch = 3

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        weights = _weights(k.stats)
        majority, agrees, divisor = k.scratch(), k.scratch(), k.scratch()
        majority.zero_()
        for delta in operands:
            majority.add_(delta)
        k.ops.ge(majority, 0, out=agrees)
        agrees.mul_(2).sub_(1)
        majority.copy_(agrees)
        divisor.zero_()
        k.out.zero_()
        for delta, weight in zip(operands, weights, strict=True):
            k.ops.mul(delta, majority, out=agrees)
            k.ops.gt(agrees, 0, out=agrees)
            divisor.add_(agrees, alpha=weight)
            agrees.mul_(delta)
            k.out.add_(agrees, alpha=weight)
        k.ops.eq(divisor, 0, out=agrees)
        divisor.add_(agrees)
        k.out.div_(divisor)


def _weights(squares: Sequence[float]) -> list[float]:
    """Shares of the sum of squares; their common divisor, the element count, cancels."""
    total = sum(squares)
    return [square / total if total else 0.0 for square in squares]


class Sce(OverDeltas):
    """SCE: select the elements that vary most, weigh models by what is selected, erase minority signs.

    y = sum_i w_i s_i / sum_i w_i over the s_i of the majority sign;  w_i = mean(s_i^2), s_i = inputs_i where selected

    s_i is the delta of inputs where the variance across them is among the floor(select_topk n+) largest, n+ being
    how many are above zero. The majority sign is that of sum_i s_i; a sum of zero counts as plus.

    Wan et al., "FuseChat: knowledge fusion of chat models", 2024, arXiv 2408.07990.
    """

    random = True
    example = "fused: {op: sce, inputs: [d_code, d_chat], select_topk: 0.1}"
    wiring_fields = OverDeltas.wiring_fields | {"seed"}

    op: Literal["sce"] = "sce"
    inputs: Annotated[tuple[Input, ...], Field(min_length=1, description="deltas, or models with `base`")]
    select_topk: Coefficient = Field(default=1.0, description="the share of the varying elements that is kept")
    seed: int | None = Field(default=None, description="for equals at the threshold; default: the node's name")

    def objection(self, p: Parameters) -> Problem | None:
        return density_problem(float(p.select_topk))

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        deltas = self.deltas(inputs)
        share = float(p.select_topk)
        kept = deltas if share >= 1 or len(deltas) == 1 else _selected(deltas, share, p.noises[-1])
        return apply(Erased.name, kept, (), "delta", [dot(each, each) for each in kept])


def _selected(deltas: list[Expr], share: float, noise: Noise) -> list[Expr]:
    """One random number decides for all inputs, as one threshold does."""
    variance = apply(Variance.name, deltas, (), "delta")
    threshold = abs_quantile(variance, "largest_nonzero", share=share)
    return [apply(Selected.name, (delta, variance), (), "delta", (threshold,), noise) for delta in deltas]
