"""One tensor at the length of another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mergegraph.expr import Expr, Space, apply, linear
from mergegraph.fields import Either
from mergegraph.methods.base import Parameters
from mergegraph.methods.combination import Combination
from mergegraph.methods.inner import ROW, inner
from mergegraph.methods.kernel import Kernel, Piece
from mergegraph.methods.scaling import scaled, scaled_rows
from mergegraph.statistic import dot

if TYPE_CHECKING:
    from torch import Tensor


class MatchNorm(Combination):
    """The first input, every tensor or row scaled to the Euclidean norm that it has in the second.

    y = input |to| / |input|   (zero where input is)

    The direction is the one's and the length the other's, as Salimans and Kingma, "Weight normalization", NeurIPS
    2016, arXiv 1602.07868, tell them apart.
    """

    in_pieces = True
    example = "m: {op: match_norm, input: merged, to: tuned}"

    op: Literal["match_norm"] = "match_norm"
    input: Either = Field(description="what is scaled")
    to: Either = Field(description="what has the wanted norms, of the same space")
    axis: Literal["tensor", "row"] = Field(default="tensor", description="what has a norm of its own")

    def passed(self, inputs: Sequence[Expr | None], space: Space) -> Expr:
        return inputs[0] or linear([], space)

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        x, to = (operand or linear([], space) for operand in inputs)
        if self.axis == "row":
            return apply(Rows.name, (x, to), (), space)
        return apply(self.op, (x,), (), space, (dot(x, x), dot(to, to)))

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        own, wanted = k.stats
        scaled(k, operands[0], _ratio(own, wanted), k.out)


class Rows(Piece):
    """A norm for each row."""

    name = "match_norm_rows"
    granularity = "row"

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        x, to = operands
        own, wanted = inner(k, x, x, ROW, k.out), inner(k, to, to, ROW, k.out)
        scaled_rows(k, x, list(map(_ratio, own, wanted)), k.out)


def _ratio(own: float, wanted: float) -> float:
    """From sums of squares."""
    return math.sqrt(wanted) / math.sqrt(own) if own else 0.0
