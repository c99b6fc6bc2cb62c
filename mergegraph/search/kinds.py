"""What a search may say: one class a kind, strict, with the fields that all kinds share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from mergegraph.fields import Described, FieldModel, Number
from mergegraph.search.evaluators import Evaluator
from mergegraph.search.outcome import PARTS
from mergegraph.search.scoring import Accept, Metric
from mergegraph.units import parse_bytes

Candidates = Annotated[tuple[str, ...], Field(min_length=1)]
Setting = Number | int | str | bool


def _example(own: str, split: str = "select_on: dev") -> str:
    """A whole search, with what every kind needs."""
    evaluator = 'evaluator: {python: "my_eval:score"}, metrics: {accuracy: max}'
    return f"{{mergegraph: 1, {own}, {evaluator}, {split}}}"


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
        if named := [name for name in self.metrics if name in PARTS]:
            raise ValueError(f"`metrics` names {named[0]}: those of a result are lists, not a metric")
        if not any(metric.weight for metric in self.metrics.values()):
            raise ValueError("`metrics` has no weight above 0, so nothing can be chosen by them")
        return self

    @property
    def splits(self) -> tuple[str, ...]:
        """Every split that models are evaluated on; the first is that of the candidates."""
        return (self.select_on,) if self.report_on is None else (self.select_on, self.report_on)


class Uniform(Search):
    """The average of all candidates: the baseline of every soup."""

    example: ClassVar[str] = _example("search: uniform, candidates: [./models/run-*]")

    search: Literal["uniform"]
    candidates: Candidates = Field(description="models to average: folders or globs")


class GreedySoup(Search):
    """Candidates in the order of their own scores, each added to the average when that does not make it worse."""

    example: ClassVar[str] = _example("search: greedy_soup, candidates: [./models/run-*]")

    search: Literal["greedy_soup"]
    candidates: Candidates = Field(description="models to choose from: folders or globs")
    strict: bool = Field(default=False, description="add only what makes the score better; an equal one is not enough")
    refine: Literal["drop_one"] | None = Field(
        default=None, description="drop_one: at the end, leave out members as long as the score grows"
    )


class Grid(Search):
    """Every combination of a few values for places in a recipe."""

    example: ClassVar[str] = _example('search: grid, recipe: merge.yaml, over: {boost.by: "0:1:0.1"}')

    search: Literal["grid"]
    recipe: str = Field(description="the recipe, relative to the search; it has one save")
    over: Annotated[dict[str, tuple[Any, ...] | str], Field(min_length=1)] = Field(
        description='places as --set takes them, with values [0.2, 0.5] or a range "START:STOP:STEP"'
    )


class Line(Search):
    """The segment between two models: every metric along it, and the height of the barrier between them."""

    example: ClassVar[str] = _example("search: line, between: [./models/a, ./models/b]")

    search: Literal["line"]
    between: Annotated[tuple[str, ...], Field(min_length=2, max_length=2)] = Field(
        description="two models; with recipe, two of its nodes"
    )
    recipe: str | None = Field(default=None, description="a recipe whose nodes the line joins")
    points: int = Field(default=11, ge=3, le=1001, description="places on the line, both ends among them")


class Ablate(Search):
    """A task vector with only, and without, each kind of tensor in each quarter of the depth: which layers matter."""

    example: ClassVar[str] = _example("search: ablate, model: ./models/tuned, base: ./models/base")

    search: Literal["ablate"]
    model: str | None = Field(default=None, description="the fine-tune")
    base: str = Field(description="the model it was tuned from; with recipe, the node that the delta is added to")
    recipe: str | None = Field(default=None, description="a recipe with the delta")
    delta: str | None = Field(default=None, description="the node of the recipe that is taken apart")

    @model_validator(mode="after")
    def _one_delta(self) -> Self:
        if (self.model is None) == (self.delta is None) or (self.recipe is None) != (self.delta is None):
            raise ValueError("ablate takes `model` and `base`, or `recipe` with its nodes `delta` and `base`")
        if self.report_on is not None:
            raise ValueError(
                "`report_on` is of no use: an ablation chooses nothing that could be reported; leave it out"
            )
        return self


class Compare(Search):
    """Models, recipes and ensembles beside each other: every metric and slice, the worst regression first."""

    example: ClassVar[str] = _example(
        "search: compare, against: base, models: {base: ./models/base, merged: merge.yaml}", split="report_on: test"
    )

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

    @model_validator(mode="after")
    def _one_split(self) -> Self:
        if self.select_on:
            raise ValueError("`select_on` is of no use: a comparison chooses nothing; leave it out")
        return self

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
    def is_whole(self) -> bool:
        """Whether whole numbers alone are meant: bounds and step are."""
        numbers = (self.low, self.high, self.step)
        return all(number is not None and float(number).is_integer() for number in numbers)

    @property
    def ends(self) -> Sequence[object]:
        """Values of it that show whether it fits its place: all choices, or the ends."""
        if self.choices is not None:
            return self.choices
        assert self.low is not None and self.high is not None  # noqa: PT018
        ends = [int(end) if self.is_whole else end for end in (self.low, self.high)]
        return [[end] * self.points if self.points is not None else end for end in ends]

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
        if self.choices == ():
            raise ValueError("`choices` is empty")
        if self.step is not None and self.low is not None and self.high is not None:
            steps = (self.high - self.low) / self.step
            if abs(steps - round(steps)) > 1e-6:
                raise ValueError(f"steps of {self.step:g} do not lead from {self.low:g} to {self.high:g}")
        return self


class Tune(Search):
    """optuna (extra `search`) over places in a recipe: TPE, CMA-ES, or several objectives at once."""

    example: ClassVar[str] = _example("search: optuna, recipe: merge.yaml, over: {boost.by: {low: 0, high: 1}}")

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

    @model_validator(mode="after")
    def _able(self) -> Self:
        if self.sampler == "cma_es" and self.multi_objective:
            raise ValueError("`sampler: cma_es` knows one objective; several take `sampler: tpe`")
        return self


KINDS: dict[str, type[Search]] = {
    kind.op_name(): kind for kind in (Uniform, GreedySoup, Grid, Line, Ablate, Compare, Tune)
}
