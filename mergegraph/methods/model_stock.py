"""How far to go from a base to the average of its fine-tunes, from the angles between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from mergegraph.expr import Expr, Space, apply
from mergegraph.fields import Input, Weights
from mergegraph.methods.base import Parameters
from mergegraph.methods.inner import ROW, grams
from mergegraph.methods.kernel import Kernel, Piece
from mergegraph.methods.over_deltas import OverDeltas
from mergegraph.methods.sphere import directions, gram

if TYPE_CHECKING:
    from torch import Tensor

_POLE = 1e-6


class ModelStock(OverDeltas):
    """The average of fine-tunes, drawn to their base the more their changes differ in direction.

    c = mean cosine of the pairs of inputs - base;  t = k c / ((k-1) c + 1);  y = t mean(inputs) + (1-t) base

    k is the number of `inputs`, and t is one number for each tensor or row (`axis`). It is not bounded: changes that
    are opposed (c < 0) give a negative t, unless `clamp` holds it in [0, 1]. Where (k-1) c + 1 is 0, t is 0. A change
    that is all zeros has cosine 0 with all others.

    Jang, Yun and Han, "Model Stock: all we need is just a few fine-tuned models", ECCV 2024, arXiv 2403.19522.
    """

    gives = "weights"
    example = "stock: {op: model_stock, inputs: [a, b, c], base: base}"

    op: Literal["model_stock"] = "model_stock"
    base: Weights = Field(description="the model that the others were tuned from")
    inputs: Annotated[tuple[Input, ...], Field(min_length=2, description="its fine-tunes, or their deltas")]
    axis: Literal["tensor", "row"] = Field(default="tensor", description="what has a t of its own")
    clamp: bool = Field(default=False, description="keep t between 0 and 1")

    def space(self, spaces: Sequence[Space]) -> Space:
        super().space(spaces)
        return "weights"

    def passed(self, inputs: Sequence[Expr | None], space: Space) -> Expr:
        assert inputs[0] is not None
        return inputs[0]

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        base, deltas = inputs[0], self.deltas(inputs)
        assert base is not None
        options = (("clamp", self.clamp),)
        if self.axis == "row":
            return apply(Rows.name, (base, *deltas), options, space)
        return apply(self.op, (base, *deltas), options, space, gram(deltas))

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        base, *deltas = operands
        share = _t(k.stats, len(deltas), clamp=k.p.clamp) / len(deltas)
        _added_up(k, deltas)
        k.out.mul_(share).add_(base)


class Rows(Piece):
    """A t for each row."""

    name = "model_stock_rows"
    scratch = 1
    granularity = "row"

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        base, *deltas = operands
        products = grams(k, deltas, ROW, k.out, k.scratch())
        shares = [_t(each, len(deltas), clamp=k.p.clamp) / len(deltas) for each in products]
        _added_up(k, deltas)
        k.out.mul_(k.ops.tensor(shares, dtype=k.out.dtype, device=k.out.device).view(-1, 1)).add_(base)


def _added_up(k: Kernel, deltas: Sequence[Tensor]) -> None:
    """k.out = Σ delta."""
    k.out.copy_(deltas[0])
    for delta in deltas[1:]:
        k.out.add_(delta)


def _t(products: Sequence[float], count: int, *, clamp: bool) -> float:
    """The share of the average, from the products of the deltas."""
    cosines = directions(products, count).cosines
    mean = sum([cosines[i][j] for i in range(count) for j in range(i)]) / (count * (count - 1) / 2)
    divisor = 1 + (count - 1) * mean
    t = count * mean / divisor if abs(divisor) >= _POLE else 0.0
    return min(1.0, max(0.0, t)) if clamp else t
