"""A drawing as rows of cells: a glyph, the key of its style, and the node it belongs to.

Style keys are names of what is shown ("wire-delta", "merge", "error"); the widget gives them colours, and a text needs
none. What a colour says, a glyph says too: deltas are dashed, the base enters by a hollow pin, what is selected is
heavy, a status has a mark.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mergegraph_tui.model.drawing import EAST, NORTH, SOUTH, WEST, Box, Drawing, Pin, Size
from mergegraph_tui.model.fit import shown_lines, stub_text
from mergegraph_tui.model.glyphs import Glyphs
from mergegraph_tui.model.graph import DrawnGraph, DrawnNode
from mergegraph_tui.model.wiring import stubs

STYLES = (
    "wire-weights", "wire-delta", "wire-up", "wire-down", "wire-new", "source", "delta", "one-input", "merge", "sink",
    "name", "detail", "error", "warning", "running", "done", "waiting", "cursor", "target", "refused",
)  # fmt: skip
"""Every style key; with "fill-" before it, the colour is behind the glyph."""

_STEPS = {NORTH: (0, -1), SOUTH: (0, 1), EAST: (1, 0), WEST: (-1, 0)}
_SIGNS = {"target": "+", "refused": "-"}
_BLANK_WIRE = {"down": NORTH | SOUTH, "right": EAST | WEST}


class Cell(NamedTuple):
    glyph: str
    style: str = ""
    owner: str | None = None


_BLANK = Cell(" ")


class Painting:
    """The cells of a drawing, in the middle of a room or larger than it. `marked`: nodes whose border shows a style."""

    def __init__(
        self,
        graph: DrawnGraph,
        drawing: Drawing,
        size: Size,
        glyphs: Glyphs,
        room: tuple[int, int] = (0, 0),
        cursor: str | None = None,
    ) -> None:
        self.drawing, self.glyphs, self.cursor = drawing, glyphs, cursor
        self.size: Size = size
        self.nodes = dict(graph.nodes)
        self._stubs = stubs(graph.inputs())
        self.marked: dict[str, str] = {}
        width, height = max(room[0], drawing.width), max(room[1], drawing.height)
        self.origin = ((width - drawing.width) // 2, (height - drawing.height) // 2)
        self.rows: list[list[Cell]] = [[_BLANK] * width for _ in range(height)]
        self._cells_of: dict[str, list[tuple[int, int]]] = {}
        for cell, nets in drawing.wires.items():
            for net in nets:
                self._cells_of.setdefault(net, []).append(cell)
        self._way_up: set[tuple[str, int, int]] = set()
        self.select(cursor)
        self._wires(drawing.wires)
        for node in self.nodes.values():
            self._node(node)

    def box(self, name: str) -> Box:
        """Where a node is among the rows."""
        box = self.drawing.boxes[name]
        return Box(box.x + self.origin[0], box.y + self.origin[1], box.width, box.height)

    def outlet(self, name: str) -> tuple[int, int]:
        """Where the wires of a node leave it, among the rows."""
        x, y = self.drawing.outlets[name]
        return x + self.origin[0], y + self.origin[1]

    def owner(self, x: int, y: int) -> str | None:
        """The node at a cell."""
        inside = 0 <= y < len(self.rows) and 0 <= x < len(self.rows[y])
        return self.rows[y][x].owner if inside else None

    def wires_at(self, x: int, y: int) -> tuple[tuple[str, str], ...]:
        """The wires that run through a cell, from node to reader: of a trunk all that branch off further on."""
        cell = (x - self.origin[0], y - self.origin[1])
        if cell not in self.drawing.wires or self.owner(x, y) is not None:
            return ()
        net = self._net_on_top(cell)
        return tuple(dict.fromkeys(
            (net, reader) for reader, node in self.nodes.items() if net in node.sources
            for pin in self.drawing.pins[reader]
            if node.inputs[pin.position].source == net and cell in self._way_to(pin, net)
        ))  # fmt: skip

    def repaint(self, node: DrawnNode) -> range:
        """Show a node's new state; the rows that changed."""
        self.nodes[node.name] = node
        return self._node(node)

    def mark(self, marked: dict[str, str]) -> set[int]:
        """Show a style on the borders of some nodes, of no others; the rows that changed."""
        changed = [name for name in {*self.marked, *marked} if self.marked.get(name) != marked.get(name)]
        self.marked = marked
        return {row for name in changed if name in self.nodes for row in self._node(self.nodes[name])}

    def select(self, cursor: str | None) -> set[int]:
        """Move the cursor: the wires that enter and leave it are heavy. The rows that changed."""
        touched = {name for each in (self.cursor, cursor) if each in self.nodes for name in self._around(each)}
        left, self.cursor = self.cursor, cursor
        self._way_up = set(self._ways(cursor)) if cursor in self.nodes else set()
        cells = {cell for name in touched for cell in self._cells_of.get(name, ())}
        rows = self._wires(cells)
        for name in (left, cursor):
            if name in self.nodes:
                rows.update(self._node(self.nodes[name]))
        return rows

    def _around(self, name: str) -> Iterator[str]:
        yield name
        yield from self.nodes[name].sources

    def _ways(self, name: str) -> Iterator[tuple[str, int, int]]:
        """The cells by which each source's net reaches the node: nets are trees, so going on from the outlet finds
        one way."""
        for pin in self.drawing.pins[name]:
            net = self.nodes[name].inputs[pin.position].source
            yield from ((net, *cell) for cell in self._way_to(pin, net))

    def _way_to(self, pin: Pin, net: str) -> list[tuple[int, int]]:
        down = self.drawing.direction == "down"
        x, y = self.drawing.outlets[net]
        start = (x, y + 1) if down else (x + 1, y)
        goal = (pin.x, pin.y - 1) if down else (pin.x - 1, pin.y)
        return self._way(net, start, goal)

    def _way(self, net: str, start: tuple[int, int], goal: tuple[int, int]) -> list[tuple[int, int]]:
        wires = self.drawing.wires
        came_from: dict[tuple[int, int], tuple[int, int] | None] = {start: None}
        pending = [start]
        for at in pending:
            if at == goal:
                break
            sides = wires.get(at, {}).get(net, 0)
            for side, (dx, dy) in _STEPS.items():
                following = (at[0] + dx, at[1] + dy)
                if sides & side and following not in came_from and net in wires.get(following, {}):
                    came_from[following] = at
                    pending.append(following)
        way: list[tuple[int, int]] = []
        at: tuple[int, int] | None = goal if goal in came_from else None
        while at is not None:
            way.append(at)
            at = came_from[at]
        return way

    def _wires(self, cells: Iterable[tuple[int, int]]) -> set[int]:
        changed: set[int] = set()
        for x, y in cells:
            net = self._net_on_top((x, y))
            self._put(x, y, self._wire(net, self.drawing.wires[x, y][net], x, y))
            changed.add(y + self.origin[1])
        return changed

    def _net_on_top(self, cell: tuple[int, int]) -> str:
        """Where two nets cross, the one along the flow stays whole, and the other passes under it."""
        nets, along = self.drawing.wires[cell], _BLANK_WIRE[self.drawing.direction]
        return next((name for name, sides in nets.items() if sides == along), next(iter(nets)))

    def _wire(self, net: str, sides: int, x: int, y: int) -> Cell:
        space = self.nodes[net].space
        if net == self.cursor:
            return Cell(self.glyphs.heavy[space][sides], "wire-down")
        if (net, x, y) in self._way_up:
            return Cell(self.glyphs.heavy[space][sides], "wire-up")
        return Cell(self.glyphs.wires[space][sides], f"wire-{space}")

    def _put(self, x: int, y: int, cell: Cell) -> None:
        self.rows[y + self.origin[1]][x + self.origin[0]] = cell

    def _text(self, x: int, y: int, glyphs: Iterable[str], style: str, owner: str) -> None:
        for step, glyph in enumerate(glyphs):
            self._put(x + step, y, Cell(glyph, style, owner))

    def _node(self, node: DrawnNode) -> range:
        box = self.drawing.boxes[node.name]
        (self._pill if self.size == "pill" else self._box)(node, box)
        top = box.y + self.origin[1]
        return range(top, top + box.height)

    def _edge(self, node: DrawnNode) -> str:
        """The style of a node's border: what matters most of it."""
        if node.name in self.marked:
            return self.marked[node.name]
        if node.name == self.cursor:
            return "cursor"
        if node.status in ("error", "warning"):
            return node.status
        return "waiting" if node.status == "waiting" or node.skipped else node.family

    def _sign(self, node: DrawnNode) -> str:
        """Beside the name: whether a wire may end here, or how the node is."""
        return _SIGNS.get(self.marked.get(node.name, ""), self.glyphs.mark(node))

    def _pill(self, node: DrawnNode, box: Box) -> None:
        style = f"fill-{self._edge(node)}"
        joined, middle = self._joined(node, box), box.y + box.height // 2
        for row in range(box.y, box.y + box.height):
            self._text(box.x, row, " " * box.width, style if row == middle else "", node.name)
        for row, glyph in joined.items():
            self._text(box.x, row, glyph, self._edge(node), node.name)
        start, width = (box.x + 1, box.width - 1) if joined else (box.x, box.width)
        end = self.glyphs.fitted(stub_text(self._stubs.get(node.name, ())), width - 4)
        label = self.glyphs.fitted(f"{self.glyphs.icon(node)} {node.name}", width - 1 - len(end))
        left = start + (width - len(label) - len(end)) // 2
        shown = [*label, self._sign(node), *end]
        self._text(left, middle, shown, style, node.name)
        if node.name == self.cursor:
            self._text(left - 1, middle, self.glyphs.pins["right"], style, node.name)

    def _joined(self, node: DrawnNode, box: Box) -> dict[int, str]:
        """The glyph for each row in which several wires from the left come together before a pill; else nothing."""
        entered = {pin.y for pin in self.drawing.pins[node.name]}
        if self.drawing.direction == "down" or box.height == 1 or not entered:
            return {}
        middle = box.y + box.height // 2
        first, last = min(entered | {middle}), max(entered | {middle})
        border = self.glyphs.heavy_border if node.name == self.cursor else self.glyphs.border
        sides = {
            row: WEST * (row in entered) | NORTH * (row > first) | SOUTH * (row < last) | EAST * (row == middle)
            for row in range(first, last + 1)
        }
        return {row: border[each] for row, each in sides.items()}

    def _box(self, node: DrawnNode, box: Box) -> None:
        edge = self._edge(node)
        self._border(node, box, edge)
        glyphs, dim = self.glyphs, node.status == "waiting" or node.skipped
        blank = " " * (box.width - 2)
        for row in range(1, box.height - 1):
            self._text(box.x + 1, box.y + row, blank, "", node.name)
        self._text(box.x + 2, box.y + 1, glyphs.icon(node), "waiting" if dim else node.family, node.name)
        name = glyphs.fitted(node.name, box.width - 7)
        self._text(box.x + 4, box.y + 1, name, "waiting" if dim else "name", node.name)
        style = self.marked.get(node.name) or node.status or "waiting"
        self._text(box.x + box.width - 3, box.y + 1, self._sign(node), style, node.name)
        for row, line in enumerate(shown_lines(node, self.size), 2):
            shown = glyphs.fitted(line, box.width - 4, keep_end=node.family in ("source", "sink"))
            self._text(box.x + 2, box.y + row, shown, "detail", node.name)
        ends = self._stubs.get(node.name, ())
        for row, line in enumerate(ends, box.height - 1 - len(ends)):
            self._text(box.x + 2, box.y + row, glyphs.fitted(line, box.width - 4), "error", node.name)
        self._progress(node, box)
        self._ends(node, edge)

    def _border(self, node: DrawnNode, box: Box, edge: str) -> None:
        border = self.glyphs.heavy_border if node.name == self.cursor else self.glyphs.border
        bottom, right = box.y + box.height - 1, box.x + box.width - 1
        flat = border[EAST | WEST] * (box.width - 2)
        self._text(box.x, box.y, border[EAST | SOUTH] + flat + border[SOUTH | WEST], edge, node.name)
        self._text(box.x, bottom, border[NORTH | EAST] + flat + border[NORTH | WEST], edge, node.name)
        for y in range(box.y + 1, bottom):
            self._text(box.x, y, border[NORTH | SOUTH], edge, node.name)
            self._text(right, y, border[NORTH | SOUTH], edge, node.name)

    def _progress(self, node: DrawnNode, box: Box) -> None:
        """The lower border of a box is its progress bar."""
        if node.progress is not None and node.status in ("running", "done"):
            full = round((box.width - 2) * min(1.0, max(0.0, node.progress)))
            self._text(box.x + 1, box.y + box.height - 1, self.glyphs.bar * full, node.status, node.name)

    def _ends(self, node: DrawnNode, edge: str) -> None:
        """Where wires leave and enter."""
        direction = self.drawing.direction
        border = self.glyphs.heavy_border if node.name == self.cursor else self.glyphs.border
        if node.name in self._cells_of:  # a wire that closes a cycle has no cells: `stubs` tell of it
            outlet = border[EAST | SOUTH | WEST] if direction == "down" else border[NORTH | EAST | SOUTH]
            self._text(*self.drawing.outlets[node.name], outlet, edge, node.name)
        for pin in self.drawing.pins[node.name]:
            is_base = node.inputs[pin.position].is_base
            glyph = (self.glyphs.base_pins if is_base else self.glyphs.pins)[direction]
            self._text(pin.x, pin.y, glyph, edge, node.name)
