"""The graph on a canvas: boxes and wires, a cursor, the mouse. Given a `DrawnGraph`; says what the user does.

Knows nothing of recipes: whether a wire may be drawn is for `may_connect` to say, and what comes of a message is for
who listens. A graph of the same structure is repainted where nodes differ; a large one is laid out in a thread while
the old picture stays, and keys go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size, Spacing
from textual.message import Message
from textual.reactive import reactive
from textual.worker import Worker

from mergegraph_tui.model.cells import Cell, Painting
from mergegraph_tui.model.drawing import SIZES, Direction
from mergegraph_tui.model.drawing import Size as NodeSize
from mergegraph_tui.model.fit import Fit, Layouts, Room, same_structure
from mergegraph_tui.model.glyphs import glyphs_of
from mergegraph_tui.model.graph import DrawnGraph
from mergegraph_tui.model.moving import Heading, nearest
from mergegraph_tui.model.wiring import refusal
from mergegraph_tui.widgets.painted_strips import PaintedStrips
from mergegraph_tui.widgets.rubber_wire import rubber_wire

THREADED = 100
"""Nodes from which on a layout is made in a thread."""

_EMPTY = DrawnGraph()


@dataclass(frozen=True)
class _Drag:
    """A button that went down on a node, and where."""

    source: str
    x: int
    y: int
    moved: bool = False


class GraphCanvas(PaintedStrips):
    """`may_connect(graph, source, target)` says why no wire may run so, or "". `ascii_only`: no glyph above ASCII."""

    BINDINGS: list[BindingType] = [  # noqa: RUF012
        Binding("left,h", "move('left')", "Move", show=False, id="graph.left"),
        Binding("right,l", "move('right')", "Move", show=False, id="graph.right"),
        Binding("up,k", "move('up')", "Move", show=False, id="graph.up"),
        Binding("down,j", "move('down')", "Move", show=False, id="graph.down"),
        Binding("tab", "step(1)", "Next node", show=False, id="graph.next"),
        Binding("shift+tab", "step(-1)", "Previous node", show=False, id="graph.previous"),
        Binding("enter", "activate", "Edit", show=False, id="graph.activate"),
        Binding("escape", "leave_connecting", "Cancel", show=False, id="graph.cancel"),
        Binding("plus,equals_sign", "zoom(1)", "Larger", show=False, id="view.larger"),
        Binding("minus", "zoom(-1)", "Smaller", show=False, id="view.smaller"),
        Binding("0", "fit", "Fit", show=False, id="view.fit"),
        Binding("r", "rotate", "Rotate", id="view.rotate"),
    ]

    cursor: reactive[str | None] = reactive(None)
    hover: reactive[str | None] = reactive(None, init=False)

    class Selected(Message):
        """The cursor is on another node."""

        def __init__(self, canvas: GraphCanvas, node: str) -> None:
            self.canvas, self.node = canvas, node
            super().__init__()

        @property
        def control(self) -> GraphCanvas:
            return self.canvas

    class Activated(Selected):
        """Enter or a double click on a node."""

    class Connect(Message):
        """The user asks for a wire. `refused` says why it may not be, or "": then it may."""

        def __init__(self, canvas: GraphCanvas, source: str, target: str, refused: str = "") -> None:
            self.canvas, self.source, self.target, self.refused = canvas, source, target, refused
            super().__init__()

        @property
        def control(self) -> GraphCanvas:
            return self.canvas

    class AddAt(Message):
        """The user asks for a new node: after `source`, whose wire was dropped on nothing, or, with None, alone."""

        def __init__(self, canvas: GraphCanvas, source: str | None, x: int, y: int) -> None:
            self.canvas, self.source, self.x, self.y = canvas, source, x, y
            super().__init__()

        @property
        def control(self) -> GraphCanvas:
            return self.canvas

    class Drawn(Message):
        """A picture was laid out anew. `fit` says its size and direction."""

        def __init__(self, canvas: GraphCanvas, fit: Fit) -> None:
            self.canvas, self.fit = canvas, fit
            super().__init__()

        @property
        def control(self) -> GraphCanvas:
            return self.canvas

    def __init__(
        self,
        graph: DrawnGraph = _EMPTY,
        *,
        size: NodeSize | None = None,
        direction: Direction | None = None,
        ascii_only: bool = False,
        may_connect: Callable[[DrawnGraph, str, str], str] = refusal,
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._graph = self._drawn = graph
        self._wanted: tuple[NodeSize | None, Direction | None] = (size, direction)
        self._glyphs = glyphs_of(ascii_only=ascii_only)
        self._may_connect = may_connect
        self._layouts = Layouts(graph)
        self._painting: Painting | None = None
        self._laying_out: Worker[None] | None = None
        self._drag: _Drag | None = None
        self._connecting: tuple[str, bool] | None = None
        self._over: dict[int, dict[int, Cell]] = {}
        self.fit: Fit | None = None

    @property
    def graph(self) -> DrawnGraph:
        """The graph that was shown last; its picture may still be under way."""
        return self._graph

    @property
    def connecting(self) -> str | None:
        """The node that a wire is looked for, by keyboard."""
        return self._connecting[0] if self._connecting else None

    def painted_rows(self) -> Sequence[Sequence[Cell]]:
        return self._painting.rows if self._painting else ()

    def laid_over(self, row: int) -> dict[int, Cell]:
        return self._over.get(row, {})

    def is_lit(self, owner: str) -> bool:
        return owner == self.hover

    def show(self, graph: DrawnGraph) -> None:
        """Show another graph. One of the same structure costs a repaint of the nodes that differ."""
        same = same_structure(self._graph, graph)
        self._graph = graph
        if same and self._painting and self._laying_out is None:
            self._show_states(graph)
        elif not same or self._laying_out is None:
            self._layouts = Layouts(graph)
            self._lay_out()

    def _show_states(self, graph: DrawnGraph) -> None:
        assert self._painting is not None
        painted = self._painting.nodes
        self._drawn = graph
        for node in graph.nodes.values():
            if painted[node.name] is not node and painted[node.name] != node:
                self.repaint_rows(self._painting.repaint(node))

    def _lay_out(self) -> None:
        """Make the picture: at once, or for a large graph in a thread."""
        if not self.is_mounted or not self.size:
            return
        make = partial(self._layouts.fit, Room(self.size.width, self.size.height), *self._wanted, ("right", "down"))
        if len(self._graph.nodes) <= THREADED:
            self._laying_out = None
            self._paint(self._graph, make())
            return
        in_thread = self._lay_out_in_thread(self._layouts, make)
        self._laying_out = self.run_worker(in_thread, exclusive=True, group="layout")

    async def _lay_out_in_thread(self, layouts: Layouts, make: Callable[[], Fit]) -> None:
        self._laid_out(layouts, await asyncio.to_thread(make))

    def _laid_out(self, layouts: Layouts, made: Fit) -> None:
        """States may have changed meanwhile; another structure has another picture under way."""
        if layouts is self._layouts:
            self._laying_out = None
            self._paint(self._graph, made)

    def _paint(self, graph: DrawnGraph, fit: Fit) -> None:
        self._drawn, self.fit = graph, fit
        if self._connecting and self._connecting[0] not in graph.nodes:
            self._connecting = None
        if self._drag and self._drag.source not in graph.nodes:
            self._end_drag()
        cursor = self.cursor if self.cursor in graph.nodes else next(iter(graph.nodes), None)
        drawing, room = fit.drawing, self.size
        # A picture that is too large in one direction has a scroll bar, which takes a cell of the other.
        is_tall, is_wide = drawing.height > room.height, drawing.width > room.width
        inside = (room.width - is_tall, room.height - is_wide)
        self._painting = Painting(graph, drawing, fit.size, self._glyphs, inside, cursor)
        self._mark_targets()
        rows = self._painting.rows
        self.virtual_size = Size(len(rows[0]) if rows else 0, len(rows))
        self.repaint_all()
        self.post_message(self.Drawn(self, fit))
        if cursor != self.cursor:
            self.cursor = cursor
        elif cursor is not None:
            self._bring_into_view(cursor)

    def on_mount(self) -> None:
        self._lay_out()

    def on_resize(self) -> None:
        self._lay_out()

    def watch_cursor(self, cursor: str | None) -> None:
        painting = self._painting
        if painting is None or (cursor is not None and cursor not in painting.nodes):
            return
        self.repaint_rows(painting.select(cursor))
        if cursor is not None:
            self._bring_into_view(cursor)
            self.post_message(self.Selected(self, cursor))

    def watch_hover(self, left: str | None, entered: str | None) -> None:
        self._repaint_nodes(name for name in (left, entered) if name is not None)

    def _repaint_nodes(self, names: Iterable[str]) -> None:
        if self._painting:
            boxes = [self._painting.box(name) for name in names if name in self._painting.nodes]
            self.repaint_rows({row for box in boxes for row in range(box.y, box.y + box.height)})

    def _bring_into_view(self, name: str) -> None:
        assert self._painting is not None
        box = self._painting.box(name)
        region = Region(box.x, box.y, box.width, box.height)
        self.scroll_to_region(region, spacing=Spacing(1, 2, 1, 2), animate=False)

    def action_move(self, heading: Heading) -> None:
        """To the nearest node that way, along a wire rather than not."""
        if self._painting and self.cursor is not None and self.cursor in self._painting.nodes:
            self.cursor = nearest(self._drawn, self._painting.drawing, self.cursor, heading) or self.cursor

    def action_step(self, by: int) -> None:
        """To the next node in the order of the run, or the one before."""
        names = list(self._drawn.nodes)
        if self.cursor in names:
            self.cursor = names[(names.index(self.cursor) + by) % len(names)]

    def action_activate(self) -> None:
        if self.cursor is None:
            return
        if self._connecting:
            start, backwards = self._connecting
            self.action_leave_connecting()
            self._ask_for_wire(*((self.cursor, start) if backwards else (start, self.cursor)))
        else:
            self.post_message(self.Activated(self, self.cursor))

    def action_zoom(self, by: int) -> None:
        if self.fit:
            place = SIZES.index(self.fit.size) + by
            if 0 <= place < len(SIZES):
                self._wanted = (SIZES[place], self.fit.direction)
                self._lay_out()

    def action_fit(self) -> None:
        self._wanted = (None, None)
        self._lay_out()

    def action_rotate(self) -> None:
        if self.fit:
            self._wanted = (self._wanted[0], "right" if self.fit.direction == "down" else "down")
            self._lay_out()

    def connect_from(self, node: str) -> None:
        """Let the user pick, by keyboard, where a wire from `node` goes: Enter posts Connect, Escape ends it."""
        self._connecting = (node, False)
        self._mark_targets()

    def connect_to(self, node: str) -> None:
        """The same for a wire that enters `node`."""
        self._connecting = (node, True)
        self._mark_targets()

    def action_leave_connecting(self) -> None:
        self._connecting = None
        self._end_drag()

    def _ask_for_wire(self, source: str, target: str) -> None:
        if source != target:
            self.post_message(self.Connect(self, source, target, self._may_connect(self._drawn, source, target)))

    def _mark_targets(self) -> None:
        """While a wire is looked for, every border says whether it may end there."""
        if self._painting is None:
            return
        start, backwards = self._connecting or (None, False)
        if self._drag and self._drag.moved:
            start, backwards = self._drag.source, False
        marked: dict[str, str] = {}
        for name in self._drawn.nodes:
            if start is not None and name != start:
                ends = (name, start) if backwards else (start, name)
                marked[name] = "refused" if self._may_connect(self._drawn, *ends) else "target"
        self.repaint_rows(self._painting.mark(marked))

    def node_at(self, x: int, y: int) -> str | None:
        """The node under a cell of the widget."""
        if self._painting is None:
            return None
        return self._painting.owner(x + self.scroll_offset.x, y + self.scroll_offset.y)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        node = self.node_at(event.x, event.y)
        if node is not None and event.button == 1:
            self.cursor = node
            self._drag = _Drag(node, event.x, event.y)
            self.capture_mouse()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        self.hover = self.node_at(event.x, event.y)
        drag = self._drag
        if drag and (drag.moved or (event.x, event.y) != (drag.x, drag.y)):
            if not drag.moved:
                self._drag = _Drag(drag.source, drag.x, drag.y, moved=True)
                self._mark_targets()
            self._draw_rubber(event.x + self.scroll_offset.x, event.y + self.scroll_offset.y)

    def on_mouse_up(self, event: events.MouseUp) -> None:
        drag, target = self._drag, self.node_at(event.x, event.y)
        self._end_drag()
        if drag and drag.moved:
            if target is None:
                self.post_message(self.AddAt(self, drag.source, event.x, event.y))
            else:
                self._ask_for_wire(drag.source, target)

    def on_leave(self) -> None:
        self.hover = None

    def on_click(self, event: events.Click) -> None:
        if event.chain != 2 or event.button != 1:
            return
        node = self.node_at(event.x, event.y)
        if node is None:
            self.post_message(self.AddAt(self, None, event.x, event.y))
        else:
            self.post_message(self.Activated(self, node))

    def _end_drag(self) -> None:
        if self._drag:
            self.release_mouse()
        self._drag = None
        self._lay_over({})
        self._mark_targets()

    def _draw_rubber(self, x: int, y: int) -> None:
        """The wire from the node that is dragged to the pointer."""
        if self._painting is None or self._drag is None:
            return
        target = self._painting.owner(x, y)
        is_refused = target is not None and self._painting.marked.get(target) == "refused"
        style = "error" if is_refused else "wire-new"
        self._lay_over(rubber_wire(self._painting.outlet(self._drag.source), (x, y), self._glyphs, style))

    def _lay_over(self, cells: dict[int, dict[int, Cell]]) -> None:
        changed = {*self._over, *cells}
        self._over = cells
        self.repaint_rows(changed)
