"""The graph as a list: one node a row, wires as lanes, and what a run says of each node in columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive

from mergegraph_tui.model.cells import Cell
from mergegraph_tui.model.glyphs import glyphs_of
from mergegraph_tui.model.graph import DrawnGraph
from mergegraph_tui.model.rail import Part, rail_rows
from mergegraph_tui.widgets.painted_strips import PaintedStrips

_EMPTY = DrawnGraph()


class RailView(PaintedStrips):
    """`show(graph, columns)`: the texts of each node's columns, each with the key of its style."""

    BINDINGS: list[BindingType] = [  # noqa: RUF012
        Binding("up,k", "step(-1)", "Up", show=False, id="rail.up"),
        Binding("down,j", "step(1)", "Down", show=False, id="rail.down"),
        Binding("enter", "activate", "Edit", show=False, id="rail.activate"),
    ]

    cursor: reactive[str | None] = reactive(None)

    class Selected(Message):
        """The cursor is on another node."""

        def __init__(self, rail: RailView, node: str) -> None:
            self.rail, self.node = rail, node
            super().__init__()

        @property
        def control(self) -> RailView:
            return self.rail

    class Activated(Selected):
        """Enter or a double click on a node."""

    def __init__(
        self,
        graph: DrawnGraph = _EMPTY,
        *,
        ascii_only: bool = False,
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._glyphs = glyphs_of(ascii_only=ascii_only)
        self._graph = graph
        self._columns: Mapping[str, Sequence[Part]] = {}
        self._names: list[str] = []
        self._rows: list[list[Cell]] = []

    @property
    def graph(self) -> DrawnGraph:
        return self._graph

    @property
    def columns_width(self) -> int:
        """What lanes, names and operations leave of its width."""
        columns = (sum(len(text) for text, _ in self._columns.get(name, ())) for name in self._names)
        taken = (len(row) - width for row, width in zip(self._rows, columns, strict=True))
        return self.size.width - max(taken, default=0)

    def painted_rows(self) -> Sequence[Sequence[Cell]]:
        return self._rows

    def on_mount(self) -> None:
        self.show(self._graph, self._columns)

    def show(self, graph: DrawnGraph, columns: Mapping[str, Sequence[Part]] | None = None) -> None:
        """Show another graph or other columns; rows that stay as they are cost nothing on the screen."""
        self._graph, self._columns = graph, columns or {}
        if self.cursor not in graph.nodes:
            self.cursor = next(iter(graph.nodes), None)
        self._fill()

    def _fill(self) -> None:
        rows = rail_rows(self._graph, self._glyphs, self.cursor, self._columns)
        old, self._names, self._rows = self._rows, list(rows), list(rows.values())
        size = Size(max(map(len, self._rows), default=0), len(self._rows))
        if size != self.virtual_size or len(old) != len(self._rows):
            self.virtual_size = size
            self.repaint_all()
        else:
            self.repaint_rows(row for row, cells in enumerate(self._rows) if cells != old[row])

    def watch_cursor(self, cursor: str | None) -> None:
        if not self.is_mounted or cursor is None or cursor not in self._graph.nodes:
            return
        self._fill()
        self.scroll_to_region(Region(0, self._names.index(cursor), 1, 1), animate=False)
        self.post_message(self.Selected(self, cursor))

    def action_step(self, by: int) -> None:
        if self.cursor in self._names:
            self.cursor = self._names[min(len(self._names) - 1, max(0, self._names.index(self.cursor) + by))]

    def action_activate(self) -> None:
        if self.cursor is not None:
            self.post_message(self.Activated(self, self.cursor))

    def on_click(self, event: events.Click) -> None:
        row = event.y + self.scroll_offset.y
        if row < len(self._names):
            self.cursor = self._names[row]
            if event.chain == 2:
                self.action_activate()
