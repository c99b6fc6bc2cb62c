"""The graph on a canvas: its picture, wires drawn by keyboard and by mouse. Says what the user asks for.

Knows nothing of recipes: whether a wire may be drawn is for `may_connect` to say, and what comes of a message is for
who listens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive

from mergegraph_tui.model.cells import Cell
from mergegraph_tui.model.drawing import Direction
from mergegraph_tui.model.drawing import Size as NodeSize
from mergegraph_tui.model.graph import DrawnGraph
from mergegraph_tui.model.wiring import refusal
from mergegraph_tui.widgets.graph_picture import GraphPicture
from mergegraph_tui.widgets.rubber_wire import rubber_wire

Wires: TypeAlias = "tuple[tuple[str, str], ...]"
_EMPTY = DrawnGraph()


@dataclass(frozen=True)
class _Drag:
    """A button that went down on a node, and where."""

    source: str
    x: int
    y: int
    moved: bool = False


class GraphCanvas(GraphPicture):
    """`may_connect(graph, source, target)` says why no wire may run so, or "". `ascii_only`: no glyph above ASCII."""

    BINDINGS: list[BindingType] = [  # noqa: RUF012
        Binding("escape", "leave_connecting", "Cancel", show=False, id="graph.cancel"),
    ]

    hover: reactive[str | None] = reactive(None, init=False)

    class Connect(Message):
        """The user asks for a wire. `refused` says why it may not be, or "": then it may."""

        def __init__(self, canvas: GraphCanvas, source: str, target: str, refused: str = "") -> None:
            self.canvas, self.source, self.target, self.refused = canvas, source, target, refused
            super().__init__()

        @property
        def control(self) -> GraphCanvas:
            return self.canvas

    class AddAt(Message):
        """The user asks for a new node: after `source`, whose wire was dropped on nothing, or, with None, alone; or on
        `wires`, from node to reader."""

        def __init__(self, canvas: GraphCanvas, source: str | None, x: int, y: int, wires: Wires = ()) -> None:
            self.canvas, self.source, self.x, self.y, self.wires = canvas, source, x, y, wires
            super().__init__()

        @property
        def control(self) -> GraphCanvas:
            return self.canvas

    class Menu(AddAt):
        """The right button on a node (`source`), on wires, or on neither."""

    class Connecting(Message):
        """A wire begins to be looked for by keyboard, from or to `node`; or, with None, that has ended."""

        def __init__(self, canvas: GraphCanvas, node: str | None, *, is_backwards: bool = False) -> None:
            self.canvas, self.node, self.is_backwards = canvas, node, is_backwards
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
        super().__init__(
            graph, size=size, direction=direction, ascii_only=ascii_only, name=name, id=id, classes=classes
        )
        self._may_connect = may_connect
        self._drag: _Drag | None = None
        self._connecting: tuple[str, bool] | None = None
        self._over: dict[int, dict[int, Cell]] = {}

    @property
    def connecting(self) -> str | None:
        """The node that a wire is looked for, by keyboard."""
        return self._connecting[0] if self._connecting else None

    @property
    def is_connecting_backwards(self) -> bool:
        """Whether the wire that is looked for ends at that node."""
        return self._connecting is not None and self._connecting[1]

    def laid_over(self, row: int) -> dict[int, Cell]:
        return self._over.get(row, {})

    def is_lit(self, owner: str) -> bool:
        return owner == self.hover

    def painted(self, graph: DrawnGraph) -> None:
        if self._connecting and self._connecting[0] not in graph.nodes:
            self.action_leave_connecting()
        if self._drag and self._drag.source not in graph.nodes:
            self._end_drag()
        self._mark_targets()

    def watch_hover(self, left: str | None, entered: str | None) -> None:
        self._repaint_nodes(name for name in (left, entered) if name is not None)

    def _repaint_nodes(self, names: Iterable[str]) -> None:
        if self._painting:
            boxes = [self._painting.box(name) for name in names if name in self._painting.nodes]
            self.repaint_rows({row for box in boxes for row in range(box.y, box.y + box.height)})

    def action_activate(self) -> None:
        if not self._connecting or self.cursor is None:
            super().action_activate()
            return
        start, backwards = self._connecting
        self.action_leave_connecting()
        self._ask_for_wire(*((self.cursor, start) if backwards else (start, self.cursor)))

    def connect_from(self, node: str) -> None:
        """Let the user pick, by keyboard, where a wire from `node` goes: Enter posts Connect, Escape ends it."""
        self._begin_connecting(node, is_backwards=False)

    def connect_to(self, node: str) -> None:
        """The same for a wire that enters `node`."""
        self._begin_connecting(node, is_backwards=True)

    def _begin_connecting(self, node: str, *, is_backwards: bool) -> None:
        self._connecting = (node, is_backwards)
        self._mark_targets()
        self.post_message(self.Connecting(self, node, is_backwards=is_backwards))

    def action_leave_connecting(self) -> None:
        if self._connecting:
            self.post_message(self.Connecting(self, None))
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

    def on_mouse_down(self, event: events.MouseDown) -> None:
        node = self.node_at(event.x, event.y)
        if event.button == 3:
            self.cursor = node or self.cursor
            wires = self.wires_at(event.x, event.y)
            self.post_message(self.Menu(self, node, event.screen_x, event.screen_y, wires))
        elif node is not None and event.button == 1:
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

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._zoom_by_wheel(event, 1)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._zoom_by_wheel(event, -1)

    def _zoom_by_wheel(self, event: events.MouseEvent, by: int) -> None:
        if event.ctrl:
            event.stop()
            event.prevent_default()
            self.action_zoom(by)

    def on_leave(self) -> None:
        self.hover = None

    def on_click(self, event: events.Click) -> None:
        if event.chain != 2 or event.button != 1:
            return
        node = self.node_at(event.x, event.y)
        if node is None:
            self.post_message(self.AddAt(self, None, event.x, event.y, self.wires_at(event.x, event.y)))
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
