"""Nodes to layers, and long wires to passages: the part of a layout that knows no sizes.

A net is all the wires that leave one node. Where a net crosses a layer on its way to a reader further on, it has one
passage there, however many readers follow; so every piece of wire runs between two layers that are neighbours.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from mergegraph_tui.model.wiring import drawable

_PULLS = 3


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in a layer: a node, or the passage of a net."""

    net: str
    layer: int
    is_node: bool


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a net from a slot of one layer to a slot of the next. `position`: the input of a node it enters."""

    start: int
    end: int
    position: int | None


@dataclass(frozen=True)
class Layering:
    """Slots by number; `rows` has those of each layer, in order across; `segments[i]` lead from layer i to the next.

    `fixed`: the nodes whose pins stay in the order of their inputs.
    """

    slots: tuple[Slot, ...]
    rows: tuple[tuple[int, ...], ...]
    segments: tuple[tuple[Segment, ...], ...]
    inputs: Mapping[int, tuple[int, ...]]
    fixed: frozenset[int]


def layering(inputs: Mapping[str, Sequence[str]], fixed: Collection[str] = ()) -> Layering:
    """The layers of nodes that read `inputs`, in the order in which the nodes come."""
    positions = drawable(inputs)
    sources = {name: [inputs[name][each] for each in kept] for name, kept in positions.items()}
    readers: dict[str, list[str]] = {name: [] for name in sources}
    for name, each in sources.items():
        for source in each:
            readers[source].append(name)
    layer = _layers(sources, readers)
    slots = [Slot(name, layer[name], True) for name in sources]
    for name in sources:
        last = max((layer[reader] for reader in readers[name]), default=0)
        slots += [Slot(name, passed, False) for passed in range(layer[name] + 1, last)]
    at = {(slot.net, slot.layer): number for number, slot in enumerate(slots)}
    rows: list[list[int]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for number, slot in enumerate(slots):
        rows[slot.layer].append(number)
    return Layering(
        tuple(slots),
        tuple(map(tuple, rows)),
        _segments(inputs, positions, slots, at, len(rows)),
        {at[name, layer[name]]: kept for name, kept in positions.items()},
        frozenset(at[name, layer[name]] for name in fixed if name in layer),
    )


def _layers(sources: Mapping[str, Sequence[str]], readers: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """The longest way to each node; then nodes that feed more than they read are pulled towards their readers."""
    layer: dict[str, int] = {}
    for name, each in sources.items():
        layer[name] = 1 + max((layer[source] for source in each), default=-1)
    for _ in range(_PULLS):
        for name in reversed(list(sources)):
            if readers[name] and len(set(sources[name])) < len(set(readers[name])):
                layer[name] = max(layer[name], min(layer[reader] for reader in readers[name]) - 1)
    return layer


def _segments(
    inputs: Mapping[str, Sequence[str]],
    positions: Mapping[str, Sequence[int]],
    slots: Sequence[Slot],
    at: Mapping[tuple[str, int], int],
    layers: int,
) -> tuple[tuple[Segment, ...], ...]:
    gaps: list[list[Segment]] = [[] for _ in range(max(0, layers - 1))]
    for number, slot in enumerate(slots):
        if slot.is_node:
            for position in positions[slot.net]:
                source = inputs[slot.net][position]
                gaps[slot.layer - 1].append(Segment(at[source, slot.layer - 1], number, position))
        else:
            gaps[slot.layer - 1].append(Segment(at[slot.net, slot.layer - 1], number, None))
    return tuple(map(tuple, gaps))
