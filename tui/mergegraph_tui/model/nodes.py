"""Edits of nodes that are there: their fields and expressions; rename everywhere, delete, duplicate, bypass."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from mergegraph.errors import Problem, did_you_mean
from mergegraph.methods.base import Path
from mergegraph.recipe.grammar import ExpressionError, names_in, with_names
from mergegraph.recipe.scalars import Value
from mergegraph_tui.model.adding import bad_name
from mergegraph_tui.model.entries import Splice, entry_added
from mergegraph_tui.model.outline import EXPRESSION, SECTIONS, Outline, Outlined, entries, outline, references
from mergegraph_tui.model.places import Place, Text, skip_blank
from mergegraph_tui.model.splice import (
    Edited,
    Typed,
    edited,
    insert_item,
    remove_value,
    set_value,
    typed_value,
    value_at,
    with_value,
)
from mergegraph_tui.model.writing import written

_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}.]+)(\.[^{}]*)?\}")


def set_field(text: str, node: str, path: Path, value: Value | Typed) -> Edited:
    """`text` with a field of a node set, as `("by",)`, `("by", 0, "value")`, `("inputs", 1, "weight")`.

    A list or mapping in place of another changes only where they differ. `Typed` is written letter by letter.
    """
    found = outline(text)
    if isinstance(found, Problem):
        return found
    if refused := no_node(found, node):
        return refused
    item = value_at(found.nodes[node].value, path[:-1])
    if isinstance(item, str) and len(path) > 1 and isinstance(path[-1], str):
        # A bare name among inputs becomes a mapping, to have more said of it.
        given = typed_value(value)
        value = {"from": item, path[-1]: given} if not isinstance(given, Problem) else value
        path = path[:-1]
    return set_value(text, ("nodes", node, *path), value)


def remove_field(text: str, node: str, path: Path) -> Edited:
    """`text` without a field of a node, or without an item of one."""
    return remove_value(text, ("nodes", node, *path))


def add_rule(text: str, node: str, path: Path, rule: Value) -> Edited:
    """`text` with a rule before all others in the schedule at `path`; a number or gradient becomes the last rule."""
    found = outline(text)
    if isinstance(found, Problem):
        return found
    if refused := no_node(found, node):
        return refused
    schedule = value_at(found.nodes[node].value, path)
    if isinstance(schedule, list) and any(isinstance(item, dict) for item in schedule):  # pyright: ignore[reportUnknownVariableType]
        return insert_item(text, ("nodes", node, *path), 0, rule)
    rest: list[Value] = [{"value": schedule}] if isinstance(schedule, int | float | list) else []
    return set_field(text, node, path, [rule, *rest])


def set_expression(text: str, node: str, expression: str) -> Edited:
    """`text` with another expression in a node; a node with an operation becomes the expression."""
    try:
        names_in(expression)
    except ExpressionError as error:
        return error.problem.located(None, node)
    return set_value(text, ("nodes", node), expression)


def set_reference(text: str, model: str, reference: str) -> Edited:
    """`text` with another checkpoint in a model, under `models:` or as a load node."""
    found = outline(text)
    if isinstance(found, Problem):
        return found
    if refused := no_node(found, model):
        return refused
    if found.nodes[model].section == "models":
        return set_value(text, ("models", model), reference)
    return set_field(text, model, ("model",), reference)


def rename_node(text: str, old: str, new: str) -> Edited:
    """`text` with a node, model or include called `new`, wherever it is named: inputs, expressions, paths of saves."""
    found = outline(text)
    if isinstance(found, Problem):
        return found
    refused = no_node(found, old) or (bad_name(found, new) if new != old else None)
    if refused:
        return refused
    section = found.nodes[old].section

    def new_name(word: str) -> str:
        return new + word[len(old) :] if word == old or word.startswith((f"{old}.", f"{old}@")) else word

    def change(now: Text) -> list[Splice]:
        key = now.key((section, old))
        splices = [Splice(key.inner, key.end, written(new, key.style))] if key else []
        for path, respelled in mentions(now.value, new_name):
            place = now.at(path)
            if place is not None and place.kind == "scalar":
                splices.append(_respelled(now, place, respelled))
        return splices

    def wanted(tree: Value) -> Value:
        for path, respelled in mentions(tree, new_name):
            tree = with_value(tree, path, respelled(value_at(tree, path)))
        names = {new if name == old else name: value for name, value in entries(tree, section).items()}
        return with_value(tree, (section,), names)

    return edited(text, change, wanted)


def delete_node(text: str, name: str) -> Edited:
    """`text` without a node, model or include. What read it reads its first input now.

    Where it had none, or a list names that one already, the field or item goes; an expression keeps the name then, and
    the check says so.
    """
    found = outline(text)
    if isinstance(found, Problem):
        return found
    if refused := no_node(found, name):
        return refused
    node = found.nodes[name]
    instead = next((source for source in node.inputs if source != name), "")
    for reader in found.nodes.values():
        if reader.name != name:
            rewired = rewire(text, reader, name, instead)
            if isinstance(rewired, Problem):
                return rewired
            text = rewired
    return remove_value(text, (node.section, name))


def duplicate_node(text: str, name: str, copy: str) -> Edited:
    """`text` with a copy of a node below it, letter by letter; the copy of a save goes to a path of its own."""
    found = outline(text)
    if isinstance(found, Problem):
        return found
    if refused := no_node(found, name) or bad_name(found, copy):
        return refused
    node = found.nodes[name]

    def change(now: Text) -> list[Splice]:
        around, place = now.at((node.section,)), now.at((node.section, name))
        if around is None or place is None:
            return []
        index = around.names.index(name)
        colon = skip_blank(now.text, around.keys[index].end)
        return entry_added(now, around, index + 1, copy, now.text[colon + 1 : place.end].lstrip(" "))

    def wanted(tree: Value) -> Value:
        there = entries(tree, node.section)
        twice = [pair for key, value in there.items() for pair in ((key, value), *([(copy, value)] * (key == name)))]
        return with_value(tree, (node.section,), dict(twice))

    copied = edited(text, change, wanted)
    path = node.value.get("path") if isinstance(node.value, dict) and node.op == "save" else None
    if isinstance(copied, Problem) or not isinstance(path, str) or not path:
        return copied
    return set_value(copied, (node.section, copy, "path"), f"{path.rstrip('/')}-{copy}")


def bypass_node(text: str, name: str) -> Edited:
    """`text` with a node left out (`skip: true`: its first input of its space passes through), or back in again."""
    found = outline(text)
    if isinstance(found, Problem):
        return found
    if refused := no_node(found, name):
        return refused
    node = found.nodes[name]
    if node.section != "nodes" or node.op in (EXPRESSION, ""):
        what = {"": "A node without an operation", EXPRESSION: "An expression"}.get(node.op, f'"{name}"')
        why, fix = "only an operation under `nodes:` has `skip:`", "delete it; undo brings it back"
        return Problem(f"{what} cannot be bypassed.", node=name, why=why, fix=fix)
    if node.is_skipped:
        return remove_field(text, name, ("skip",))
    return set_field(text, name, ("skip",), True)


def rewire(text: str, reader: Outlined, old: str, new: str, only: Path | None = None) -> Edited:
    """`text` where `reader` names `new` for `old`, in the field `only` or in all; without those fields where `new` is
    "". An expression keeps a name that nothing takes the place of."""
    if isinstance(reader.value, str):
        return _expression_rewired(text, reader, old, new) if new else text
    for path, word in reversed(references(reader.value)):
        if word == old and only in (None, path):
            changed = _repointed(text, reader, path, new)
            if isinstance(changed, Problem):
                return changed
            text = changed
    return text


def no_node(found: Outline, name: str) -> Problem | None:
    """Why nothing can be done with `name`."""
    if name in found.nodes:
        return None
    return Problem(f'There is no node "{name}".', fix=did_you_mean(name, found.nodes, "nodes"))


def mentions(tree: Value, new_name: Callable[[str], str]) -> Iterator[tuple[Path, Callable[[str], str]]]:
    """The path of every text in a recipe that names a node which `new_name` changes, with how the text changes."""
    for section in SECTIONS[1:]:
        for name, value in entries(tree, section).items():
            at: Path = (section, name)
            if section == "include":
                continue
            if isinstance(value, str):
                if with_names(value, new_name) != value:
                    yield at, lambda text: with_names(text, new_name)
                continue
            yield from (((*at, *path), new_name) for path, word in references(value) if new_name(word) != word)
            path = value.get("path") if isinstance(value, dict) and value.get("op") == "save" else None
            if isinstance(path, str) and _in_path(path, new_name) != path:
                yield (*at, "path"), lambda text: _in_path(text, new_name)


def _in_path(text: str, new_name: Callable[[str], str]) -> str:
    """The path of a save with the nodes in its placeholders renamed: `out-{boost.by}`."""
    return _PLACEHOLDER.sub(
        lambda found: f"{{{new_name(found[1])}{found[2] or ''}}}" if found[1] else found[0], text
    )  # fmt: skip


def _respelled(now: Text, place: Place, respelled: Callable[[str], str]) -> Splice:
    """A scalar with the names in it changed where they stand, quotes and line breaks as they are."""
    inside = 1 if place.style in ("'", '"') else 0
    start, end = place.inner + inside, place.end - inside
    return Splice(start, end, respelled(now.text[start:end]))


def _expression_rewired(text: str, reader: Outlined, old: str, new: str) -> Edited:
    at: Path = (reader.section, reader.name)

    def respelled(words: str) -> str:
        return with_names(words, lambda word: new if word == old else word)

    def change(now: Text) -> list[Splice]:
        place = now.at(at)
        return [_respelled(now, place, respelled)] if place and place.kind == "scalar" else []

    return edited(text, change, lambda tree: with_value(tree, at, respelled(str(reader.value))))


def _repointed(text: str, reader: Outlined, path: Path, new: str) -> Edited:
    """One reference of a reader to `new`; what can be said of a list only once, or names nothing any more, goes."""
    at: Path = (reader.section, reader.name)
    item = path[:-1] if path[-1] == "from" else path
    found = outline(text)
    now = found.nodes[reader.name].value if isinstance(found, Outline) else None
    if not item or not isinstance(item[-1], int):
        return set_value(text, (*at, *path), new) if new else remove_value(text, (*at, *item))
    others = [word for other, word in references(now) if other[: len(item) - 1] == item[:-1] and other != path]
    if new and new not in others:
        return set_value(text, (*at, *path), new)
    return remove_value(text, (*at, *(item if others else item[:-1])))
