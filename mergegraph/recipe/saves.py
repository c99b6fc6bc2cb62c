"""Where the results of a recipe go: placeholders in the paths of its saves, and no two saves in one place.

`{boost.by}` in a path stands for a swept value, or for a plain number that a node holds; `{{` and `}}` are braces.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from mergegraph.errors import Location, Problem, did_you_mean
from mergegraph.fields import FieldModel
from mergegraph.methods.save import Save
from mergegraph.recipe.model import Expression, Node, output_path
from mergegraph.recipe.scalars import as_text

_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class _Unfilled(ValueError):
    def __init__(self, fact: str, fix: str) -> None:
        super().__init__(fact)
        self.fact, self.fix = fact, fix


def saves(nodes: Iterable[Node]) -> Iterator[tuple[Node, Save]]:
    """The save nodes with their methods, in order."""
    return ((node, node.method) for node in nodes if isinstance(node.method, Save))


def with_paths(nodes: Mapping[str, Node], swept: Mapping[str, str]) -> tuple[dict[str, Node], list[Problem]]:
    """The nodes with every placeholder in a save's path filled in. `swept`: the swept paths and their values' text."""
    filled, problems = dict(nodes), list[Problem]()
    for node, save in saves(nodes.values()):
        try:
            path = _PLACEHOLDER.sub(lambda found: _text(found, nodes, swept), save.path)
        except _Unfilled as error:
            problems.append(Problem(error.fact, node.where(("path",)), node.name, fix=error.fix))
            continue
        method = save.model_copy(update={"path": path})
        filled[node.name] = Node(node.name, method, node.at, node.lines, node.folder, node.within)
    return filled, problems


def place_problems(nodes: Mapping[str, Node], file: str, *, are_all_known: bool) -> Iterator[Problem]:
    """No save at all, saves without a path beside others, and saves to one path."""
    found = list(saves(nodes.values()))
    if not found and are_all_known:
        yield Problem(
            "The recipe saves nothing.",
            Location(file),
            fix="add a save node: out: {op: save, input: NODE, path: ./out}",
        )
    taken: dict[str, Node] = {}
    for node, save in found:
        if not save.path and len(found) > 1:
            why = "-o gives the path of a save only where there is one save"
            yield Problem("The save has no path.", node.at, node.name, why=why, fix=f"add `path: ./out/{node.name}`")
        elif save.path:
            first = taken.setdefault(output_path(node, save.path), node)
            if first is not node:
                at = node.where(("path",))
                why = f'"{first.name}" ({first.where(("path",))}) is saved there too'
                fix = f"give each its own: path: {save.path.rstrip('/')}-{node.name}"
                yield Problem(f"Two saves go to one path, {save.path}.", at, node.name, why=why, fix=fix)


def _text(found: re.Match[str], nodes: Mapping[str, Node], swept: Mapping[str, str]) -> str:
    if found[0] in ("{{", "}}"):
        return found[0][0]
    key = found[1]
    if key is None:
        raise _Unfilled(
            f'A single "{found[0]}" stands in the path.', "write {NODE.FIELD}, or double it to mean the brace"
        )
    if key in swept:
        return swept[key]
    words = key.split(".")
    for end in range(len(words) - 1, 0, -1):
        name = ".".join(words[:end])
        if name in nodes:
            return _number(nodes[name], words[end:], key)
    said = did_you_mean(words[0], nodes, "nodes")
    near = said.removeprefix("Did you mean ").removesuffix("?")
    rest = ".".join(words[1:]) or "FIELD"
    fix = f"write {{NODE.FIELD}}; {said}" if near == said else f"Did you mean {{{near}.{rest}}}?"
    raise _Unfilled(f"{{{key}}} in the path names no field of a node and nothing that is swept.", fix)


def _number(node: Node, words: list[str], key: str) -> str:
    value: Any = None if isinstance(node.method, Expression) else _field(node.method, words)
    if not isinstance(value, int | float) or isinstance(value, bool):
        fact = f"{{{key}}} in the path is not a plain number."
        raise _Unfilled(fact, f"name a field that holds one number, or sweep it: --sweep {key}=0.2,0.5")
    return as_text(value)


def _field(value: Any, words: list[str]) -> Any:
    for word in words:
        if isinstance(value, FieldModel):
            fields = type(value).model_fields
            names = [name for name, info in fields.items() if word in (info.alias, name)]
            value = getattr(value, names[0]) if names else None
        elif isinstance(value, tuple) and word.isdecimal():
            value = dict(enumerate(cast("tuple[Any, ...]", value))).get(int(word))
        else:
            return None
    return value
