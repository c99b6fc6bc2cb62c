"""Edit: the graph, the form of the selected node, the problems, and the text beside them."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content

from mergegraph_tui.keys import EDIT, bindings
from mergegraph_tui.screens.form_actions import FormActions
from mergegraph_tui.widgets.graph_canvas import GraphCanvas
from mergegraph_tui.widgets.inspector import Inspector
from mergegraph_tui.widgets.preview import PreviewPanel
from mergegraph_tui.widgets.problems_list import ProblemsList
from mergegraph_tui.widgets.rail_view import RailView
from mergegraph_tui.widgets.yaml_pane import YamlPane

WIDE = 160
"""Columns from which on the text stands beside graph and form unless it is put away."""


class NodeList(RailView):
    """The rail with the keys that the graph has."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "step(1)", "Next node", show=False, id="rail.next"),
        Binding("shift+tab", "step(-1)", "Previous node", show=False, id="rail.previous"),
    ]


class EditScreen(FormActions):
    """One recipe being edited."""

    MODE = "edit"
    KEYS = EDIT
    BINDINGS = bindings(EDIT)
    AUTO_FOCUS = "GraphCanvas"
    DEFAULT_CSS = """
    EditScreen {
        & #body { height: 1fr; }
        & #graph { width: 1fr; }
        & #node { width: 36; max-width: 50%; padding-left: 1; }
        & #yaml { width: 1fr; display: none; }
        & #foretold { display: none; max-height: 50%; padding: 0 1 0 0; }
        & #foretold.-shown { display: block; }
        & #problems { max-height: 30%; }
        & RailView { display: none; }
        & #graph.-rail RailView { display: block; }
        & #graph.-rail GraphCanvas { display: none; }
        & #graph.-stale GraphCanvas, & #graph.-stale RailView { opacity: 45%; }
        & .-yaml #yaml { display: block; }
        & .-yaml #node { display: none; }
        &.-wide .-yaml #node { display: block; }
        &.-wide #yaml { width: 64; }
        &.-wide #node { width: 40; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._yaml_wanted: bool | None = None
        self._shown_selected: str | None = None

    def compose_body(self) -> ComposeResult:
        ascii_only = self.workspace.ascii_only
        with Horizontal(id="body"):
            yield YamlPane(ascii_only=ascii_only, id="yaml", classes="pane")
            with Vertical(id="graph", classes="pane"):
                yield GraphCanvas(self.workspace.drawn, ascii_only=ascii_only)
                yield NodeList(self.workspace.drawn, ascii_only=ascii_only)
            with Vertical(id="node", classes="pane"):
                yield Inspector(self.refused, ascii_only=ascii_only)
                yield PreviewPanel(ascii_only=ascii_only, is_short=True, id="foretold")
        yield ProblemsList(ascii_only=ascii_only, id="problems", classes="pane")

    def on_mount(self) -> None:
        self.query_one("#node").border_title = "Node"
        self._show_title()
        super().on_mount()

    def on_resize(self) -> None:
        self._show_yaml()

    def sync(self) -> None:
        super().sync()
        work = self.workspace
        self.canvas.show(work.drawn)
        if self.shows_rail:
            self.rail.show(work.drawn)
        selected = work.selected
        if selected is not None and selected != self._shown_selected and selected in work.drawn.nodes:
            self._put_cursors(selected)
        self.query_one(YamlPane).show(self.text, work.checked, self._line_of_selected())
        self.query_one(ProblemsList).show(work.checked)
        self._show_title()
        self.show_form()

    @on(GraphCanvas.Selected)
    def select_drawn(self, event: GraphCanvas.Selected) -> None:
        if self.canvas.cursor == event.node and not self.shows_rail:
            self._select(event.node, isinstance(event, GraphCanvas.Activated))

    @on(RailView.Selected)
    def select_listed(self, event: RailView.Selected) -> None:
        if self.rail.cursor == event.node and self.shows_rail:
            self._select(event.node, isinstance(event, RailView.Activated))

    def _select(self, node: str, is_activated: bool) -> None:
        """The cursor is on another node, or this one is to be edited."""
        if node != self.workspace.selected and not self._is_awaited:
            self.workspace.selected = node
            self._put_cursors(node)
            self.query_one(YamlPane).follow(self._line_of_selected())
            self.show_form()
        if is_activated:
            self.action_edit_node()

    @property
    def _is_awaited(self) -> bool:
        """Whether the selected node is a new one, which is drawn once it is checked."""
        return self.workspace.selected != self._shown_selected and self.workspace.checked.text != self.text

    def _put_cursors(self, node: str) -> None:
        """The views show what is selected; that they then say so is nothing that a user did. A list that is not shown
        is made when it comes up."""
        self._shown_selected = node
        with self.prevent(GraphCanvas.Selected, RailView.Selected):
            self.canvas.cursor = node
            if self.shows_rail:
                self.rail.cursor = node

    def _line_of_selected(self) -> int:
        """Where the selected node stands in the text; 0 where that is not known."""
        checked = self.workspace.checked
        if checked.outline is None or checked.text != self.text:
            return 0
        node = checked.outline.nodes.get(self.workspace.selected or "")
        return node.line if node is not None else 0

    def action_edit_node(self) -> None:
        """To the form of the selected node."""
        if not self.query_one("#node").display:
            self._yaml_wanted = False
            self._show_yaml()
        self.show_form()
        self.inspector.begin()

    def action_rail(self) -> None:
        graph = self.query_one("#graph")
        had_focus = graph.has_focus_within
        graph.toggle_class("-rail")
        if graph.has_class("-rail"):
            self.rail.show(self.workspace.drawn)
            with self.prevent(RailView.Selected):
                self.rail.cursor = self.workspace.selected
        if had_focus:
            (self.rail if graph.has_class("-rail") else self.canvas).focus()
        self._show_title()

    def action_yaml(self) -> None:
        """The text, or the form where there is room for one of them only."""
        is_shown = self.query_one("#body").has_class("-yaml")
        self._yaml_wanted = not is_shown
        self._show_yaml()
        if not is_shown:
            self.query_one(YamlPane).focus()
        elif self.focused is None or not self.focused.display:
            self.canvas.focus()

    def action_next_problem(self, by: int) -> None:
        self.query_one(ProblemsList).step(by)

    @on(ProblemsList.Chosen)
    def go_to_problem(self, event: ProblemsList.Chosen) -> None:
        """To its node, and to its line where the text is shown."""
        problem = event.problem
        owner = [name for name, found in self.workspace.checked.by_node.items() if problem in found and name]
        if owner:
            self.go_to(owner[0])
        if problem.at is not None and problem.at.line:
            self.query_one(YamlPane).go_to_line(problem.at.line)

    @on(GraphCanvas.Drawn)
    @on(GraphCanvas.Connecting)
    def _show_title(self) -> None:
        """What the graph's frame says."""
        graph, canvas, work = self.query_one("#graph"), self.canvas, self.workspace
        graph.set_class(work.is_stale, "-stale")
        graph.border_title = "Graph"
        if canvas.connecting is not None:
            way = "to" if not canvas.is_connecting_backwards else "from"
            graph.border_title = Content(f"Connect {canvas.connecting} {way}")
            graph.border_subtitle = "arrows choose, enter wires, esc ends"
            return
        if work.is_stale and work.drawn.nodes:
            graph.border_title = "Graph of the last good text"
        count = len(work.drawn.nodes)
        said = [f"{count} node{'' if count == 1 else 's'}"]
        if count and canvas.fit is not None and not self.shows_rail:
            said += ["top-down" if canvas.fit.direction == "down" else "left-right", canvas.fit.size]
        if not count:
            is_read = work.checked.text == self.text
            said = ["empty: a adds a model, or an operation" if is_read else "reading"]
        graph.border_subtitle = ("rail, " if self.shows_rail else "") + ", ".join(said)

    def _show_yaml(self) -> None:
        is_wide = self.mergegraph.size.width >= WIDE
        wanted = is_wide if self._yaml_wanted is None else self._yaml_wanted
        self.query_one("#body").set_class(wanted, "-yaml")
