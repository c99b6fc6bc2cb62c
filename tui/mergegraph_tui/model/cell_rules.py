"""Which rules of a schedule mean the tensors of chosen cells, and how they are written into the recipe.

A rule can only name tensors by conditions that all must hold. The fewest and widest conditions are taken that mean the
chosen tensors and no others: that is looked up in the names themselves, so a rule never takes more than was chosen.
"""

from __future__ import annotations

import glob
from collections.abc import Collection, Iterator, Sequence

from mergegraph.errors import Problem
from mergegraph.fields import Kind, Part, Selector
from mergegraph.methods.base import Path
from mergegraph.naming import role
from mergegraph.recipe.scalars import Value
from mergegraph.selecting import Selection
from mergegraph_tui.model.checked import Checked
from mergegraph_tui.model.mixing import Tried
from mergegraph_tui.model.nodes import add_rule, set_field
from mergegraph_tui.model.outline import outline
from mergegraph_tui.model.rule_targets import Target, schedule_of, schedule_value, written_out
from mergegraph_tui.model.splice import Edited, remove_value, value_at

Conditions = dict[str, str]
"""`match`, `kind`, `part`, `layers`, as a recipe has them."""
_KEYS = ("match", "kind", "part", "layers")


def conditions_for(wanted: Collection[str], names: Sequence[str]) -> tuple[Conditions, ...]:
    """Conditions of rules that together mean `wanted` of `names`, and no other tensor."""
    found = _Conditions(frozenset(wanted), tuple(names))
    return tuple(found.all())


def write_rules(text: str, node: str, path: Path, conditions: Sequence[Conditions], value: float) -> Edited:
    """`text` with a rule for each of `conditions` before all others in the schedule at `path`; a rule with the same
    conditions goes. Without conditions the schedule becomes the number."""
    if any(not each for each in conditions):
        return set_field(text, node, path, value)
    for each in reversed(conditions):
        text_or_problem = _without(text, node, path, each)
        if isinstance(text_or_problem, Problem):
            return text_or_problem
        added = add_rule(text_or_problem, node, path, {**each, "value": value})
        if isinstance(added, Problem):
            return added
        text = added
    return text


def apply_rules(text: str, checked: Checked, target: Target, conditions: Sequence[Conditions], value: float) -> Edited:
    """`text` with the rules in a target's schedule; an expression becomes nodes for it."""
    opened, node = written_out(text, checked, target)
    return opened if isinstance(opened, Problem) else write_rules(opened, node, target.path, conditions, value)


def tried_rules(checked: Checked, target: Target, conditions: Sequence[Conditions], value: float) -> Tried | None:
    """The schedule with the rules in it, to be tried; None where it cannot be read."""
    rules: list[Value] = [{**each, "value": value} for each in conditions]
    now = schedule_value(checked, target)
    if isinstance(now, list) and any(isinstance(each, dict) for each in now):
        rules += now
    elif isinstance(now, int | float | list):
        rules.append({"value": now})
    schedule = schedule_of(rules)
    return None if schedule is None else Tried(target.engine_node, target.path, schedule)


def in_words(conditions: Conditions) -> str:
    """`attention q, layers 4:8`; `every tensor`."""
    kind = " ".join(conditions[key] for key in ("kind", "part") if key in conditions)
    parts = [conditions.get("match", ""), kind, f"layers {conditions['layers']}" if "layers" in conditions else ""]
    return ", ".join(part for part in parts if part) or "every tensor"


def _without(text: str, node: str, path: Path, conditions: Conditions) -> Edited:
    """The text without the rules that have just these conditions."""
    found = outline(text)
    if isinstance(found, Problem) or node not in found.nodes:
        return text
    schedule: Value = value_at(found.nodes[node].value, path)
    rules = schedule if isinstance(schedule, list) else []
    same = [index for index, rule in enumerate(rules) if _conditions_of(rule) == conditions]
    # What is left must be a rule still: the last one of a schedule stays, and is shadowed.
    for index in reversed(same if len(same) < len(rules) else same[:-1]):
        removed = remove_value(text, ("nodes", node, *path, index))
        if isinstance(removed, Problem):
            return removed
        text = removed
    return text


