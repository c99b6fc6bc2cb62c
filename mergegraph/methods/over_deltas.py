"""Methods over several deltas, which may also be given as models with the base they were tuned from."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from pydantic import Field

from mergegraph.expr import Expr, Space, linear
from mergegraph.fields import Weights
from mergegraph.methods.base import SpaceError
from mergegraph.methods.combination import Combination

_ONE = Fraction(1)


class OverDeltas(Combination):
    """A method whose inputs are deltas; with `base` they may be models, and their deltas are formed first.

    The base, where there is one, is the first edge: fields of a base class come before a subclass's own.
    """

    gives = "delta"

    base: Weights | None = Field(default=None, description="form the deltas of inputs that are models against this")

    def trunk(self, spaces: Sequence[Space]) -> int:
        return 0

    def space(self, spaces: Sequence[Space]) -> Space:
        edges = self.edges()
        models = [index for index, space in enumerate(spaces) if space == "weights"]
        if models and self.base is None:
            name = edges[models[0]].node
            raise SpaceError(
                f'{self.op} takes deltas, and "{name}" is weights',
                models[0],
                "add `base: BASE` to form the deltas, or name delta nodes",
            )
        if self.base is not None and spaces[0] != "weights":
            name = edges[0].node
            raise SpaceError(f'{self.op} forms deltas against weights, and "{name}" is a delta', 0, "name a model")
        return "delta"

    def deltas(self, inputs: Sequence[Expr | None]) -> list[Expr]:
        """The delta of each input; zero where an input lacks the tensor."""
        base, own = (inputs[0], inputs[1:]) if self.base is not None else (None, inputs)
        return [_delta(operand, base) for operand in own]

    def passed(self, inputs: Sequence[Expr | None], space: Space) -> Expr:
        """The mean of the deltas."""
        deltas = self.deltas(inputs)
        return linear([(Fraction(1, len(deltas)), delta) for delta in deltas], "delta")


def _delta(operand: Expr | None, base: Expr | None) -> Expr:
    if operand is None:
        return linear([], "delta")
    if operand.space == "delta" or base is None:
        return operand
    return linear([(_ONE, operand), (-_ONE, base)], "delta")
