"""`graph`: the nodes of a recipe with their wires, as boxes (an entry point draws them) or one node a line.

Needs no checkpoints; one that opens says its space.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from shutil import get_terminal_size
from typing import Any, Protocol, cast

from mergegraph.cli.rail import ASCII, rail
from mergegraph.cli.terminal import can_draw, heading, say, say_styled
from mergegraph.errors import InputError, RecipeError, on_one_line
from mergegraph.expr import Space
from mergegraph.fields import FieldModel, Rule
from mergegraph.graph import Graph, GraphNode, build, needed_loads
from mergegraph.methods.base import Method, Path
from mergegraph.methods.load import Load
from mergegraph.methods.save import Save
from mergegraph.recipe.model import Expression, Recipe
from mergegraph.tensors.checkpoint import open_checkpoint

_SHOWN_INPUTS = 4


class _DrawnLines(Protocol):
    """What an entry point of `mergegraph.drawing` is: the lines of a graph's drawing, None for one that is wider."""

    def __call__(
        self, graph: Graph | Recipe, *, width: int, direction: str | None, size: str | None, ascii_only: bool
    ) -> list[str] | None: ...


@dataclass(frozen=True)
class Drawn:
    """One line of the drawing: a node as it was written. `inputs` are the names of other lines."""

    name: str
    inputs: tuple[str, ...]
    text: str
    space: Space


@dataclass(frozen=True)
class Look:
    """How a graph is drawn: as boxes where they fit, or one node a line. None is what fits best."""

    rail: bool = False
    direction: str | None = None
    size: str | None = None
    ascii_only: bool = False


def show_graph(recipe: Recipe, look: Look, *, max_header_bytes: int) -> None:
    """Draw the nodes that a save needs; the others are warnings, and are named below. Where the wiring is wrong, all
    that are written are drawn before RecipeError is raised: a cycle is easier seen than read."""
    look = look if can_draw(sys.stdout) else replace(look, ascii_only=True)
    try:
        graph = build(recipe, stored_spaces(recipe, max_header_bytes))
    except RecipeError:
        say(*((None if look.rail else _boxes(recipe, look)) or ()))
        raise
    drawn = fold(graph)
    lines = None if look.rail else _boxes(graph, look)
    if lines is None:
        _show_rail(drawn, ascii_only=look.ascii_only)
    else:
        say(*lines)
    unused = [problem.node for problem in graph.warnings if problem.node in recipe.nodes and problem.node not in drawn]
    if unused:
        say(f"not used by any save: {', '.join(unused)}")


def _boxes(graph: Graph | Recipe, look: Look) -> list[str] | None:
    """The lines of the drawing that another package gives; None where there is none, or it is too wide."""
    for point in entry_points(group="mergegraph.drawing"):
        drawn_lines: _DrawnLines = point.load()
        width = get_terminal_size().columns
        return drawn_lines(graph, width=width, direction=look.direction, size=look.size, ascii_only=look.ascii_only)
    return None


def _show_rail(drawn: Mapping[str, Drawn], *, ascii_only: bool) -> None:
    names = max((len(node.name) for node in drawn.values()), default=0)
    for drawing, name in rail({node.name: node.inputs for node in drawn.values()}):
        node = drawn[name]
        label = heading(f"{node.name:<{names}}")
        wires = drawing.translate(ASCII) if ascii_only else drawing
        say_styled(f"{wires}  {label}  {node.space:<7}  {on_one_line(node.text)}")


def stored_spaces(recipe: Recipe, max_header_bytes: int) -> dict[str, Space]:
    """The space of every load node whose checkpoint can be opened."""
    spaces: dict[str, Space] = {}
    for name in needed_loads(recipe):
        node = recipe.nodes[name]
        assert isinstance(node.method, Load)
        try:
            spaces[name] = open_checkpoint(
                node.method.model, node.folder, node.method.subfolder, max_header_bytes=max_header_bytes
            ).space
        except InputError:
            continue
    return spaces


def fold(graph: Graph) -> dict[str, Drawn]:
    """The nodes in order, those that a written node was expanded into folded back into it."""
    line_of = lines_of(
        {name: node.inputs for name, node in graph.nodes.items()},
        {name: node.source.within for name, node in graph.nodes.items()},
    )
    inputs: dict[str, list[str]] = {}
    for name, node in graph.nodes.items():
        line = line_of[name]
        outside = [line_of[source] for source in node.inputs if line_of[source] != line]
        inputs.setdefault(line, []).extend(outside)
    return {
        name: Drawn(name, tuple(dict.fromkeys(inputs[name])), _described(graph, node, line_of), node.space)
        for name, node in graph.nodes.items()
        if line_of[name] == name
    }


