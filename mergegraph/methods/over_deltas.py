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
    """A method whose `inputs` are deltas; with `base` they may be models, and their deltas are formed first."""

    gives = "delta"

    base: Weights | None = Field(default=None, description="form the deltas of inputs that are models against this")

    def trunk(self, spaces: Sequence[Space]) -> int:
        return len(spaces) - 1 if self.base is not None else 0

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
        return "delta"

    def deltas(self, inputs: Sequence[Expr | None]) -> list[Expr]:
        """The delta of each input; zero where an input lacks the tensor."""
        own, base = (inputs[:-1], inputs[-1]) if self.base is not None else (inputs, None)
        return [_delta(operand, base) for operand in own]


def _delta(operand: Expr | None, base: Expr | None) -> Expr:
    if operand is None:
        return linear([], "delta")
    if operand.space == "delta" or base is None:
        return operand
    return linear([(_ONE, operand), (-_ONE, base)], "delta")
