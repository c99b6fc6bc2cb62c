"""Where the inputs of an operation go: its fields that name nodes, and which of them the next wire takes."""

from __future__ import annotations

from dataclasses import dataclass

from mergegraph.fields import Accepts
from mergegraph.methods.base import Method
from mergegraph.recipe.scalars import Value
from mergegraph.recipe.validate import field_names, is_edge, takes_bare_names
from mergegraph_tui.model.outline import edge_fields, lines_of


@dataclass(frozen=True, slots=True)
class Port:
    """A field that names a node, or any number of them. `taken` is how many it names now."""

    field: str
    accepts: Accepts
    is_list: bool
    is_required: bool
    taken: int = 0
    description: str = ""


def ports_of(cls: type[Method], fields: dict[str, Value]) -> tuple[Port, ...]:
    """The ports of an operation as a node with `fields` has them taken; in the order in which wires take them."""
    lines = {line.name: line for line in lines_of(cls) if line.accepts}
    found: list[Port] = []
    for name in edge_fields(cls):
        line, taken = lines[name], _taken(fields.get(name))
        is_required = line.default == "required"
        found.append(Port(name, line.accepts or "any", line.is_list, is_required, taken, line.description))
    return tuple(found)


def next_port(ports: tuple[Port, ...], space: str = "") -> Port | None:
    """The port that the next wire takes: a free one that is needed, a list, a free one, the first. None without any.

    `space`: that of the source, where it is known; a port that accepts it is preferred.
    """
    fitting = [port for port in ports if not space or port.accepts in ("any", space)] or list(ports)
    ranks = (
        [port for port in fitting if port.is_required and not port.is_list and not port.taken],
        [port for port in fitting if port.is_list],
        [port for port in fitting if not port.taken],
        fitting,
    )
    return next((rank[0] for rank in ranks if rank), None)


def item_for(cls: type[Method], port: Port, source: str) -> Value:
    """What names `source` in a list: its name, or a mapping where the operation wants to know more."""
    if takes_bare_names(cls, (port.field,)) or is_edge(cls, (port.field,)):
        return source
    item: Value = {"from": source}
    return {**item, "layers": "0:"} if "match" not in field_names(cls, (port.field,)) else item


def with_source(cls: type[Method], fields: dict[str, Value], source: str) -> dict[str, Value]:
    """The fields of a new node with one more input, if a port is free."""
    port = next_port(ports_of(cls, fields))
    if port is None or (port.taken and not port.is_list):
        return fields
    if not port.is_list:
        return {**fields, port.field: source}
    items = fields.get(port.field)
    return {**fields, port.field: [*(items if isinstance(items, list) else ()), item_for(cls, port, source)]}


def _taken(value: Value) -> int:
    return len(value) if isinstance(value, list) else int(value is not None)