def _conditions_of(rule: Value) -> Conditions | None:
    return {key: str(rule[key]) for key in _KEYS if key in rule} if isinstance(rule, dict) else None


class _Conditions:
    """The search. Every step tries the widest conditions first."""

    def __init__(self, wanted: frozenset[str], names: tuple[str, ...]) -> None:
        self.wanted, self.names = wanted & frozenset(names), names
        self.towers = {role(name).tower for name in names if role(name).layer is not None}

    def all(self) -> Iterator[Conditions]:
        if self.wanted and self.means({}, self.wanted):
            yield {}
            return
        # A kind that is chosen inside and outside of the layers is one rule.
        rest = set(self.wanted)
        for kind in dict.fromkeys(role(name).kind for name in self.names):
            chosen = {name for name in rest if role(name).kind == kind}
            layered = {role(name).layer is not None for name in chosen}
            if len(layered) == 2 and self.means({"kind": kind}, chosen):
                yield {"kind": kind}
                rest -= chosen
        for tower in sorted(self.towers):
            inside = {n for n in rest if role(n).layer is not None and role(n).tower == tower}
            yield from self.in_tower(tower, inside)
        yield from self.outside({name for name in rest if role(name).layer is None})

    def means(self, conditions: Conditions, wanted: Collection[str]) -> bool:
        """Whether the conditions hold for `wanted` and for nothing else."""
        selection = Selection(Selector.model_validate(conditions), self.names)
        return {name for name in self.names if selection.matches(name)} == set(wanted)

    def first(self, tries: Sequence[Conditions], wanted: Collection[str]) -> Conditions | None:
        return next((each for each in tries if self.means(each, wanted)), None)

    def in_tower(self, tower: str, wanted: Collection[str]) -> Iterator[Conditions]:
        if not wanted:
            return
        numbers = [layer for name in wanted if (layer := role(name).layer) is not None]
        run = {"layers": f"{min(numbers)}:{max(numbers) + 1}"}
        start: Conditions = {"match": f"{glob.escape(tower)}.*"} if len(self.towers) > 1 else {}
        if found := self.first([start, {**start, **run}], wanted):
            yield found
            return
        for kind, chosen in _by_kind(wanted).items():
            named: Conditions = {**start, "kind": kind}
            if found := self.first([named, {**named, **run}], chosen):
                yield found
                continue
            for part, few in _by_part(chosen).items():
                parted: Conditions = {**named, **({"part": part} if part else {})}
                found = self.first([parted, {**parted, **run}], few)
                yield from [found] if found else self.by_pattern(few, run)

    def by_pattern(self, wanted: Collection[str], run: Conditions) -> Iterator[Conditions]:
        """The same name in every layer; failing that each name by itself."""
        for pattern, alike in _by_pattern(wanted).items():
            found = self.first([{"match": pattern}, {"match": pattern, **run}], alike)
            yield from [found] if found else ({"match": glob.escape(name)} for name in sorted(alike))

    def outside(self, wanted: Collection[str]) -> Iterator[Conditions]:
        for kind, chosen in _by_kind(wanted).items():
            if self.means({"kind": kind}, chosen):
                yield {"kind": kind}
            else:
                yield from ({"match": glob.escape(name)} for name in sorted(chosen))


def _by_kind(names: Collection[str]) -> dict[Kind, set[str]]:
    found: dict[Kind, set[str]] = {}
    for name in sorted(names):
        found.setdefault(role(name).kind, set()).add(name)
    return found


def _by_part(names: Collection[str]) -> dict[Part | None, set[str]]:
    found: dict[Part | None, set[str]] = {}
    for name in sorted(names):
        found.setdefault(role(name).part, set()).add(name)
    return found


def _by_pattern(names: Collection[str]) -> dict[str, set[str]]:
    """Names by what they are with any layer number."""
    found: dict[str, set[str]] = {}
    for name in sorted(names):
        named = role(name)
        start = f"{named.tower}.{named.layer}"
        found.setdefault(f"{glob.escape(named.tower)}.*{glob.escape(name[len(start) :])}", set()).add(name)
    return found
