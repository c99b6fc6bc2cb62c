"""What a search may say: one class a kind, strict, with the fields that all kinds share."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from mergegraph.fields import Described, FieldModel, Number
from mergegraph.search.evaluators import Evaluator
from mergegraph.search.scoring import Accept, Metric
from mergegraph.units import parse_bytes

Candidates = Annotated[tuple[str, ...], Field(min_length=1)]
Setting = Number | int | str | bool


class Limits(FieldModel):
    """When a search ends at the latest; what it has found by then counts."""

    evaluations: int | None = Field(default=None, ge=1, description="evaluations on the selection split")
    hours: Number | None = Field(default=None, gt=0, description="hours of making and evaluating candidates")


class Search(Described):
    """The fields of every kind. `search` names the kind."""

    search: str
    name: str = Field(default="", description="what the search is called; default: the name of its file")
    description: str = ""
    mergegraph: Literal[1] = Field(description="the format version")
    evaluator: Evaluator = Field(description="how a model is evaluated: command, python or lm_eval")
    metrics: Annotated[dict[str, Metric], Field(min_length=1)] = Field(
        description="the numbers that count, as {accuracy: max} or {loss: {direction: min, weight: 0.5, floor: 2}}"
    )
    select_on: str = Field(description="the split that candidates are chosen on", min_length=1)
    report_on: str | None = Field(default=None, description="a split on which the result is evaluated once, at the end")
    accept: Accept = Field(default_factory=Accept, description="what a candidate must do, as {noise: 2}")
    limits: Limits = Field(default_factory=Limits, description="{evaluations: 40, hours: 2}")
    budget: str | None = Field(default=None, description="memory for merging, as 2GiB")
    allow_unrelated: bool = Field(default=False, description="only warn where models have different bases")
    path: str = Field(default="", description="the folder of the search, relative to its file; -o overrides it")

    @classmethod
    def op_name(cls) -> str:
        return str(get_args(cls.model_fields["search"].annotation)[0])

    @field_validator("budget")
    @classmethod
    def _size(cls, size: str | None) -> str | None:
        if size is not None:
            parse_bytes(size)
        return size

    @model_validator(mode="after")
    def _splits_differ(self) -> Self:
        if self.report_on == self.select_on:
            raise ValueError("`report_on` is the split that candidates were chosen on; it must be another one")
        if not any(metric.weight for metric in self.metrics.values()):
            raise ValueError("no metric has a weight above 0, so nothing can be chosen by")
        return self

    @property
    def splits(self) -> tuple[str, ...]:
        """Every split that models are evaluated on; the first is that of the candidates."""
        return (self.select_on,) if self.report_on is None else (self.select_on, self.report_on)


class Uniform(Search):
    """The average of all candidates: the baseline of every soup."""

    example: ClassVar[str] = "{search: uniform, candidates: [./models/run-*]}"

    search: Literal["uniform"]
    candidates: Candidates = Field(description="models to average: folders or globs")


class GreedySoup(Search):
    """Candidates in the order of their own scores, each added to the average when that does not make it worse."""

    example: ClassVar[str] = "{search: greedy_soup, candidates: [./models/run-*]}"

    search: Literal["greedy_soup"]
    candidates: Candidates = Field(description="models to choose from: folders or globs")
    strict: bool = Field(default=False, description="add only what makes the score better; an equal one is not enough")
    refine: Literal["drop_one"] | None = Field(
        default=None, description="drop_one: at the end, leave out members as long as the score grows"
    )


class Grid(Search):
    """Every combination of a few values for places in a recipe."""

    example: ClassVar[str] = '{search: grid, recipe: merge.yaml, over: {boost.by: "0:1:0.1"}}'

    search: Literal["grid"]
    recipe: str = Field(description="the recipe, relative to the search; it has one save")
    over: Annotated[dict[str, tuple[Setting, ...] | str], Field(min_length=1)] = Field(
        description='places as --set takes them, with values [0.2, 0.5] or a range "START:STOP:STEP"'
    )


class Line(Search):
    """The segment between two models: every metric along it, and the height of the barrier between them."""

    example: ClassVar[str] = "{search: line, between: [./models/a, ./models/b]}"

    search: Literal["line"]
    between: Annotated[tuple[str, ...], Field(min_length=2, max_length=2)] = Field(
        description="two models; with recipe, two of its nodes"
    )
    recipe: str | None = Field(default=None, description="a recipe whose nodes the line joins")
    points: int = Field(default=11, ge=3, le=1001, description="places on the line, both ends among them")


class Ablate(Search):
    """A task vector with only, and without, each kind of tensor in each quarter of the depth: which layers matter."""

    example: ClassVar[str] = "{search: ablate, model: ./models/tuned, base: ./models/base}"

    search: Literal["ablate"]
    model: str | None = Field(default=None, description="the fine-tune")
    base: str = Field(description="the model it was tuned from; with recipe, the node that the delta is added to")
    recipe: str | None = Field(default=None, description="a recipe with the delta")
    delta: str | None = Field(default=None, description="the node of the recipe that is taken apart")

    @model_validator(mode="after")
    def _one_delta(self) -> Self:
        if (self.model is None) == (self.delta is None) or (self.recipe is None) != (self.delta is None):
            raise ValueError("ablate takes `model` and `base`, or `recipe` with its nodes `delta` and `base`")
        return self


class Compare(Search):
    """Models, recipes and ensembles beside each other: every metric and slice, the worst regression first."""

    example: ClassVar[str] = "{search: compare, against: base, models: {base: ./models/base, merged: merge.yaml}}"

    search: Literal["compare"]
    models: Annotated[dict[str, str], Field(min_length=1)] = Field(
        description="models or recipes by name; a glob stands for all that it matches"
    )
    against: str = Field(description="the model that the others are held against: one of the names")
    select_on: str = Field(default="", description="not used: a comparison chooses nothing")
    report_on: str | None = Field(description="the split that the models are compared on", min_length=1)
    ensembles: dict[str, Annotated[tuple[str, ...], Field(min_length=1)]] = Field(
        default_factory=dict[str, tuple[str, ...]],
        description="lists of names whose predictions are put together: probabilities averaged, and a vote",
    )

    @property
    def splits(self) -> tuple[str, ...]:
        return (self.report_on or "",)


class Range(FieldModel):
    """The values that a place may take: a range of numbers, or a choice."""

    low: Number | None = None
    high: Number | None = None
    log: bool = False
    step: Number | None = Field(default=None, gt=0)
    choices: tuple[Setting, ...] | None = None
    points: int | None = Field(default=None, ge=2, le=64, description="a gradient over the layers with so many values")

    @property
    def first(self) -> object:
        """A value that is in it."""
        if self.choices is not None:
            return self.choices[0]
        return [self.low] * self.points if self.points is not None else self.low

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.choices is None) == (self.low is None) or (self.low is None) != (self.high is None):
            raise ValueError("a range has `low` and `high`, or `choices`")
        if self.choices is not None and (self.log or self.step is not None or self.points is not None):
            raise ValueError("log, step and points go with `low` and `high`")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError("`low` is less than `high`")
        if self.log and (self.step is not None or (self.low or 0) <= 0):
            raise ValueError("`log` goes with a `low` above 0 and without `step`")
        return self


class Tune(Search):
    """optuna (extra `search`) over places in a recipe: TPE, CMA-ES, or several objectives at once."""

    example: ClassVar[str] = "{search: optuna, recipe: merge.yaml, over: {boost.by: {low: 0, high: 1}}, trials: 30}"

    search: Literal["optuna"]
    recipe: str = Field(description="the recipe, relative to the search; it has one save")
    over: Annotated[dict[str, Range], Field(min_length=1)] = Field(
        description="places as --set takes them, each {low: 0, high: 1} or {choices: [a, b]}"
    )
    trials: int = Field(default=50, ge=1, le=100_000, description="candidates to try")
    sampler: Literal["tpe", "cma_es", "random"] = Field(default="tpe", description="how the next candidate is chosen")
    multi_objective: bool = Field(
        default=False, description="every metric with a weight is an objective; what no other beats is reported"
    )
    seed: int = Field(default=0, ge=0, description="the seed of the sampler")


KINDS: dict[str, type[Search]] = {
    kind.op_name(): kind for kind in (Uniform, GreedySoup, Grid, Line, Ablate, Compare, Tune)
}
