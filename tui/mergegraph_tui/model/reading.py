"""From the engine's Recipe or Graph to what is drawn of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mergegraph.cli.drawing import lines_of, options_of, said_of_input
from mergegraph.errors import on_one_line
from mergegraph.expr import Space
from mergegraph.graph import Graph
from mergegraph.methods.base import Method, SpaceError
from mergegraph.methods.load import Load
from mergegraph.methods.lora import Lora
from mergegraph.methods.save import Save
from mergegraph.recipe.expression import ExpressionError, expand, names
from mergegraph.recipe.model import Expression, Recipe
from mergegraph_tui.model.graph import DrawnGraph, DrawnInput, DrawnNode, Family
from mergegraph_tui.model.wiring import in_order

_EVERY_SPACE: frozenset[Space] = frozenset({"weights", "delta"})


@dataclass(frozen=True)
class _Entry:
    """A node before inner nodes are folded into the one they were expanded from."""

    method: Method | Expression
    inputs: tuple[DrawnInput, ...]
    within: str
    space: Space


def graph_of(source: Recipe | Graph, spaces: Mapping[str, Space] | None = None) -> DrawnGraph:
    """What is drawn of a recipe (every node of it) or of a built graph (what some save needs).

    `spaces`: for a recipe, what is stored in the checkpoints of load nodes (weights where it is not said), and what a
    node gives that the recipe lacks.
    """
    recipe = source if isinstance(source, Recipe) else source.recipe
    entries = _of_recipe(source, spaces or {}) if isinstance(source, Recipe) else _of_graph(source)
    order = in_order({name: [wire.source for wire in entry.inputs] for name, entry in entries.items()})
    known = {name: [wire.source for wire in entries[name].inputs if wire.source in entries] for name in order}
    line_of = _lines(known, {name: entries[name].within for name in order})
    members: dict[str, list[str]] = {}
    for name in order:
        members.setdefault(line_of[name], []).append(name)
    written = [name for name in order if line_of[name] == name]
    return DrawnGraph.of(_drawn(recipe, name, entries, members[name], line_of) for name in written)


def _lines(inputs: Mapping[str, Sequence[str]], within: Mapping[str, str]) -> dict[str, str]:
    """`lines_of` where a cycle may be: what a node reads that comes after it does not count as a use."""
    rank = {name: position for position, name in enumerate(inputs)}
    before = {name: [each for each in sources if rank[each] < rank[name]] for name, sources in inputs.items()}
    return lines_of(before, within)


def _of_graph(graph: Graph) -> dict[str, _Entry]:
    return {
        name: _Entry(node.method, _inputs(node.method, node.inputs), node.source.within, node.space)
        for name, node in graph.nodes.items()
    }


def _of_recipe(recipe: Recipe, stored: Mapping[str, Space]) -> dict[str, _Entry]:
    wires = {
        name: tuple(map(DrawnInput, names(node.method.text)))
        if isinstance(node.method, Expression)
        else _inputs(node.method, [edge.node for edge in node.method.edges()])
        for name, node in recipe.nodes.items()
    }
    spaces: dict[str, Space] = {name: space for name, space in stored.items() if name not in recipe.nodes}
    for name in in_order({name: [wire.source for wire in inputs] for name, inputs in wires.items()}):
        spaces[name] = _space(name, recipe.nodes[name].method, spaces, stored)
    return {name: _Entry(node.method, wires[name], node.within, spaces[name]) for name, node in recipe.nodes.items()}


def _inputs(method: Method, sources: Sequence[str]) -> tuple[DrawnInput, ...]:
    return tuple(
        DrawnInput(source, str(edge.path[0]), said_of_input(method, edge.path))
        for source, edge in zip(sources, method.edges(), strict=True)
    )


def _space(name: str, method: Method | Expression, known: Mapping[str, Space], stored: Mapping[str, Space]) -> Space:
    """The space of a node whose inputs need not fit it: then the nearest guess, weights without any."""
    if isinstance(method, Load):
        return stored.get(name, "weights")
    if isinstance(method, Expression):
        return _space_of_expression(name, method, known)
    spaces: list[Space] = [known.get(edge.node, "weights") for edge in method.edges()]
    try:
        return method.space(spaces)
    except SpaceError:
        if method.gives != "same":
            return method.gives
        return spaces[0] if spaces else "weights"


def _space_of_expression(name: str, expression: Expression, known: Mapping[str, Space]) -> Space:
    inner = dict(known)

    def space_of(each: str) -> Space:
        return inner.get(each, "weights")

    try:
        for made, method in expand(name, expression.text, space_of):
            inner[made] = method.space([space_of(edge.node) for edge in method.edges()])
    except (ExpressionError, SpaceError):
        return "weights"
    return space_of(name)


def _drawn(
    recipe: Recipe, name: str, entries: Mapping[str, _Entry], members: Sequence[str], line_of: Mapping[str, str]
) -> DrawnNode:
    entry = entries[name]
    method = recipe.nodes[name].method if name in recipe.nodes else entry.method
    read = [wire for each in members for wire in entries[each].inputs]
    outside = [wire for wire in read if line_of.get(wire.source) != name or wire.source == name]
    folded = 0 if isinstance(method, Expression) else len(members) - 1
    if isinstance(method, Expression):
        outside = _as_read(method, outside)
    return DrawnNode(
        name=name,
        op="expression" if isinstance(method, Expression) else method.op,
        family=_family(method),
        summary=tuple(map(on_one_line, _summary(method, folded))),
        inputs=tuple(outside),
        space=entry.space,
        accepts=_accepts(method),
        formula=isinstance(method, Expression),
        skipped=isinstance(method, Method) and method.skip,
    )


def _as_read(expression: Expression, wires: Sequence[DrawnInput]) -> list[DrawnInput]:
    """One wire for each node that the expression reads, in the order in which it names them."""
    rank = {name: position for position, name in enumerate(names(expression.text))}
    sources = dict.fromkeys(wire.source for wire in wires)
    return [DrawnInput(source) for source in sorted(sources, key=lambda source: rank.get(source, len(rank)))]


def _family(method: Method | Expression) -> Family:
    if isinstance(method, Expression):
        return "merge"
    if isinstance(method, Load | Lora):
        return "source"
    if isinstance(method, Save):
        return "sink"
    if method.op == "delta":
        return "delta"
    ports = {edge.path for edge in method.edges()} - {("base",)}
    return "merge" if len(ports) > 1 or any(len(path) > 1 for path in ports) else "one-input"


def _accepts(method: Method | Expression) -> frozenset[Space]:
    if isinstance(method, Expression):
        return _EVERY_SPACE
    accepted: set[Space] = set()
    for edge in method.edges():
        accepted |= _EVERY_SPACE if edge.accepts == "any" else {edge.accepts}
    return frozenset(accepted)


def _summary(method: Method | Expression, folded: int) -> Iterator[str]:
    if isinstance(method, Expression):
        yield " ".join(method.text.split())
        return
    if isinstance(method, Load):
        yield method.model
    elif isinstance(method, Save):
        yield method.path or "(-o)"
    notes = _notes(said for edge in method.edges() if (said := said_of_input(method, edge.path)))
    parts = [*options_of(method), *notes, *([f"{folded} checkpoints"] if folded else [])]
    if isinstance(method, Load | Save):
        yield from parts
    else:
        yield ", ".join([f"{method.op} {parts[0]}" if parts else method.op, *parts[1:]])


def _notes(said: Iterable[str]) -> list[str]:
    """`weight: 2, 3` for `weight: 2` and `weight: 3`."""
    values: dict[str, list[str]] = {}
    for note in said:
        key, _, value = note.partition(": ")
        values.setdefault(key, []).append(value)
    return [f"{key}: {', '.join(each)}" for key, each in values.items()]
