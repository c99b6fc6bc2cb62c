"""New nodes and models in a recipe's text: where they go, and in which style they are written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import count

from mergegraph.errors import Problem, RecipeError, did_you_mean
from mergegraph.methods.base import Method
from mergegraph.methods.registry import methods
from mergegraph.recipe.document import parse_value
from mergegraph.recipe.grammar import ExpressionError, names_in
from mergegraph.recipe.scalars import Value
from mergegraph_tui.model.entries import Splice, entry_added
from mergegraph_tui.model.outline import Outline, Outlined, Section, entries, outline
from mergegraph_tui.model.places import Place, Text, column, line_start
from mergegraph_tui.model.ports import ports_of, with_source
from mergegraph_tui.model.splice import Edited, edited, with_value
from mergegraph_tui.model.writing import written

_SHORT = ("load", "save")
"""Operations that are written on one line whatever stands around them: they do not count as siblings."""


def free_name(text: str, stem: str) -> str:
    """`stem`, numbered when something of the recipe is called that already: `scale`, `scale_2`."""
    found = outline(text)
    taken = found.nodes if isinstance(found, Outline) else dict[str, Outlined]()
    word = re.sub(r"\W", "_", stem) or "node"
    word = word if word.isidentifier() else f"n_{word}"
    numbered = (f"{word}_{number}" if number > 1 else word for number in count(1))
    return next(name for name in numbered if name not in taken)


def add_node(text: str, name: str, op: str, sources: Sequence[str] = (), *, after: str = "") -> Edited:
    """`text` with a new node, wired to `sources` as far as its operation takes them, on the line after `after`.

    Parameters without a default get the value that the operation's own example has. An input that is still missing
    is left out: the check names it.
    """
    cls = methods().get(op)
    if cls is None:
        return Problem(f'There is no op "{op}".', node=name, fix=did_you_mean(op, methods(), "ops"))
    fields: dict[str, Value] = {"op": op}
    for source in sources:
        fields = with_source(cls, fields, source)
    fields |= _needed(cls)
    if op == "save":
        fields["path"] = f"out/{name}"
    return add_entry(text, "nodes", name, fields, after or next(iter(sources), ""))


def add_expression(text: str, name: str, expression: str, *, after: str = "") -> Edited:
    """`text` with a new node that is `expression`."""
    try:
        names_in(expression)
    except ExpressionError as error:
        return error.problem.located(None, name)
    return add_entry(text, "nodes", name, expression, after)


def add_model(text: str, name: str, reference: str) -> Edited:
    """`text` with a model under `models:`; the section is made above `nodes:` where there is none."""
    return add_entry(text, "models", name, reference, "")


def bad_name(found: Outline, name: str) -> Problem | None:
    """Why a new node cannot be called `name`."""
    if not name.isidentifier():
        word = re.sub(r"\W", "_", name) or "node"
        fix = f"use letters, digits and underscores: {word if word.isidentifier() else f'n_{word}'}"
        return Problem(f'"{name}" cannot be a name.', fix=fix)
    if name in found.nodes:
        fact = f'Something is called "{name}" already.'
        return Problem(fact, node=name, why=f"it is in line {found.nodes[name].line}", fix=f"write another: {name}_2")
    return None


def add_entry(text: str, section: Section, name: str, value: Value, after: str) -> Edited:
    """`text` with `name` in a section: below `after` where that is in it, else above the saves at its end."""
    found = outline(text)
    if isinstance(found, Problem):
        return found
    if refused := bad_name(found, name):
        return refused

    def change(now: Text) -> list[Splice] | Problem:
        root = now.root
        if root is None or root.kind != "mapping":
            fact = "A node cannot be added: this is no recipe yet."
            return Problem(fact, fix="write mergegraph: 1, then nodes:")
        place = now.at((section,))
        if place is None:
            return _new_section(now, root, section, name, value)
        if place.kind == "mapping" and place.values:
            spelled = _spelled(now, place, value, section)
            return entry_added(now, place, _index(found, place, section, after), name, spelled)
        return _first_entry(now, root, place, name, value)

    def wanted(tree: Value) -> Value:
        there = entries(tree, section)
        root = tree if isinstance(tree, dict) else {}
        index = _index(found, tuple(there), section, after)
        items = list(there.items())
        filled: Value = dict([*items[:index], (name, value), *items[index:]])
        if section in root or section == "nodes" or "nodes" not in root:
            return with_value(tree, (section,), filled)
        return {key: item for old in root for key, item in _above_nodes(section, filled, old, root[old])}

    return edited(text, change, wanted)


def _above_nodes(section: Section, filled: Value, key: str, value: Value) -> list[tuple[str, Value]]:
    """An entry of the recipe, after the new section where it is `nodes:`."""
    return [*([(section, filled)] if key == "nodes" else []), (key, value)]


def _needed(cls: type[Method]) -> dict[str, Value]:
    """The parameters without a default, as the operation's example has them."""
    ports = {port.field for port in ports_of(cls, {})}
    needed = [info.alias or name for name, info in cls.model_fields.items() if info.is_required()]
    try:
        example = parse_value("{" + cls.example + "}", "")
    except RecipeError:
        return {}
    shown = next(iter(example.values()), None) if isinstance(example, dict) else None
    return {name: shown[name] for name in needed if name not in ports and isinstance(shown, dict) and name in shown}


def _index(found: Outline, place: Place | tuple[str, ...], section: Section, after: str) -> int:
    """Which entry of the section the new one comes before."""
    names = place.names if isinstance(place, Place) else place
    if after in names and found.nodes[after].op != "save":
        return names.index(after) + 1
    last = len(names)
    while section == "nodes" and last > 0 and found.nodes[names[last - 1]].op == "save":
        last -= 1
    return last


def _spelled(now: Text, place: Place, value: Value, section: Section) -> str:
    """A value in the style of its siblings: on lines of its own where most of theirs are."""
    kept = entries(now.value, section)
    siblings = [
        each
        for name, each in zip(place.names, place.values, strict=True)
        if each.kind == "mapping" and isinstance(fields := kept.get(name), dict) and fields.get("op") not in _SHORT
    ]
    blocks = [each for each in siblings if not each.flow]
    if not isinstance(value, dict) or place.flow or len(blocks) * 2 <= len(siblings) or section != "nodes":
        return written(value)
    outer = column(now.text, place.keys[0].start)
    inner = " " * (outer + max(2, column(now.text, blocks[0].inner) - outer))
    return "".join(f"{now.line_end}{inner}{key}: {written(item)}" for key, item in value.items())


def _new_section(now: Text, root: Place, section: Section, name: str, value: Value) -> list[Splice]:
    """A section that is not there yet: `models:` above the nodes, `nodes:` at the end."""
    index = root.names.index("nodes") if section == "models" and "nodes" in root.names else len(root.values)
    if root.flow:
        return entry_added(now, root, index, section, written({name: value}))
    entry = f"{now.line_end}  {written(name)}: {written(value)}"
    return entry_added(now, root, index, section, entry)


def _first_entry(now: Text, root: Place, place: Place, name: str, value: Value) -> list[Splice]:
    """The first entry of a section that is empty."""
    if root.flow:
        return [Splice(place.start, place.end, written({name: value}))]
    indent = " " * (column(now.text, root.keys[0].start) + 2)
    start = (
        len(now.text[: place.start].rstrip(" \t"))
        if now.text[line_start(now.text, place.start) : place.start].strip()
        else place.start
    )
    return [Splice(start, place.end, f"{now.line_end}{indent}{written(name)}: {written(value)}")]
