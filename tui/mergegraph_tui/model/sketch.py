"""What is drawn of a text that need not be a valid recipe: what can be read of it, and the rest as it is written.

While a recipe is made it is mostly wrong: a node that lacks an input must be seen to be wired.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from mergegraph.errors import on_one_line
from mergegraph.expr import Space
from mergegraph.methods.base import Method
from mergegraph_tui.model.checked import Checked
from mergegraph_tui.model.graph import DrawnGraph, DrawnInput, DrawnNode, Family, State
from mergegraph_tui.model.outline import EXPRESSION, Outline, Outlined, class_of, guessed_inputs
from mergegraph_tui.model.ports import ports_of
from mergegraph_tui.model.reading import graph_of
from mergegraph_tui.model.wiring import in_order

_EVERY_SPACE: frozenset[Space] = frozenset({"weights", "delta"})


def sketch(checked: Checked) -> DrawnGraph | None:
    """The graph of a checked text with the marks of its problems; None for a text that has none to draw."""
    recipe = checked.recipe or checked.readable
    if recipe is None:
        return None
    found = checked.outline or Outline()
    missing = [name for name, node in found.nodes.items() if name not in recipe.nodes and node.op != "include"]
    unread = {name: _drawn(found.nodes[name], _space(name, found), found.nodes) for name in missing}
    spaces = _spaces(checked)
    spaces.update((name, node.space) for name, node in unread.items())
    graph = graph_of(recipe, spaces)
    nodes = {**graph.nodes, **unread}
    if unread:
        order = in_order({name: node.sources for name, node in nodes.items()})
        graph = DrawnGraph.of(nodes[name] for name in order)
    return graph.with_states(_marks(checked))


def _space(name: str, found: Outline, seen: frozenset[str] = frozenset()) -> Space:
    """The space of a node as its operation says; where that is the one of its inputs, of the first."""
    node = found.nodes.get(name)
    cls = class_of(node.value) if node is not None else None
    if node is None or cls is None or name in seen:
        return "weights"
    if cls.gives != "same":
        return cls.gives
    return _space(node.inputs[0], found, seen | {name}) if node.inputs else "weights"


def _drawn(node: Outlined, space: Space, nodes: Collection[str]) -> DrawnNode:
    cls = class_of(node.value)
    ports = ports_of(cls, {}) if cls else ()
    wires = [(wire.path, wire.source) for wire in node.wires] or guessed_inputs(node.value, nodes)
    inputs = tuple(DrawnInput(source, str(path[0]) if path else "inputs") for path, source in wires)
    said = node.detail if node.op in ("load", EXPRESSION) else f"{node.op} {node.detail}"
    accepted: set[Space] = set()
    for port in ports:
        accepted |= _EVERY_SPACE if port.accepts == "any" else {port.accepts}
    return DrawnNode(
        name=node.name,
        op=node.op,
        family=_family(node, cls, len(ports)),
        summary=(on_one_line(said.strip()),),
        inputs=inputs,
        space=space,
        accepts=_EVERY_SPACE if node.op == EXPRESSION else frozenset(accepted),
        formula=node.op == EXPRESSION,
        skipped=node.is_skipped,
    )


def _family(node: Outlined, cls: type[Method] | None, port_count: int) -> Family:
    if node.op in ("load", "lora"):
        return "source"
    if node.op == "save":
        return "sink"
    if node.op == "delta":
        return "delta"
    return "one-input" if cls is not None and port_count == 1 and len(node.inputs) < 2 else "merge"


def _spaces(checked: Checked) -> dict[str, Space]:
    if checked.graph is None:
        return {}
    return {name: node.space for name, node in checked.graph.nodes.items()}


def _marks(checked: Checked) -> Mapping[str, State]:
    severities = {name: {problem.severity for problem in found} for name, found in checked.by_node.items()}
    return {name: State("error" if "error" in found else "warning") for name, found in severities.items() if found}
