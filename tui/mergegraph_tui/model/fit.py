"""The largest drawing of a graph that fits a room: three sizes of node, two directions.

A small graph is tried from the largest size; a large one from the smallest, so that what cannot fit costs one size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap

from mergegraph_tui.model.drawing import DIRECTIONS, SIZES, Direction, Drawing, Size
from mergegraph_tui.model.graph import DrawnGraph, DrawnNode
from mergegraph_tui.model.layered import Arrangement, arrange, layout, spacing_of
from mergegraph_tui.model.wiring import stubs

LARGE = 60
"""Nodes from which on the smallest size is tried first."""

_WIDEST_LINE = 28
_WIDEST_NAME = 32
_MOST_LINES = 2


@dataclass(frozen=True)
class Fit:
    """A drawing and how it was chosen. `fits` says whether it is inside the room."""

    size: Size
    direction: Direction
    drawing: Drawing
    fits: bool


@dataclass(frozen=True, slots=True)
class Room:
    """Cells there are; no height is any height."""

    width: int
    height: int | None = None

    def excess(self, drawing: Drawing) -> int:
        """How far a drawing goes beyond; a row counts as two columns."""
        below = 0 if self.height is None else max(0, drawing.height - self.height)
        return max(0, drawing.width - self.width) + 2 * below


class Layouts:
    """The drawings of one graph, each made once. What is drawn follows from the structure, not from states."""

    def __init__(self, graph: DrawnGraph) -> None:
        self.graph = graph
        self._arrangement: Arrangement | None = None
        self._made: dict[tuple[Size, Direction], Drawing] = {}

    def drawing(self, size: Size, direction: Direction) -> Drawing:
        if self._arrangement is None:
            self._arrangement = arrange(self.graph.inputs(), _fixed(self.graph))
        if (size, direction) not in self._made:
            ends = stubs(self.graph.inputs())
            sizes = {
                name: node_size(node, size, direction, ends.get(name, ())) for name, node in self.graph.nodes.items()
            }
            spacing = spacing_of(direction, close=size == "pill")
            self._made[size, direction] = layout(sizes, self._arrangement, direction, spacing)
        return self._made[size, direction]

    def fit(
        self,
        room: Room,
        size: Size | None = None,
        direction: Direction | None = None,
        prefer: Sequence[Direction] = DIRECTIONS,
    ) -> Fit:
        """The largest that fits, or the one that goes least beyond. `size` and `direction` are kept where given."""
        best: Fit | None = None
        least = 1 << 60
        for each in self._sizes(size):
            found = self._in_size(room, each, [direction] if direction else prefer)
            excess = room.excess(found.drawing)
            if excess < least or (excess == 0 and self._grows()):
                best, least = found, excess
            if (excess == 0) != self._grows():
                break
        assert best is not None
        return best

    def _grows(self) -> bool:
        return len(self.graph.nodes) > LARGE

    def _sizes(self, size: Size | None) -> Iterator[Size]:
        if size is not None:
            yield size
        else:
            yield from SIZES if self._grows() else reversed(SIZES)

    def _in_size(self, room: Room, size: Size, directions: Sequence[Direction]) -> Fit:
        best: tuple[int, Direction, Drawing] | None = None
        for direction in directions:
            drawing = self.drawing(size, direction)
            excess = room.excess(drawing)
            if best is None or excess < best[0]:
                best = excess, direction, drawing
            if excess == 0:
                break
        assert best is not None
        return Fit(size, best[1], best[2], best[0] == 0)


def same_structure(one: DrawnGraph, other: DrawnGraph) -> bool:
    """Whether both have one drawing: they differ in states at most."""
    return list(one.nodes) == list(other.nodes) and all(
        a is b or _structure(a) == _structure(b) for a, b in zip(one.nodes.values(), other.nodes.values(), strict=True)
    )


def _structure(node: DrawnNode) -> tuple[object, ...]:
    return node.name, node.op, node.family, node.summary, node.inputs, node.space, node.formula


def _fixed(graph: DrawnGraph) -> list[str]:
    """The nodes whose inputs mean different things: slerp's `a` and `b` stay in this order."""
    return [name for name, node in graph.nodes.items() if _has_named_ports(node)]


def _has_named_ports(node: DrawnNode) -> bool:
    ports = [wire.port for wire in node.inputs if not wire.is_base]
    return len(ports) > 1 and len(set(ports)) == len(ports)


def shown_lines(node: DrawnNode, size: Size) -> list[str]:
    """What stands under the name: a formula always but in a pill, the rest on a card."""
    if size == "pill" or (size == "box" and not node.formula):
        return []
    if not node.formula:
        return list(node.summary[:_MOST_LINES])
    lines = wrap(node.summary[0], _WIDEST_LINE) or [""]
    most = 1 if size == "box" else _MOST_LINES
    # A line that is longer than the box is cut there, and shows that it goes on.
    return [*lines[: most - 1], " ".join(lines[most - 1 :])] if len(lines) >= most else lines


def stub_text(stubs: Sequence[str]) -> str:
    """What a pill says behind its name of the wires that close a cycle; no longer than a line of a box."""
    said = "".join(f" {each}" for each in stubs)
    return said if len(said) <= _WIDEST_LINE else f"{said[: _WIDEST_LINE - 1]}…"


def node_size(node: DrawnNode, size: Size, direction: Direction, stubs: Sequence[str] = ()) -> tuple[int, int]:
    """Width and height of a node's box, with room for its pins and its `stubs`."""
    pins, name = len(node.inputs), min(_WIDEST_NAME, len(node.name))
    if size == "pill":
        end = stub_text(stubs)
        # Several wires from the left are joined in a column of their own.
        width, height = name + 4 + (direction == "right" and pins > 1) + len(end) + bool(end), 1
        return (max(width, pins), height) if direction == "down" else (width, max(height, pins))
    lines = [*shown_lines(node, size), *stubs]
    width = max([name + 8, *(min(_WIDEST_LINE, len(line)) + 4 for line in lines)])
    height = 3 + len(lines)
    return (max(width, 2 * pins + 3), height) if direction == "down" else (width, max(height, pins + 2))
