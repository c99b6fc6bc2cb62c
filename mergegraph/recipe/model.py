"""What a recipe is, once it is read: named nodes in the order they were written, each with its method and its lines;
and how it is written out again (`dump_recipe`).

A node's name is an identifier. Nodes that were not written carry longer ones: `x.name` came in with the include `x`,
`avg.run_9` is the ninth checkpoint of a soup over a glob, `name@0.2` (`name@0.2,7`) is `name` as one value of a sweep
(of several) makes it. Two recipes are equal when they compute the same; where they were written does not count.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import yaml

from mergegraph.errors import Location, Problem
from mergegraph.fields import FieldModel, Input
from mergegraph.methods.base import Method, Path
from mergegraph.methods.load import Load
from mergegraph.methods.lora import Lora
from mergegraph.methods.save import Save
from mergegraph.recipe.scalars import FLOAT, INTEGER

ON_COMMAND_LINE = "-e"
"""What stands for the file of a recipe that was typed as an expression."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A node given as `base + 0.6*(code - base)`; expanded when the graph is built, where spaces are known."""

    text: str


@dataclass(frozen=True)
class Node:
    """One node. Paths in its method are relative to `folder`; `within` is the node it was expanded from, or ""."""

    name: str
    method: Method | Expression
    at: Location = field(compare=False)
    lines: Mapping[Path, Location] = field(compare=False, repr=False)
    folder: FilePath
    within: str = ""

    def where(self, path: Path) -> Location:
        """The line of the field at `path` (as in `Edge.path`), else of the nearest enclosing one, else the node's."""
        ends = range(len(path), 0, -1)
        return next((self.lines[path[:end]] for end in ends if path[:end] in self.lines), self.at)


@dataclass(frozen=True)
class Recipe:
    """Nodes by name, in recipe order. `folder` is where `file` (as shown in messages) lies."""

    name: str
    seed: int
    nodes: Mapping[str, Node]
    folder: FilePath
    file: str = field(compare=False)
    warnings: tuple[Problem, ...] = field(default=(), compare=False)


def output_path(node: Node, path: str) -> str:
    """The one spelling of the folder that `path` of a save names, whatever way it is written."""
    return os.path.normpath(node.folder / path)


def expanded_from(names: Iterable[str]) -> dict[str, str]:
    """For each of a recipe's node names, the written node it was expanded from: `avg` for `avg.run_9`, `boost` for
    `boost@0.2`; "" for a node that was written, and for one of an include (whose name is no node)."""
    names = tuple(names)
    written = {name.partition("@")[0] for name in names}
    return {name: _origin(name, written) for name in names}


def _origin(name: str, written: set[str]) -> str:
    plain, swept, _ = name.partition("@")
    around = plain.rpartition(".")[0]
    while around and around not in written:
        around = around.rpartition(".")[0]
    return around or (plain if swept else "")


def dump_recipe(recipe: Recipe) -> str:
    """Readable YAML that loads to an equal recipe: defaults are left out, plain inputs are bare names.

    Nodes that came in with an include keep their dotted names, and their paths become relative to `recipe.folder`.
    """
    top: dict[str, Any] = {"mergegraph": 1, "name": _escaped(recipe.name)}
    if recipe.seed:
        top["seed"] = recipe.seed
    top["nodes"] = {name: _written(node, recipe.folder) for name, node in recipe.nodes.items()}
    return yaml.dump(top, Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=110)


def dump_method(method: Method) -> str:
    """A node on one line: `{op: delta, model: b, base: a}`."""
    fields = {"op": method.op, **_given(method)}
    return yaml.dump(fields, Dumper=_Dumper, sort_keys=False, default_flow_style=True, width=1e9).strip()


class _Dumper(yaml.SafeDumper):
    """Quotes whatever YAML 1.1 or the YAML 1.2 core schema would not read as text. Writes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represented(dumper: _Dumper, text: str) -> Any:
    # Only double quotes escape; in single quotes PyYAML 6.0.3 writes U+0085 as it is, and reads it as a line break.
    represent: Any = dumper.represent_scalar  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return represent("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


_Dumper.add_representer(str, _represented)
for _tag, _pattern in (("int", INTEGER), ("float", FLOAT)):
    _Dumper.add_implicit_resolver(  # pyright: ignore[reportUnknownMemberType]
        f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern.pattern})$", re.ASCII), list("-+.0123456789")
    )


def _written(node: Node, folder: FilePath) -> str | dict[str, Any]:
    method = node.method
    if isinstance(method, Expression):
        return _escaped(method.text)
    if isinstance(method, Load):
        method = method.model_copy(update={"model": _moved(method.model, node.folder, folder)})
    if isinstance(method, Lora):
        method = method.model_copy(update={"adapter": _moved(method.adapter, node.folder, folder)})
    if isinstance(method, Save):
        method = method.model_copy(update={"path": method.path.replace("{", "{{").replace("}", "}}")})
    return {"op": method.op, **_given(method)}


def _given(model: FieldModel) -> dict[str, Any]:
    """The fields that are not at their defaults, under the names they have in a recipe."""
    fields: dict[str, Any] = {}
    for name, info in type(model).model_fields.items():
        value = getattr(model, name)
        if name != "op" and (info.is_required() or value != info.get_default(call_default_factory=True)):
            fields[info.alias or name] = _plain(value)
    return fields


def _plain(value: Any) -> Any:
    if isinstance(value, FieldModel):
        fields = _given(value)
        return fields["from"] if isinstance(value, Input) and len(fields) == 1 else fields
    if isinstance(value, str):
        return _escaped(value)
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 1e15 else value
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in _items(value)}
    return [_plain(item) for item in _items(value)] if isinstance(value, tuple) else value


def _items(values: Any) -> Iterator[Any]:
    yield from values.items() if isinstance(values, Mapping) else values


def _escaped(text: str) -> str:
    """`text` so that reading it finds no parameter in it."""
    return text.replace("${", "$${")


def _moved(reference: str, old: FilePath, new: FilePath) -> str:
    """The reference of a model or an adapter that was relative to `old`, relative to `new`; ids stay."""
    return reference if old == new else _moved_path(reference, old, new)


def _moved_path(part: str, old: FilePath, new: FilePath) -> str:
    is_local = part.startswith(("./", "../")) or part.endswith(".safetensors") or (old / part).exists()
    if not is_local or "://" in part or FilePath(part).is_absolute():
        return part
    moved = os.path.relpath(old / part, new)
    return moved if moved.startswith("..") else f"./{moved}"