def lines_of(inputs: Mapping[str, Sequence[str]], within: Mapping[str, str]) -> dict[str, str]:
    """The line each node is drawn on: its own, or that of the node it was expanded from and alone is used by.

    `inputs` are in order, a node after its inputs; `within` names what each node was expanded from, or "".
    """
    users: dict[str, set[str]] = {name: set() for name in inputs}
    for name, sources in inputs.items():
        for source in sources:
            users[source].add(name)
    lines: dict[str, str] = {}
    for name in reversed(list(inputs)):
        around = within[name]
        is_inner = around in inputs and around != name and all(lines[user] == around for user in users[name])
        lines[name] = around if is_inner else name
    return lines


def _described(graph: Graph, node: GraphNode, line_of: Mapping[str, str]) -> str:
    """`scale(d_code, by: 0.5)`, `= base + 0.6*(code - base)`, `load ./models/base`, `save out/merged, dtype: bf16`."""
    written = graph.recipe.nodes.get(node.name)
    if written is not None and isinstance(written.method, Expression):
        return f"= {written.method.text}"
    method = node.method
    options = options_of(method)
    if isinstance(method, Load):
        return ", ".join([f"load {method.model}", *options])
    if isinstance(method, Save):
        return ", ".join([f"save {method.path or '(-o)'}", *options])
    return f"{method.op}({', '.join([*_inputs(node, line_of), *options])})"


def _inputs(node: GraphNode, line_of: Mapping[str, str]) -> list[str]:
    """The inputs that are lines of their own, each with what is said of it: `b (weight: 2)`."""
    own_line = line_of[node.name]
    shown = [
        name + (f" ({said})" if (said := said_of_input(node.method, edge.path)) else "")
        for name, edge in zip(node.inputs, node.method.edges(), strict=True)
        if line_of[name] != own_line
    ]
    if len(shown) > _SHOWN_INPUTS:
        shown = [*shown[: _SHOWN_INPUTS - 1], f"and {len(shown) - _SHOWN_INPUTS + 1} more"]
    folded = sum(line_of[name] == own_line for name in dict.fromkeys(node.inputs))
    return [*shown, f"{folded} checkpoints"] if folded else shown


def said_of_input(method: Method, path: Path) -> str:
    """The other fields of the piece that holds the edge at `path`: `weight: 2`."""
    piece: Any = method
    for part in path[:-1]:
        piece = piece[part] if isinstance(part, int) else getattr(piece, part)
    if not isinstance(piece, FieldModel) or piece is method:
        return ""
    return ", ".join(f"{name}: {_value(value)}" for name, value in _given(piece) if name != path[-1])


def options_of(method: Method) -> list[str]:
    """What is given besides the inputs: `by: 0.5`."""
    return [f"{name}: {_value(value)}" for name, value in _parameters(method)]


def _parameters(method: Method) -> Iterator[tuple[str, Any]]:
    """The fields that are given, but for edges and what the line says anyway."""
    apart = {"op", "skip", *(edge.path[0] for edge in method.edges())}
    apart |= {"model"} if isinstance(method, Load) else {"path"} if isinstance(method, Save) else set()
    yield from ((name, value) for name, value in _given(method) if name not in apart)


def _given(piece: FieldModel) -> Iterator[tuple[str, Any]]:
    """The fields that are not at their defaults, under the names they have in a recipe."""
    for name, info in type(piece).model_fields.items():
        value = getattr(piece, name)
        if info.is_required() or value != info.get_default(call_default_factory=True):
            yield info.alias or name, value


def _value(value: Any) -> str:
    """A field's value in a few characters."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Rule):
        conditions = [str(part) for part in (value.kind, value.part, value.layers, value.match) if part is not None]
        return f"{' '.join(conditions) or 'else'} {_value(value.value)}"
    if isinstance(value, tuple):
        items = cast("tuple[Any, ...]", value)
        between = "; " if any(isinstance(item, Rule) for item in items) else ", "
        return f"[{between.join(map(_value, items))}]"
    return str(value)
