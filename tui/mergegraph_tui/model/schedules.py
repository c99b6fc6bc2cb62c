"""What a schedule comes to: its number in every layer, and how many tensors each of its rules decides."""

from __future__ import annotations

from dataclasses import dataclass

from mergegraph.methods.base import Path
from mergegraph.naming import layer_counts, role
from mergegraph_tui.model.checked import Checked


@dataclass(frozen=True, slots=True)
class LayerValue:
    """The numbers that the tensors of one layer get, from the least to the most."""

    tower: str
    layer: int
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class RuleCount:
    """How many tensors a rule's conditions fit, and for how many of these no earlier rule decides."""

    matched: int
    decided: int


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """A schedule against the tensors of its node. A plain number or gradient is one rule.

    `layers`: tower by tower, the largest first. `outside`: the numbers of tensors in no layer, by kind.
    """

    rules: tuple[RuleCount, ...]
    layers: tuple[LayerValue, ...]
    outside: tuple[tuple[str, float, float], ...]


def schedule_view(checked: Checked, node: str, path: Path) -> ScheduleView | None:
    """The schedule at `path` of a node; None while the headers do not fit, or where there is none."""
    resolved = checked.resolved.nodes.get(node) if checked.resolved else None
    schedule = resolved.schedules.get(path) if resolved else None
    if resolved is None or schedule is None:
        return None
    names = [name for name in resolved.tensors if name not in resolved.exempt]
    deciding = {name: schedule.rule(name) for name in names}
    rules = tuple(
        RuleCount(sum(selection.matches(name) for name in names), sum(each == index for each in deciding.values()))
        for index, (selection, _) in enumerate(schedule.rules)
    )
    in_layers: dict[tuple[str, int], list[float]] = {}
    outside: dict[str, list[float]] = {}
    for name in (name for name, rule in deciding.items() if rule is not None):
        named = role(name)
        values = outside.setdefault(named.kind, []) if named.layer is None else (
            in_layers.setdefault((named.tower, named.layer), [])
        )  # fmt: skip
        values.append(float(schedule.value(name)))
    counts = layer_counts(names)
    layers = sorted(in_layers, key=lambda key: (-counts.get(key[0], 0), key[0], key[1]))
    return ScheduleView(
        rules,
        tuple(LayerValue(*key, min(in_layers[key]), max(in_layers[key])) for key in layers),
        tuple((kind, min(values), max(values)) for kind, values in outside.items()),
    )
