"""A schedule as a curve: a strength for every layer, moved point by point, and written back as what it is.

A curve is the value of one rule (a plain number or gradient is one, without a condition). Written back it is the
shortest that says the same: a number, or a gradient, whose values lie evenly over the layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mergegraph.errors import Problem
from mergegraph.naming import layer_counts
from mergegraph.recipe.scalars import Value
from mergegraph.schedule import Gradient
from mergegraph_tui.model.checked import Checked
from mergegraph_tui.model.mixing import Tried
from mergegraph_tui.model.nodes import set_field
from mergegraph_tui.model.rule_targets import Target, schedule_of, schedule_value, written_out
from mergegraph_tui.model.splice import Edited, value_at

_DIGITS = 6
_SAME = 1e-6
"""Strengths that differ by less are written as the same."""


@dataclass(frozen=True, slots=True)
class CurveField:
    """Where a curve is: a schedule, and which of its rules; None where it has none."""

    target: Target
    rule: int | None
    title: str


@dataclass(frozen=True, slots=True)
class Curve:
    """`points`: a strength for each layer of the largest tower. `at`: the one that keys move; `reach`: how many of its
    neighbours on each side go with it, less the further they are."""

    points: tuple[float, ...]
    at: int = 0
    reach: int = 0

    def moved(self, by: int) -> Curve:
        """Another point under the cursor."""
        return replace(self, at=min(max(self.at + by, 0), len(self.points) - 1))

    def raised(self, by: float) -> Curve:
        """The point, and within reach its neighbours, `by` higher."""
        points = list(self.points)
        for index in range(max(0, self.at - self.reach), min(len(points), self.at + self.reach + 1)):
            share = 1.0 - abs(index - self.at) / (self.reach + 1)
            points[index] = round(points[index] + by * share, _DIGITS)
        return replace(self, points=tuple(points))

    def with_point(self, value: float) -> Curve:
        return self.raised(value - self.points[self.at])

    def reaching(self, by: int) -> Curve:
        """A wider or narrower reach."""
        return replace(self, reach=min(max(self.reach + by, 0), len(self.points) - 1))

    def flat(self) -> Curve:
        """Every layer as the one under the cursor."""
        return replace(self, points=(self.points[self.at],) * len(self.points))

    def straight(self) -> Curve:
        """A straight line from the first layer to the one under the cursor, and on to the last."""
        first, middle, last = self.points[0], self.points[self.at], self.points[-1]
        count = len(self.points)
        points = [
            first + (middle - first) * index / self.at if index < self.at
            else middle + (last - middle) * (index - self.at) / max(1, count - 1 - self.at)
            for index in range(count)
        ]  # fmt: skip
        return replace(self, points=tuple(round(each, _DIGITS) for each in points))

    @property
    def value(self) -> Value:
        """The number or gradient that says the same."""
        return shortest(self.points)


def shortest(points: Sequence[float]) -> Value:
    """A number where all points are equal, else the gradient of fewest values that goes through them."""
    rounded = [round(each, _DIGITS) for each in points]
    if len(set(rounded)) == 1:
        return rounded[0]
    last = len(rounded) - 1
    for count in range(2, len(rounded)):
        # Values that stand on no layer would have to be guessed.
        if last % (count - 1):
            continue
        values = [rounded[index * last // (count - 1)] for index in range(count)]
        if all(abs(a - b) <= _SAME for a, b in zip(at_layers(values, len(rounded)), rounded, strict=True)):
            return list(values)
    return list(rounded)


def at_layers(values: Sequence[float], count: int) -> tuple[float, ...]:
    """What a gradient comes to in each of `count` layers."""
    gradient = Gradient(tuple(values), {"layers": count})
    return tuple(float(gradient.value(f"layers.{layer}.x")) for layer in range(count))


def curve_fields(checked: Checked, target: Target) -> tuple[CurveField, ...]:
    """The curves of a schedule: one for each of its rules, the one without conditions first."""
    rules = schedule_value(checked, target)
    if not isinstance(rules, list) or not any(isinstance(each, dict) for each in rules):
        return (CurveField(target, None, "every layer"),)
    found: list[CurveField] = []
    for index, rule in enumerate(rules):
        fields = rule if isinstance(rule, dict) else {}
        conditions = [f"{key} {fields[key]}" for key in ("match", "kind", "part", "layers") if key in fields]
        found.append(CurveField(target, index, ", ".join(conditions) or "all others"))
    return tuple(sorted(found, key=lambda field: field.title != "all others"))


def curve_of(checked: Checked, field: CurveField) -> Curve | str:
    """The curve as the recipe has it; or why there is none to draw."""
    resolved = checked.resolved.nodes.get(field.target.engine_node) if checked.resolved else None
    if resolved is None:
        return "the recipe has a problem"
    count = max(layer_counts(resolved.tensors).values(), default=0)
    if not count:
        return "no tensor is in a layer"
    value = schedule_value(checked, field.target)
    if field.rule is not None:
        value = value_at(value, (field.rule, "value"))
    schedule = schedule_of(value)
    if isinstance(schedule, int | float):
        return Curve((schedule,) * count)
    values = [each for each in schedule or () if isinstance(each, int | float)]
    if schedule is None or len(values) < len(schedule):
        return "it holds no number"
    return Curve(at_layers(values, count))


def tried_curve(checked: Checked, field: CurveField, curve: Curve) -> Tried | None:
    """The schedule with the curve in it, to be tried."""
    value: Value = curve.value
    if field.rule is not None:
        rules = schedule_value(checked, field.target)
        value = [
            {**rule, "value": curve.value} if index == field.rule and isinstance(rule, dict) else rule
            for index, rule in enumerate(rules if isinstance(rules, list) else [])
        ]
    schedule = schedule_of(value)
    return None if schedule is None else Tried(field.target.engine_node, field.target.path, schedule)


def write_curve(text: str, checked: Checked, field: CurveField, curve: Curve) -> Edited:
    """`text` with the curve written back; an expression becomes nodes for it."""
    opened, node = written_out(text, checked, field.target)
    if isinstance(opened, Problem):
        return opened
    path = field.target.path if field.rule is None else (*field.target.path, field.rule, "value")
    return set_field(opened, node, path, curve.value)
