"""A graph as a drawing in whole cells: layers along the flow, boxes and passages across it, wires on tracks between.

Everything is computed as (across, along) and turned to (x, y) at the end, so both directions share one way. Every
step ends by a count, so the same graph gives the same drawing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from mergegraph_tui.model.across import Across, Spacing, placed
from mergegraph_tui.model.drawing import EAST, NORTH, SOUTH, WEST, Box, Direction, Drawing, Pin
from mergegraph_tui.model.layers import Layering, Segment, layering
from mergegraph_tui.model.order import ordered
from mergegraph_tui.model.tracks import Gap, route


@dataclass(frozen=True)
class Arrangement:
    """Which node is in which layer, and in which order: the same for every size and direction."""

    layers: Layering
    crossings: int


def arrange(inputs: Mapping[str, Sequence[str]], fixed: Collection[str] = ()) -> Arrangement:
    """`inputs`: what each node reads. The pins of the nodes in `fixed` stay in the order of their inputs."""
    return Arrangement(*ordered(layering(inputs, fixed)))


def spacing_of(direction: Direction, *, close: bool = False) -> Spacing:
    """`close`: as pills stand."""
    if direction == "down":
        return Spacing(boxes=2 if close else 3, wires=2, layers=1, tracks=1)
    return Spacing(boxes=1, wires=1, layers=3, tracks=2)


def layout(
    sizes: Mapping[str, tuple[int, int]],
    arrangement: Arrangement,
    direction: Direction = "down",
    spacing: Spacing | None = None,
) -> Drawing:
    """`sizes`: width and height of each node's box."""
    layers = arrangement.layers
    is_down = direction == "down"
    spacing = spacing or spacing_of(direction)
    nodes = [sizes[slot.net] if slot.is_node else (1, 1) for slot in layers.slots]
    widths = [width if is_down else height for width, height in nodes]
    lengths = [height if is_down else width for width, height in nodes]
    across = placed(layers, widths, spacing)
    wiring = _Wiring(is_down)
    starts, depths = _along(layers, lengths, across, spacing, wiring)
    flat = {
        slot.net: (across.at[number], starts[slot.layer], widths[number], depths[slot.layer])
        for number, slot in enumerate(layers.slots)
        if slot.is_node
    }
    boxes = {name: Box(u, v, w, h) if is_down else Box(v, u, h, w) for name, (u, v, w, h) in flat.items()}
    slot_of = {slot.net: number for number, slot in enumerate(layers.slots) if slot.is_node}
    return Drawing(
        width=1 + max([box.x + box.width - 1 for box in boxes.values()] + [x for x, _ in wiring.cells], default=-1),
        height=1 + max([box.y + box.height - 1 for box in boxes.values()] + [y for _, y in wiring.cells], default=-1),
        direction=direction,
        boxes={name: boxes[name] for name in sizes if name in boxes},
        pins={name: _node_pins(layers, across, starts, slot_of[name], is_down) for name in boxes},
        outlets={
            name: _turned(across.outlet(slot_of[name]), v + depth - 1, is_down)
            for name, (_, v, _, depth) in flat.items()
        },
        wires=wiring.cells,
        layers=tuple(
            tuple(layers.slots[slot].net for slot in row if layers.slots[slot].is_node) for row in layers.rows
        ),
        crossings=arrangement.crossings,
    )


def _turned(across: int, along: int, is_down: bool) -> tuple[int, int]:
    return (across, along) if is_down else (along, across)


def _node_pins(layers: Layering, across: Across, starts: Sequence[int], slot: int, is_down: bool) -> tuple[Pin, ...]:
    along = starts[layers.slots[slot].layer]
    return tuple(
        Pin(position, *_turned(across.pin(slot, position), along, is_down)) for position in layers.inputs[slot]
    )


def _along(
    layers: Layering, lengths: Sequence[int], across: Across, spacing: Spacing, wiring: _Wiring
) -> tuple[list[int], list[int]]:
    """Where each layer starts along the flow and how deep it is; draws the wires on the way."""
    starts: list[int] = []
    depths: list[int] = []
    along = 0
    for layer, row in enumerate(layers.rows):
        depth = max((lengths[slot] for slot in row if layers.slots[slot].is_node), default=1)
        starts.append(along)
        depths.append(depth)
        for slot in row:
            if not layers.slots[slot].is_node:
                wiring.run(layers.slots[slot].net, across.at[slot], along, along + depth - 1)
        along += depth
        if layer < len(layers.segments):
            gap = route(_nets(layers, layers.segments[layer], across))
            along += wiring.fill(gap, along, spacing)
    return starts, depths


def _nets(layers: Layering, segments: Sequence[Segment], across: Across) -> dict[str, tuple[int, list[int]]]:
    nets: dict[str, tuple[int, list[int]]] = {}
    for segment in segments:
        _, ends = nets.setdefault(layers.slots[segment.start].net, (across.outlet(segment.start), []))
        ends.append(across.pin(segment.end, segment.position))
    return nets


@dataclass
class _Wiring:
    """The cells of the wires. Sides are named for a flow downwards."""

    is_down: bool
    cells: dict[tuple[int, int], dict[str, int]] = field(default_factory=dict[tuple[int, int], dict[str, int]])

    def __post_init__(self) -> None:
        sides = (SOUTH, NORTH, WEST, EAST) if self.is_down else (EAST, WEST, NORTH, SOUTH)
        self.onwards, self.back, self.left, self.right = sides

    def put(self, across: int, along: int, net: str, sides: int) -> None:
        cell = self.cells.setdefault(_turned(across, along, self.is_down), {})
        cell[net] = cell.get(net, 0) | sides

    def run(self, net: str, column: int, first: int, last: int) -> None:
        for along in range(first, last + 1):
            self.put(column, along, net, self.onwards | self.back)

    def fill(self, gap: Gap, start: int, spacing: Spacing) -> int:
        """Draw the wires of a gap that begins at `start`, and say how deep it is."""
        needed = (gap.count - 1) * spacing.tracks + 1 if gap.count else 0
        depth = max(spacing.layers, needed + (0 if self.is_down else 2))
        first, last = start + (depth - needed) // 2, start + depth - 1
        for net, column in gap.straight:
            self.run(net, column, start, last)
        at = {part: first + track * spacing.tracks for part, track in gap.tracks.items()}
        goes_on = {(part.net, part.start): along for part, along in at.items() if part.number}
        for part, along in at.items():
            if not part.number:
                self.run(part.net, part.start, start, along - 1)
            self.put(part.start, along, part.net, self.back)
            for end in part.ends:
                self._across(part.net, part.start, end, along)
                self.put(end, along, part.net, self.onwards)
                later = goes_on.get((part.net, end)) if not part.number else None
                self.run(part.net, end, along + 1, last if later is None else later - 1)
        return depth

    def _across(self, net: str, start: int, end: int, along: int) -> None:
        for column in range(min(start, end), max(start, end)):
            self.put(column, along, net, self.right)
            self.put(column + 1, along, net, self.left)
