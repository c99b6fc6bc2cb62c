"""What a recipe's text says of its nodes, read as far as it can be: for the canvas and for edits, where a recipe that
is being written is mostly wrong. Checks nothing; that is `checking`'s.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

from mergegraph.cli.signature import FieldLine, field_lines
from mergegraph.errors import Problem, RecipeError
from mergegraph.methods.base import Method, Path
from mergegraph.recipe.document import Document, parse_document
from mergegraph.recipe.grammar import NAME, ExpressionError, names_in
from mergegraph.recipe.scalars import Value, as_text
from mergegraph.recipe.validate import is_edge, method_class, takes_bare_names

Section = Literal["models", "include", "nodes"]
SECTIONS: tuple[Section, ...] = ("models", "include", "nodes")
EXPRESSION = "expression"
"""What stands for the operation of a node that is an expression."""

FILE_FIELDS = ("files_from", "tokenizer_from")
"""Fields that name a load node whose files are taken."""
_WORD = re.compile(NAME)


@dataclass(frozen=True, slots=True)
class Wire:
    """One input of a node. `path`: the field of the reader that names the source; () in an expression."""

    source: str
    reader: str
    path: Path


@dataclass(frozen=True, slots=True)
class Outlined:
    """One node as it is written. `op` is "load" for a model, "include" for an include, "" where none can be read.

    `wires` are its inputs, the first one first; `detail` is its parameters in a few words; `expression` its text;
    `value` all of it, as the file says it.
    """

    name: str
    section: Section
    op: str
    line: int
    wires: tuple[Wire, ...] = ()
    detail: str = ""
    expression: str = ""
    is_skipped: bool = False
    value: Value = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """The nodes that it reads, each once."""
        return tuple(dict.fromkeys(wire.source for wire in self.wires))


@dataclass(frozen=True)
class Outline:
    """Every named thing of a recipe, in the order it is written."""

    nodes: Mapping[str, Outlined] = field(default_factory=dict[str, Outlined])

    def readers(self, name: str) -> tuple[Wire, ...]:
        """The wires that leave a node."""
        return tuple(wire for node in self.nodes.values() for wire in node.wires if wire.source == name)

    def reaches(self, start: str, end: str) -> bool:
        """Whether `end` is computed from `start`, or is it."""
        pending, seen = [end], set[str]()
        while pending:
            name = pending.pop()
            if name == start:
                return True
            if name not in seen and name in self.nodes:
                seen.add(name)
                pending += self.nodes[name].inputs
        return False


def outline(text: str) -> Outline | Problem:
    """The nodes of `text`; the first problem of a text that is no YAML."""
    try:
        return outline_of(parse_document(text, "recipe"))
    except RecipeError as error:
        return error.problems[0]


def outline_of(document: Document) -> Outline:
    """The nodes of a document."""
    nodes: dict[str, Outlined] = {}
    for section in SECTIONS:
        for name, value in entries(document.value, section).items():
            nodes.setdefault(name, _outlined(document, section, name, value))
    return Outline(nodes)


def entries(tree: Value, section: Section) -> dict[str, Value]:
    """What stands in a section; nothing where it is no mapping."""
    found = tree.get(section) if isinstance(tree, dict) else None
    return found if isinstance(found, dict) else {}


def class_of(value: Value) -> type[Method] | None:
    """The class of a node's operation."""
    return method_class(value) if isinstance(value, dict) else None


@cache
def lines_of(cls: type[Method]) -> tuple[FieldLine, ...]:
    """The fields of an operation; read from its class once."""
    return tuple(field_lines(cls))


@cache
def edge_fields(cls: type[Method]) -> tuple[str, ...]:
    """The fields that name inputs: what is worked on first, a `base` that it is compared with last."""
    names = [line.name for line in lines_of(cls) if line.accepts]
    return tuple(sorted(names, key=lambda name: name == "base"))


def inputs_of(value: Value) -> tuple[tuple[Path, str], ...]:
    """The field of each input of a node, with the name there, in the order of `edge_fields`."""
    cls = class_of(value)
    if cls is None or not isinstance(value, dict):
        return tuple(((), name) for name in _names(value)) if isinstance(value, str) else ()
    fields = edge_fields(cls)
    found = [(path, word) for path, word in _words(value, ()) if path[0] in fields and _is_input(cls, path)]
    return tuple(sorted(found, key=lambda each: fields.index(str(each[0][0]))))


def references(value: Value) -> tuple[tuple[Path, str], ...]:
    """Every field of a node that names another one: its inputs, and nodes whose files or vocabulary it takes."""
    cls = class_of(value)
    if cls is None or not isinstance(value, dict):
        return inputs_of(value)
    others = [(path, word) for path, word in _words(value, ()) if _is_other(path)]
    return (*inputs_of(value), *others)


def guessed_inputs(value: Value, nodes: Collection[str]) -> tuple[tuple[Path, str], ...]:
    """The words of a node with an operation that nobody knows that are names of nodes: it was meant to read these."""
    if not isinstance(value, dict) or class_of(value) is not None:
        return ()
    return tuple((path, word) for path, word in _words(value, ()) if word in nodes and path[0] != "op")


def _outlined(document: Document, section: Section, name: str, value: Value) -> Outlined:
    line = document.where((section, name)).line
    if section == "models":
        return Outlined(name, section, "load", line, detail=as_text(value), value=value)
    if section == "include":
        file = value.get("recipe") if isinstance(value, dict) else value
        return Outlined(name, section, "include", line, detail=as_text(file), value=value)
    wires = tuple(Wire(word, name, path) for path, word in inputs_of(value))
    if isinstance(value, str):
        return Outlined(name, section, EXPRESSION, line, wires, value.strip(), value, value=value)
    fields = value if isinstance(value, dict) else {}
    op = fields.get("op")
    named = {str(path[0]) for path, _ in references(value)}
    detail = [f"{key}={_short(item)}" for key, item in fields.items() if key not in ("op", "skip", *named)]
    is_skipped = fields.get("skip") is True
    return Outlined(
        name, section, op if isinstance(op, str) else "", line, wires, " ".join(detail), "", is_skipped, value
    )


def _short(value: Value) -> str:
    is_nested = isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict) for item in value))
    return "…" if is_nested else as_text(value)


def _names(text: str) -> tuple[str, ...]:
    try:
        return names_in(text)
    except ExpressionError:
        return ()


def _words(value: Value, path: Path) -> Iterator[tuple[Path, str]]:
    """Every text inside a value that could be a node's name, with its path."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _words(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _words(item, (*path, index))
    elif isinstance(value, str) and _WORD.fullmatch(value):
        yield path, value


def _is_input(cls: type[Method], path: Path) -> bool:
    return is_edge(cls, path) or (isinstance(path[-1], int) and takes_bare_names(cls, path))


def _is_other(path: Path) -> bool:
    return path[0] in FILE_FIELDS or (len(path) > 1 and path[:2] in (("vocab", "align"), ("vocab", "union")))
