"""What sparse task vectors have in common: one delta, elements that are kept, and how the loss is made up for.

none      what is kept stays as it is
l1        scaled so that the sum of magnitudes of the tensor is what it was
expected  divided by the share that is kept
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from mergegraph.errors import Problem
from mergegraph.expr import Expr, Space, apply
from mergegraph.fields import Coefficient, Either
from mergegraph.methods.base import Parameters
from mergegraph.methods.kernel import Kernel, Piece
from mergegraph.methods.over_deltas import OverDeltas
from mergegraph.statistic import abs_sum

if TYPE_CHECKING:
    from torch import Tensor

Rescale = Literal["none", "l1", "expected"]


class RestoreSum(Piece):
    """x · sum |of| / sum |x|, over the whole tensor; x where its sum is zero."""

    name = "restore_sum"
    in_pieces = True

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        wanted, kept = k.stats
        k.ops.mul(operands[0], wanted / kept if kept else 1.0, out=k.out)


def restored(kept: Expr, of: Expr) -> Expr:
    """`kept` with the sum of magnitudes of `of`."""
    return apply(RestoreSum.name, (kept,), (), "delta", (abs_sum(of), abs_sum(kept)))


def density_problem(density: float) -> Problem | None:
    """What is wrong with a density."""
    if 0 <= density <= 1:
        return None
    return Problem(
        f"A density of {density:g} is no share: {'everything' if density > 1 else 'nothing'} is kept.",
        why="it is the part of the elements that is kept",
        fix="write a share between 0 and 1: 0.3 for 30 %",
        severity="warning",
    )


class Thinning(OverDeltas):
    """A method that keeps a share of one delta's elements."""

    random: ClassVar[bool] = True

    input: Either = Field(description="the delta; with `base`, a model")
    density: Coefficient = Field(description="the share of elements that is kept, from 0 to 1")
    seed: int | None = Field(default=None, description="for the random choices; default: the node's name")

    wiring_fields = OverDeltas.wiring_fields | {"seed"}

    def objection(self, p: Parameters) -> Problem | None:
        return density_problem(float(p.density))

    def passed(self, inputs: Sequence[Expr | None], space: Space) -> Expr:
        return self.deltas(inputs)[0]
