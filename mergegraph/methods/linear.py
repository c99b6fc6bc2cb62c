"""The linear operations: delta, scale, negate, sum, soup. They have no kernels; the plan folds them exactly."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from fractions import Fraction
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from mergegraph.errors import Problem, Unfit
from mergegraph.expr import Expr, Space, linear
from mergegraph.fields import Coefficient, Either, Inputs, WeightedInput, Weights
from mergegraph.methods.base import Parameters, SpaceError
from mergegraph.methods.combination import Combination
from mergegraph.methods.over_deltas import OverDeltas
from mergegraph.methods.tensorwise import Tensorwise

_ONE = Fraction(1)


class Delta(Combination):
    """What fine-tuning changed: a task vector.

    y = model - base

    Ilharco et al., "Editing models with task arithmetic", ICLR 2023, arXiv 2212.04089.
    """

    gives = "delta"
    example = "d_code: {op: delta, model: code, base: base}"

    op: Literal["delta"] = "delta"
    model: Weights = Field(description="the fine-tune")
    base: Weights = Field(description="the model it was tuned from")

    def trunk(self, spaces: Sequence[Space]) -> int:
        return 1

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        model, base = inputs
        return linear([(_ONE, model), (-_ONE, base)] if model is not None and base is not None else [], space)


class Scale(Tensorwise):
    """A strength: every element times a number that may differ from tensor to tensor.

    y = by * x

    Ilharco et al., "Editing models with task arithmetic", ICLR 2023, arXiv 2212.04089 (the scaling term).
    """

    example = "half: {op: scale, input: d_code, by: 0.5}"

    op: Literal["scale"] = "scale"
    input: Either = Field(description="what is scaled")
    by: Coefficient = Field(description="the strength: a number, a gradient over the layers, or rules")

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        return linear([(p.by, operand) for operand in inputs if operand is not None], space)


class Negate(OverDeltas):
    """The opposite of a task vector: adding it forgets the task.

    y = -input

    Ilharco et al., "Editing models with task arithmetic", ICLR 2023, arXiv 2212.04089.
    """

    example = "anti: {op: negate, input: d_toxic}"

    op: Literal["negate"] = "negate"
    input: Either = Field(description="the delta to turn round; with `base`, a model")

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        return linear([(-_ONE, delta) for delta in self.deltas(inputs)], space)


class Sum(Combination):
    """Everything added up: deltas to each other, or deltas to one model.

    y = x_1 + x_2 + … (at most one of them weights)

    Ilharco et al., "Editing models with task arithmetic", ICLR 2023, arXiv 2212.04089.
    """

    example = "merged: {op: sum, inputs: [base, d_code, anti]}"

    op: Literal["sum"] = "sum"
    inputs: Inputs = Field(description="deltas, and at most one model")

    def space(self, spaces: Sequence[Space]) -> Space:
        weights = [index for index, space in enumerate(spaces) if space == "weights"]
        if len(weights) > 1:
            first, second = (self.edges()[index].node for index in weights[:2])
            raise SpaceError(
                f'Two weights are summed: "{first}" and "{second}"',
                weights[1],
                f"use {{op: soup, inputs: [{first}, {second}]}} to average them, or add a delta: "
                f"{{op: delta, model: {second}, base: BASE}}",
            )
        return "weights" if weights else "delta"

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        return linear([(_ONE, operand) for operand in inputs if operand is not None], space)


class Soup(Combination):
    """A weighted average of models, or of deltas.

    y = sum_i weight_i x_i / sum_i weight_i   (without the division when normalize is false)

    Wortsman et al., "Model soups", ICML 2022, arXiv 2203.05482.
    """

    example = "avg: {op: soup, inputs: [a, {from: b, weight: 2}]}"

    op: Literal["soup"] = "soup"
    inputs: tuple[WeightedInput, ...] = Field(default=(), description="what is averaged; a bare name weighs 1")
    models: str | None = Field(default=None, description="instead of inputs: a glob of checkpoints, in natural order")
    last: int | None = Field(default=None, ge=1, description="with models: only the last so many")
    normalize: bool = Field(default=True, description="divide by the sum of the weights")

    @field_validator("models", mode="before")
    @classmethod
    def _one_glob(cls, value: object) -> object:
        if isinstance(value, Sized) and not isinstance(value, str) and len(value) > 1:
            fix = "write one glob, as in `models: ./runs/*`; nodes are averaged as `inputs: [A, B]`, in its place"
            raise Unfit("it takes one glob of checkpoints", fix)
        return value

    @model_validator(mode="after")
    def _inputs_or_models(self) -> Self:
        if bool(self.inputs) == bool(self.models):
            fix = "leave out one of them" if self.inputs else "add `inputs: [A, B]`"
            raise Unfit("soup takes `inputs: [A, B]` or `models: GLOB`, one of the two", fix)
        if self.last is not None and not self.models:
            raise Unfit(
                "`last` goes with `models: GLOB`", "leave out `last:`, or write `models:` in place of `inputs:`"
            )
        return self

    def weights(self, p: Parameters) -> list[Fraction]:
        """The weight of each input for one tensor, before normalising."""
        return [p["inputs", index, "weight"] for index in range(len(self.inputs))]

    def objection(self, p: Parameters) -> Problem | None:
        if self.normalize and sum(self.weights(p)) == 0:
            shown = ", ".join(f"{float(weight):g}" for weight in self.weights(p))
            return Problem(
                "The weights of a soup add up to zero.",
                why=f"weights {shown}: their sum divides the average",
                fix="change a weight, or set `normalize: false`",
            )
        return None

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        weights = self.weights(p)
        total = sum(weights, Fraction(0)) if self.normalize else _ONE
        return linear([(w / total, x) for w, x in zip(weights, inputs, strict=True) if x is not None], space)
