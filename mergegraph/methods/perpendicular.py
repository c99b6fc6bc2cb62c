"""What of one change another does not already do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mergegraph.expr import Expr, Space, apply
from mergegraph.fields import Either
from mergegraph.methods.base import Parameters
from mergegraph.methods.kernel import Kernel
from mergegraph.methods.over_deltas import OverDeltas
from mergegraph.methods.scaling import weighted_sum
from mergegraph.statistic import dot

if TYPE_CHECKING:
    from torch import Tensor


class Perpendicular(OverDeltas):
    """The part of a delta that is perpendicular to another, tensor by tensor.

    y = input - <input, along> / |along|² along   (input itself where along is zero)

    sd-mecha, the method `perpendicular_component`, https://github.com/ljleb/sd-mecha
    """

    in_pieces = True
    scratch = 1
    example = "rest: {op: perpendicular, input: d_code, along: d_chat}"

    op: Literal["perpendicular"] = "perpendicular"
    input: Either = Field(description="the delta a part of which is kept; with `base`, a model")
    along: Either = Field(description="the delta whose direction is taken out; with `base`, a model")

    def passed(self, inputs: Sequence[Expr | None], space: Space) -> Expr:
        return self.deltas(inputs)[0]

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        delta, along = self.deltas(inputs)
        return apply(self.op, (delta, along), (), space, (dot(delta, along), dot(along, along)))

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        shared, whole = k.stats
        weighted_sum(k, operands, (1.0, -shared / whole if whole else 0.0))
