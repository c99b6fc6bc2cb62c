"""The form of a node, made from the class of its operation: which fields, what they hold now, what they may hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal, cast, get_args

from annotated_types import Ge, Gt, Le, Lt

from mergegraph.cli.signature import FieldLine, result_text
from mergegraph.errors import Problem
from mergegraph.fields import Accepts, FieldModel
from mergegraph.methods.base import Method, Path
from mergegraph.methods.load import Load
from mergegraph.recipe.scalars import Value
from mergegraph.resolve import ResolvedNode
from mergegraph_tui.model.checked import Checked
from mergegraph_tui.model.outline import EXPRESSION, FILE_FIELDS, Outlined, class_of, lines_of
from mergegraph_tui.model.writing import written

FieldKind = Literal["input", "schedule", "rule", "number", "choice", "boolean", "text", "expression", "other"]

FORETOLD: frozenset[FieldKind] = frozenset(("schedule", "rule", "expression"))
"""Kinds of fields that may hold the coefficient of a source."""
OTHERS = "all others"
"""What the rule of a schedule is for that has no conditions."""

_COMMON = ("skip", "except", "missing", "extra")
_KINDS: dict[str, FieldKind] = {
    "number or schedule": "schedule", "number": "number", "whole number": "number", "true or false": "boolean",
    "text": "text",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class FormField:
    """One line of a form. `text`: as the recipe has it, "" where it does not; `default`: what holds then.

    `bounds` are least and most with whether each is allowed itself; `accepts` the space of the node that it names. A
    "rule" is the number of one rule of the schedule above it; its label says which tensors it is for.
    """

    path: Path
    label: str
    kind: FieldKind
    text: str = ""
    default: str = ""
    is_required: bool = False
    is_whole: bool = False
    help: str = ""
    choices: tuple[str, ...] = ()
    accepts: Accepts | None = None
    bounds: str = ""
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Form:
    """What the inspector shows of a node. `space` and `tensor_count` are known once the headers fit; else "" and 0."""

    name: str
    op: str
    summary: str
    fields: tuple[FormField, ...]
    problems: tuple[Problem, ...] = ()
    gives: str = ""
    space: str = ""
    tensor_count: int = 0
    tensor_bytes: int = 0
    dtypes: tuple[str, ...] = ()
    read_by: tuple[str, ...] = ()


def form_of(checked: Checked, name: str) -> Form | None:
    """The form of a node; None where the text has no such node (or is no YAML)."""
    node = checked.outline.nodes.get(name) if checked.outline else None
    if checked.outline is None or node is None:
        return None
    problems = checked.by_node.get(name, ())
    cls = class_of(node.value)
    loads = tuple(each for each, other in checked.outline.nodes.items() if other.op == "load")
    listed = [_of_loads(each, loads) if each.label in FILE_FIELDS and loads else each for each in _fields(node, cls)]
    found = tuple(_with_problem(each, problems) for each in listed)
    placed = checked.graph.nodes.get(name) if checked.graph else None
    resolved = checked.resolved.nodes.get(name) if checked.resolved else None
    readers = tuple(dict.fromkeys(wire.reader for wire in checked.outline.readers(name)))
    shown = Load if node.section == "models" else cls
    return Form(
        name, node.op, summary_of(shown) if shown else "", found, problems, result_text(cls) if cls else "",
        placed.space if placed else "", *_stored(resolved), readers,
    )  # fmt: skip


def _of_loads(field: FormField, loads: tuple[str, ...]) -> FormField:
    """A field that names a load node for its files: one of those that there are."""
    return replace(field, kind="choice", choices=loads)


def _stored(resolved: ResolvedNode | None) -> tuple[int, int, tuple[str, ...]]:
    """How many tensors a node gives, their bytes in the dtypes of its trunk, and those dtypes, most bytes first."""
    if resolved is None:
        return 0, 0, ()
    by_dtype: dict[str, int] = {}
    for tensor in resolved.tensors.values():
        tensor_bytes = prod(tensor.shape) * tensor.dtype.bits // 8
        by_dtype[tensor.dtype.code] = by_dtype.get(tensor.dtype.code, 0) + tensor_bytes
    names = sorted(by_dtype, key=lambda name: -by_dtype[name])
    return len(resolved.tensors), sum(by_dtype.values()), tuple(names)


def summary_of(cls: type[Method]) -> str:
    """The first sentence of an operation's documentation."""
    return (cls.__doc__ or "").strip().partition("\n")[0]


