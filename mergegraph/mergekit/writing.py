"""A recipe as text that a person would have written, and the line of the configuration behind each of its lines.

Nodes that fit on one line are written on one, their mappings aligned; a value with a note keeps it as a comment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from mergegraph.errors import Location
from mergegraph.recipe.scalars import Scalar, resolve

_WIDTH = 110
_LONGEST_ALIGNED = 24
_PLAIN = re.compile(r"[A-Za-z_./~][\w./@+~-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Noted:
    """A value with a comment behind it, and the line it comes from."""

    value: Tree
    note: str = ""
    at: Location | None = None


Tree: TypeAlias = "Scalar | Noted | Sequence[Tree] | Mapping[str, Tree]"


@dataclass(frozen=True, slots=True)
class NodeText:
    """A node: `fields` start with `op`."""

    name: str
    fields: Mapping[str, Tree]
    at: Location


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the recipe, and where in the configuration it comes from."""

    text: str
    at: Location


def write_recipe(head: Sequence[Line], nodes: Sequence[NodeText]) -> list[Line]:
    """The recipe: the lines of `head`, then `nodes:`."""
    lines = [*head, Line("nodes:", head[-1].at)]
    short = [node for node in nodes if _one_line(node) and len(node.name) <= _LONGEST_ALIGNED]
    column = max((len(node.name) for node in short), default=0) + 2
    for node in nodes:
        lines += _node_lines(node, column)
    return lines


def number_text(value: float) -> str:
    """`0.5`, `1`, `1e-5`: the shortest text that reads as the same number."""
    if value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return re.sub(r"e([-+])0*(\d)", r"e\1\2", repr(value))


def string_text(text: str) -> str:
    """`text` as a YAML scalar that reads as itself, with nothing in it that a recipe would fill in."""
    escaped = text.replace("${", "$${")
    is_plain = _PLAIN.fullmatch(escaped) and isinstance(resolve(escaped), str)
    return escaped if is_plain else json.dumps(escaped, ensure_ascii=not escaped.isprintable())


def _node_lines(node: NodeText, column: int) -> Iterator[Line]:
    flow = _one_line(node)
    key = f"{node.name}:"
    if flow is None:
        yield Line(f"  {key}", node.at)
        yield from _mapping_lines(node.fields, 4, node.at)
        return
    note = _last_note(node)
    comment = f"  # {note}" if note else ""
    yield Line(f"  {key:<{column}}{'' if len(key) < column else ' '}{flow}{comment}", node.at)


def _one_line(node: NodeText) -> str | None:
    """The node's mapping on one line, where it fits; only what stands last may have a note, behind the line."""
    *others, last = node.fields.items()
    value = last[1].value if isinstance(last[1], Noted) else last[1]
    flow = _flow({**dict(others), last[0]: value})
    note = _last_note(node)
    width = _WIDTH + 10 if note else _WIDTH
    return flow if flow is not None and len(flow) + len(node.name) + len(note) + 8 <= width else None


def _last_note(node: NodeText) -> str:
    *_, last = node.fields.values()
    return last.note if isinstance(last, Noted) else ""


def _flow(tree: Tree) -> str | None:
    """`tree` on one line; None where something in it has a note."""
    match tree:
        case Noted(value, note, _):
            return None if note else _flow(value)
        case str():
            return string_text(tree)
        case bool() | None:
            return {True: "true", False: "false", None: "null"}[tree]
        case int() | float():
            return number_text(float(tree))
        case Mapping():
            parts = {key: _flow(value) for key, value in tree.items()}
            shown = [f"{key}: {part}" for key, part in parts.items() if part is not None]
            return "{" + ", ".join(shown) + "}" if len(shown) == len(parts) else None
        case _:
            items = [_flow(item) for item in tree]
            known = [item for item in items if item is not None]
            return "[" + ", ".join(known) + "]" if len(known) == len(items) else None


def _mapping_lines(fields: Mapping[str, Tree], indent: int, at: Location, start: str = "") -> Iterator[Line]:
    """Each field on its own line or lines; `start` replaces the indentation of the first."""
    for key, tree in fields.items():
        lead = start or " " * indent
        start = ""
        yield from _value_lines(f"{lead}{key}:", tree, indent, at)


def _value_lines(lead: str, tree: Tree, indent: int, at: Location) -> Iterator[Line]:
    value, note, here = (tree.value, tree.note, tree.at or at) if isinstance(tree, Noted) else (tree, "", at)
    flow = _flow(value)
    is_nested = isinstance(value, Mapping | list | tuple)
    if flow is not None and (not is_nested or len(lead) + 1 + len(flow) <= _WIDTH):
        yield from _commented(f"{lead} {flow}", note, here)
        return
    yield from _commented(lead, note, here)
    if isinstance(value, Mapping):
        yield from _mapping_lines(value, indent + 2, here)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        yield from _item_lines(value, indent + 2, here)


def _item_lines(items: Sequence[Tree], indent: int, at: Location) -> Iterator[Line]:
    for item in items:
        value, note, here = (item.value, item.note, item.at or at) if isinstance(item, Noted) else (item, "", at)
        flow = _flow(value)
        lead = " " * indent + "- "
        if flow is not None and (len(lead) + len(flow) <= _WIDTH or not isinstance(value, Mapping)):
            yield from _commented(f"{lead}{flow}", note, here)
        elif isinstance(value, Mapping):
            yield from _mapping_lines(value, indent + 2, here, start=lead)


def _commented(text: str, note: str, at: Location) -> Iterable[Line]:
    """The line with its comment behind it, or above it where both would be too long."""
    if not note:
        return (Line(text, at),)
    if len(text) + len(note) + 4 <= _WIDTH + 10:
        return (Line(f"{text}  # {note}", at),)
    indent = " " * (len(text) - len(text.lstrip()))
    return (Line(f"{indent}# {note}", at), Line(text, at))
