"""Edit: the graph, the form of the selected node, the problems, and the text beside them."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from mergegraph_tui.keys import EDIT, bindings
from mergegraph_tui.screens.base import PlaceScreen
from mergegraph_tui.screens.node_actions import NodeActions
from mergegraph_tui.widgets.graph_canvas import GraphCanvas


class EditScreen(NodeActions, PlaceScreen):
    """One recipe being edited."""

    MODE = "edit"
    KEYS = EDIT
    BINDINGS = bindings(EDIT)
    AUTO_FOCUS = "GraphCanvas"
    DEFAULT_CSS = """
    EditScreen {
        & #body { height: 1fr; }
        & #graph { width: 1fr; }
    }
    """

    def compose_body(self) -> ComposeResult:
        with Horizontal(id="body"), Vertical(id="graph", classes="pane"):
            yield GraphCanvas(self.workspace.drawn, ascii_only=self.workspace.ascii_only)

    def on_mount(self) -> None:
        self.query_one("#graph").border_title = "Graph"
        super().on_mount()

    @property
    def canvas(self) -> GraphCanvas:
        return self.query_one(GraphCanvas)

    def sync(self) -> None:
        super().sync()
        canvas, wanted = self.canvas, self.workspace.selected
        canvas.show(self.workspace.drawn)
        if wanted in self.workspace.drawn.nodes and canvas.cursor != wanted:
            canvas.cursor = wanted

    @on(GraphCanvas.Selected)
    def select(self, event: GraphCanvas.Selected) -> None:
        """Activated is a Selected too."""
        self.workspace.selected = event.node

    @on(GraphCanvas.Drawn)
    def say_size(self, event: GraphCanvas.Drawn) -> None:
        direction = "top-down" if event.fit.direction == "down" else "left-right"
        count = len(self.workspace.drawn.nodes)
        self.query_one("#graph").border_subtitle = f"{count} nodes · {direction} · {event.fit.size}"
