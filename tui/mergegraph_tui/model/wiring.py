"""Wires as plain mappings, a node to what it reads: an order in which they can be drawn, and which may be added."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from mergegraph_tui.model.graph import DrawnGraph, DrawnNode

BACK = "↺"
"""The sign of a wire that closes a cycle."""


def in_order(inputs: Mapping[str, Sequence[str]]) -> list[str]:
    """Every node after what it reads; as given, where that is such an order. A cycle is cut where it is met again."""
    placed: list[str] = []
    seen: set[str] = set()
    for root in inputs:
        if root in seen:
            continue
        seen.add(root)
        path: list[tuple[str, Iterator[str]]] = [(root, iter(inputs[root]))]
        while path:
            node, sources = path[-1]
            source = next((each for each in sources if each in inputs and each not in seen), None)
            if source is None:
                placed.append(node)
                path.pop()
            else:
                seen.add(source)
                path.append((source, iter(inputs[source])))
    return placed


def drawable(inputs: Mapping[str, Sequence[str]]) -> dict[str, tuple[int, ...]]:
    """The positions of those inputs of each node that a wire can be drawn for: the source is there, and comes
    before the node. A cycle, or a name that nobody has, must not keep the rest from being drawn."""
    rank = {name: position for position, name in enumerate(in_order(inputs))}
    return {
        name: tuple(
            position for position, source in enumerate(inputs[name]) if source in rank and rank[source] < rank[name]
        )
        for name in rank
    }


def stubs(inputs: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """What stands at both ends of a wire that closes a cycle: it would have to run against the flow, so each end says
    where the other one is."""
    kept = drawable(inputs)
    said: dict[str, list[str]] = {}
    for name, positions in kept.items():
        for source in (inputs[name][each] for each in range(len(inputs[name])) if each not in positions):
            if source == name:
                said.setdefault(name, []).append(f"{BACK} itself")
            elif source in kept:
                said.setdefault(name, []).append(f"{BACK} from {source}")
                said.setdefault(source, []).append(f"{BACK} to {name}")
    return {name: tuple(dict.fromkeys(each)) for name, each in said.items()}


def reached_from(graph: DrawnGraph, start: str) -> set[str]:
    """`start` and every node that its value reaches."""
    users: dict[str, list[str]] = {}
    for node in graph.nodes.values():
        for wire in node.inputs:
            users.setdefault(wire.source, []).append(node.name)
    reached, pending = {start}, [start]
    while pending:
        new = [name for name in users.get(pending.pop(), ()) if name not in reached]
        reached.update(new)
        pending += new
    return reached


def refusal(graph: DrawnGraph, source: str, target: str) -> str:
    """Why no wire may run from `source` to `target`; "" where one may."""
    origin, reader = graph.nodes[source], graph.nodes[target]
    if source == target:
        return f"{source} cannot read itself"
    if not reader.accepts:
        return f"{target} takes no inputs"
    if origin.family == "sink":
        return f"{source} writes to disk, and gives nothing on"
    if origin.space not in reader.accepts:
        return f"{target} takes {_listed(reader)}, and {source} is {_said(origin.space)}"
    if source in reached_from(graph, target):
        return f"{source} is made from {target}: that would be a cycle"
    return ""


def _listed(node: DrawnNode) -> str:
    return " or ".join(_said(space) for space in sorted(node.accepts))


def _said(space: str) -> str:
    return "a delta" if space == "delta" else space


def readers(graph: DrawnGraph, source: str) -> Iterable[str]:
    """The nodes that read `source`, in order."""
    return [name for name, node in graph.nodes.items() if any(wire.source == source for wire in node.inputs)]
