"""Edits of wires: connect, cut, insert a node on one."""

from __future__ import annotations

from collections.abc import Iterable

from mergegraph.errors import Problem
from mergegraph.methods.base import Path
from mergegraph.recipe.scalars import Value
from mergegraph_tui.model.adding import add_node
from mergegraph_tui.model.nodes import no_node, rewire, set_expression
from mergegraph_tui.model.outline import EXPRESSION, Outline, Outlined, Wire, class_of, outline
from mergegraph_tui.model.ports import Port, item_for, next_port, ports_of
from mergegraph_tui.model.splice import Edited, set_value


def ports(text: str, node: str) -> tuple[Port, ...]:
    """The ports of a node as it is written; none of one that is no operation."""
    found = outline(text)
    written = found.nodes.get(node) if isinstance(found, Outline) else None
    return _ports(written) if written else ()


def connect(text: str, source: str, target: str, field: str = "", *, space: str = "") -> Edited:
    """`text` with a wire from `source` to `target`: at the end of a list, or in place of what a field names.

    `field` is the port; without it the next one that is free (and fits `space`, that of the source, where it is
    known). An expression gets ` + source` at its end.
    """
    found = outline(text)
    if isinstance(found, Problem):
        return found
    if refused := no_node(found, source) or no_node(found, target) or no_wire(found, source, target):
        return refused
    node = found.nodes[target]
    if node.op == EXPRESSION:
        return set_expression(text, target, f"{node.expression.rstrip()} + {source}")
    cls, known = class_of(node.value), _ports(node)
    port = next((port for port in known if port.field == field), None) if field else next_port(known, space)
    if cls is None or port is None:
        fact = f'"{target}" takes no input{f" called {field}" if field else ""}.'
        return Problem(fact, node=target, fix="connect to a node that takes inputs")
    at: Path = ("nodes", target, port.field)
    if not port.is_list:
        return set_value(text, at, source)
    item = item_for(cls, port, source)
    items = node.value.get(port.field) if isinstance(node.value, dict) else None
    is_list = isinstance(items, list) and bool(items)
    return (
        set_value(text, (*at, len(items)), item) if is_list and isinstance(items, list) else set_value(text, at, [item])
    )


def cut(text: str, wire: Wire) -> Edited:
    """`text` without a wire; of an expression only its text says what is left then."""
    found = outline(text)
    if isinstance(found, Problem):
        return found
    reader = found.nodes.get(wire.reader)
    if reader is None or wire not in reader.wires:
        return Problem(f'"{wire.reader}" does not read "{wire.source}".', node=wire.reader, fix="look again")
    if not wire.path:
        why = f"it is part of {reader.expression.strip()}"
        return Problem("This wire cannot be cut.", node=wire.reader, why=why, fix="edit the expression")
    return rewire(text, reader, wire.source, "", wire.path)


def insert_on_wires(text: str, name: str, op: str, source: str, wires: Iterable[Wire] | None = None) -> Edited:
    """`text` with a new node behind `source`, which `wires` (all that leave `source`, without them) now read."""
    found = outline(text)
    if isinstance(found, Problem):
        return found
    if refused := no_node(found, source):
        return refused
    added = add_node(text, name, op, [source])
    for wire in found.readers(source) if wires is None else tuple(wires):
        if isinstance(added, Problem):
            return added
        now = outline(added)
        if isinstance(now, Outline) and wire.reader in now.nodes:
            added = rewire(added, now.nodes[wire.reader], source, name, wire.path or None)
    return added


def no_wire(found: Outline, source: str, target: str) -> Problem | None:
    """Why a wire cannot go from `source` to `target`, as far as that can be told without the spaces."""
    ends = found.nodes[source], found.nodes[target]
    if ends[0].op == "save":
        return Problem(f'"{source}" is a save node: nothing comes out of it.', node=source, fix="take what it saves")
    if ends[1].section != "nodes" or (ends[1].op != EXPRESSION and not _ports(ends[1])):
        return Problem(f'"{target}" takes no inputs.', node=target, fix="connect to a node that takes inputs")
    if found.reaches(target, source):
        why = f'"{source}" is computed from "{target}"' if source != target else "a node cannot read itself"
        return Problem("This wire would close a cycle.", node=target, why=why, fix="connect it the other way round")
    return None


def _ports(node: Outlined) -> tuple[Port, ...]:
    cls = class_of(node.value)
    fields: dict[str, Value] = node.value if isinstance(node.value, dict) else {}
    return ports_of(cls, fields) if cls else ()