def _fields(node: Outlined, cls: type[Method] | None) -> Iterator[FormField]:
    if node.section == "models":
        yield FormField((), "model", "text", written(node.value), is_required=True, help="a folder or a file")
    elif node.op == EXPRESSION:
        yield FormField((), EXPRESSION, "expression", node.expression, is_required=True)
    elif cls is not None and isinstance(node.value, dict):
        for line in sorted(lines_of(cls), key=_rank):
            yield from _line_fields(cls, line, node.value.get(line.name), (line.name,))


def _rank(line: FieldLine) -> int:
    """Inputs first, then what the operation is about, last what nearly all operations have."""
    return 2 if line.name in _COMMON else int(line.accepts is None)


def _line_fields(cls: type[FieldModel], line: FieldLine, value: Value, path: Path) -> Iterator[FormField]:
    """A field; of a list of inputs a field for each, with what is said beside its name."""
    if line.accepts and line.is_list:
        items = value if isinstance(value, list) else []
        for index, item in enumerate(items):
            yield from _item_fields(cls, line, item, (*path, index))
        label = f"{line.name} {len(items) + 1}"
        is_required = line.default == "required" and not items
        yield FormField(
            (*path, len(items)), label, "input", is_required=is_required, help=line.description, accepts=line.accepts
        )
        return
    info = cls.model_fields.get(line.name) or cls.model_fields.get(f"{line.name}_")
    default = "" if line.default in ("required", "-") else line.default
    choices = tuple(line.takes.split(" | ")) if " | " in line.takes else ()
    kind: FieldKind = "input" if line.accepts else ("choice" if choices else _KINDS.get(line.takes, "other"))
    yield FormField(
        path, line.name if len(path) == 1 else f"{path[0]} {int(path[1]) + 1} {line.name}", kind,
        "" if value is None else (value if isinstance(value, str) else written(value)), default,
        line.default == "required", line.takes == "whole number", line.description, choices, line.accepts,
        _bounds(info.metadata if info else ()),
    )  # fmt: skip
    if kind == "schedule" and isinstance(value, list):
        yield from _rules(value, path, line.description)


def _rules(value: list[Value], path: Path, description: str) -> Iterator[FormField]:
    for index, rule in enumerate(value):
        if isinstance(rule, dict):
            conditions = ", ".join(f"{key}: {item}" for key, item in rule.items() if key != "value")
            yield FormField(
                (*path, index, "value"), conditions or OTHERS, "rule", written(rule.get("value")),
                is_required=True, help=description,
            )  # fmt: skip


def _item_fields(cls: type[FieldModel], line: FieldLine, item: Value, path: Path) -> Iterator[FormField]:
    piece = _piece(cls.model_fields[line.name].annotation)
    bare = isinstance(item, str)
    label = f"{line.name} {int(path[-1]) + 1}"
    name = item if isinstance(item, str) else (str(item.get("from", "")) if isinstance(item, dict) else "")
    yield FormField(
        path if bare else (*path, "from"), label, "input", name, "", True, False, line.description, (), line.accepts
    )
    for inner in lines_of(cast("type[Method]", piece)) if piece else ():
        if inner.name != "from":
            value = item.get(inner.name) if isinstance(item, dict) else None
            yield from _line_fields(piece or cls, inner, value, (*path, inner.name))


def _piece(annotation: Any) -> type[FieldModel] | None:
    """The piece that a list is of: an input with its weight, a case, a slice."""
    if isinstance(annotation, type) and issubclass(annotation, FieldModel):
        return annotation
    return next((found for each in get_args(annotation) if (found := _piece(each))), None)


def _bounds(metadata: Any) -> str:
    """`at least 1`, `above 0, at most 1`."""
    marks = [part for item in metadata for part in (item, *getattr(item, "metadata", ()))]
    said: list[str] = []
    for mark in marks:
        match mark:
            case Ge(ge):
                said.append(f"at least {ge}")
            case Gt(gt):
                said.append(f"above {gt}")
            case Le(le):
                said.append(f"at most {le}")
            case Lt(lt):
                said.append(f"below {lt}")
            case _:
                pass
    return ", ".join(said)


def _with_problem(field: FormField, problems: tuple[Problem, ...]) -> FormField:
    """The field with the problem that speaks of it: by its name, or by the node that it names."""
    key = next((part for part in reversed(field.path) if isinstance(part, str)), field.label)
    named = re.compile(rf"(?<![\w.]){re.escape(key)}(?![\w])")
    for problem in problems:
        is_name = field.kind == "input" or field.label in FILE_FIELDS
        is_named = field.text and is_name and f'"{field.text}"' in problem.fact
        if is_named or named.search(problem.fact) or field.kind == "expression":
            return replace(field, problem=problem)
    return field
