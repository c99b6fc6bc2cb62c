"""The picture of a graph: laid out, painted, with a cursor that moves along the wires.

A graph of the same structure is repainted where nodes differ; a large one is laid out in a thread while the old picture
stays, and keys go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

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
from mergegraph_tui.widgets.painted_strips import PaintedStrips

THREADED = 100
"""Nodes from which on a layout is made in a thread."""

_EMPTY = DrawnGraph()


class GraphPicture(PaintedStrips):
    """`show` it a graph. `size` and `direction` of the drawing are what fits best, where they are not said."""

    BINDINGS: list[BindingType] = [  # noqa: RUF012
        Binding("left,h", "move('left')", "Move", show=False, id="graph.left"),
        Binding("right,l", "move('right')", "Move", show=False, id="graph.right"),
        Binding("up,k", "move('up')", "Move", show=False, id="graph.up"),
        Binding("down,j", "move('down')", "Move", show=False, id="graph.down"),
        Binding("tab", "step(1)", "Next node", show=False, id="graph.next"),
        Binding("shift+tab", "step(-1)", "Previous node", show=False, id="graph.previous"),
        Binding("enter", "activate", "Edit", id="graph.activate"),
        Binding("plus,equals_sign", "zoom(1)", "Larger", show=False, id="view.larger"),
        Binding("minus", "zoom(-1)", "Smaller", show=False, id="view.smaller"),
        Binding("0", "fit", "Fit", show=False, id="view.fit"),
        Binding("r", "rotate", "Rotate", id="view.rotate"),
    ]

    cursor: reactive[str | None] = reactive(None)

    class Selected(Message, namespace="graph_canvas"):
        """The cursor is on another node."""

        def __init__(self, canvas: GraphPicture, node: str) -> None:
            self.canvas, self.node = canvas, node
            super().__init__()

        @property
        def control(self) -> GraphPicture:
            return self.canvas

    class Activated(Selected, namespace="graph_canvas"):
        """Enter or a double click on a node."""

    class Drawn(Message, namespace="graph_canvas"):
        """A picture was laid out anew. `fit` says its size and direction."""

        def __init__(self, canvas: GraphPicture, fit: Fit) -> None:
            self.canvas, self.fit = canvas, fit
            super().__init__()

        @property
        def control(self) -> GraphPicture:
            return self.canvas

    def __init__(
        self,
        graph: DrawnGraph = _EMPTY,
        *,
        size: NodeSize | None = None,
        direction: Direction | None = None,
        ascii_only: bool = False,
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._graph = self._drawn = graph
        self._wanted: tuple[NodeSize | None, Direction | None] = (size, direction)
        self._glyphs = glyphs_of(ascii_only=ascii_only)
        self._layouts = Layouts(graph)
        self._painting: Painting | None = None
        self._laying_out: Worker[None] | None = None
        self.fit: Fit | None = None

    @property
    def graph(self) -> DrawnGraph:
        """The graph that was shown last; its picture may still be under way."""
        return self._graph

    def painted_rows(self) -> Sequence[Sequence[Cell]]:
        return self._painting.rows if self._painting else ()

    def show(self, graph: DrawnGraph) -> None:
        """Show another graph. One of the same structure costs a repaint of the nodes that differ."""
        is_under_way = self._laying_out is not None and same_structure(self._graph, graph)
        is_drawn = self._painting is not None and self._laying_out is None and same_structure(self._drawn, graph)
        if not same_structure(self._layouts.graph, graph):
            self._layouts = Layouts(graph)
        self._graph = graph
        if is_drawn:
            self._show_states(graph)
        elif not is_under_way:
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
        cursor = self.cursor if self.cursor in graph.nodes else next(iter(graph.nodes), None)
        drawing, room = fit.drawing, self.size
        # A picture that is too large in one direction has a scroll bar, which takes a cell of the other.
        is_tall, is_wide = drawing.height > room.height, drawing.width > room.width
        inside = (room.width - is_tall, room.height - is_wide)
        self._painting = Painting(graph, drawing, fit.size, self._glyphs, inside, cursor)
        self.painted(graph)
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
        if self.cursor is not None:
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

    def node_at(self, x: int, y: int) -> str | None:
        """The node under a cell of the widget."""
        if self._painting is None:
            return None
        return self._painting.owner(x + self.scroll_offset.x, y + self.scroll_offset.y)

    def wires_at(self, x: int, y: int) -> tuple[tuple[str, str], ...]:
        """The wires under a cell of the widget, from node to reader."""
        if self._painting is None:
            return ()
        return self._painting.wires_at(x + self.scroll_offset.x, y + self.scroll_offset.y)

    def painted(self, graph: DrawnGraph) -> None:
        """A picture of `graph` was made: who derives from this marks it."""
