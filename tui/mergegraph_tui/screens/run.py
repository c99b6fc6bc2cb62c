"""Run: how far the run is, what it holds, where its time goes, what it says; and what to do when it has ended."""

from __future__ import annotations

import threading
from pathlib import Path

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message

from mergegraph.errors import OutputError
from mergegraph_tui.keys import RUN, bindings
from mergegraph_tui.model import runs
from mergegraph_tui.model.followed import RunView
from mergegraph_tui.model.run_rows import (
    Room,
    Row,
    end_rows,
    head_rows,
    log_rows,
    memory_rows,
    node_columns,
    pace_rows,
    run_graph,
    tensor_rows,
)
from mergegraph_tui.model.runs import Done, RegisteredRun
from mergegraph_tui.model.verifying import verified
from mergegraph_tui.screens.base import PlaceScreen
from mergegraph_tui.widgets.graph_canvas import GraphCanvas
from mergegraph_tui.widgets.painted_text import PaintedText
from mergegraph_tui.widgets.rail_view import RailView

_LOOKS_TO_SHOW_ALL = 4


class RunScreen(PlaceScreen):
    """The run that the workspace follows."""

    MODE = "run"
    KEYS = RUN
    BINDINGS = bindings(RUN)
    AUTO_FOCUS = "RailView"
    DEFAULT_CSS = """
    RunScreen {
        & .pane { padding: 0 1; }
        & #head { height: 5; }
        & #meters { height: 6; }
        & #pace-pane, & #memory-pane { width: 1fr; }
        & #body { height: 1fr; min-height: 4; }
        & #nodes-pane, & #graph-pane { width: 3fr; padding: 0; }
        & #tensors-pane { width: 2fr; }
        & #end-pane { height: auto; max-height: 9; }
        & #end-pane PaintedText { height: auto; }
        & #log-pane { height: 6; }
        & #none { height: 1fr; padding: 2 4; color: $text-muted; }
        &.-narrow #meters { height: 4; }
    }
    """

    class Verified(Message):
        """An output was read again."""

        def __init__(self, said: str, is_right: bool) -> None:
            self.said, self.is_right = said, is_right
            super().__init__()

    _looks: int = 0
    _state: str = ""
    _only_pane: str = ""
    _is_graph: bool = False

    def compose_body(self) -> ComposeResult:
        plain = self.workspace.ascii_only
        yield PaintedText(ascii_only=plain, id="none")
        with Vertical(id="head", classes="pane"):
            yield PaintedText(ascii_only=plain, id="head-text")
        with Horizontal(id="meters"):
            with Vertical(id="pace-pane", classes="pane"):
                yield PaintedText(ascii_only=plain, id="pace")
            with Vertical(id="memory-pane", classes="pane"):
                yield PaintedText(ascii_only=plain, id="memory")
        with Horizontal(id="body"):
            with Vertical(id="graph-pane", classes="pane"):
                yield GraphCanvas(ascii_only=plain, may_connect=lambda graph, source, target: "a run is shown")
            with Vertical(id="nodes-pane", classes="pane"):
                yield RailView(ascii_only=plain)
            with Vertical(id="tensors-pane", classes="pane"):
                yield PaintedText(ascii_only=plain, scrolls=True, id="tensors")
        with Vertical(id="end-pane", classes="pane"):
            yield PaintedText(ascii_only=plain, id="end")
        with Vertical(id="log-pane", classes="pane"):
            yield PaintedText(ascii_only=plain, scrolls=True, follows_end=True, id="log")

    def on_mount(self) -> None:
        titles = {"head": "Run", "pace-pane": "Throughput", "memory-pane": "Memory", "graph-pane": "Graph",
                  "nodes-pane": "Nodes", "tensors-pane": "Tensors", "log-pane": "Log"}  # fmt: skip
        for name, title in titles.items():
            self.query_one(f"#{name}").border_title = title
        self.query_one("#nodes-pane").border_subtitle = "share of the time, seconds of all workers"
        self.query_one("#none", PaintedText).show(
            [[("No run is shown.", "name")], [], [("p, or space: plan and start the recipe", "")],
             [("v: runs of this machine", "")]]
        )  # fmt: skip
        super().on_mount()

    def on_resize(self) -> None:
        self._arrange()
        self.call_after_refresh(self.show_all)

    @property
    def view(self) -> RunView | None:
        followed = self.workspace.followed
        return followed.view if followed is not None else None

    def sync(self) -> None:
        super().sync()
        self.show_all()

    def show_all(self) -> None:
        """What the followed run was seen at last."""
        self._arrange()
        if (view := self.view) is not None:
            with self.mergegraph.batch_update():
                self._show(view)

    def show_run(self) -> None:
        """A look at the run has told something new. Bytes and bar are shown each time, ten times a second; the rest at
        every fourth look, or when the state is another: the processors are the run's."""
        view = self.view
        self._looks += 1
        if view is None or view.state != self._state or self._looks % _LOOKS_TO_SHOW_ALL == 0:
            self.show_all()
        else:
            self._show_rows("head-text", head_rows(view, self._room("head-text")))

    def _arrange(self) -> None:
        """Which panes there are. Not by classes: a change of those takes the whole screen's styles, 40 ms of them."""
        view, only = self.view, self._only_pane
        is_narrow, is_wide = self.has_class("-narrow"), self.has_class("-wide")
        shown = {
            "none": view is None,
            "head": view is not None,
            "meters": view is not None and not only,
            "body": view is not None and only != "log",
            "nodes-pane": not only and (is_wide or not self._is_graph),
            "graph-pane": not only and (is_wide or self._is_graph),
            "tensors-pane": only == "tensors" or not is_narrow,
            "end-pane": view is not None and view.end is not None and not only,
            "log-pane": view is not None and (only == "log" or not (only or is_narrow)),
        }
        for name, is_shown in shown.items():
            pane = self.query_one(f"#{name}")
            if pane.display != is_shown:
                pane.display = is_shown
        height = "1fr" if only == "log" else 6
        log = self.query_one("#log-pane")
        if (log.styles.height is not None and log.styles.height.is_fraction) != (only == "log"):
            log.styles.height = height

    def _show(self, view: RunView) -> None:
        self._state = view.state
        for name, rows in (("head-text", head_rows), ("pace", pace_rows), ("memory", memory_rows)):
            self._show_rows(name, rows(view, self._room(name)))
        graph = run_graph(view)
        canvas, rail = self.query_one(GraphCanvas), self.query_one(RailView)
        if rail.graph.nodes.keys() != graph.nodes.keys():
            rail.show(graph)
        rail.show(graph, node_columns(view, Room(rail.columns_width, 1, self.workspace.ascii_only)))
        if self.query_one("#graph-pane").display:
            canvas.show(graph)
        is_every = self._only_pane == "tensors"
        if is_every and self.workspace.followed is not None:
            self.workspace.followed.list_finished()
        self._show_rows("tensors", tensor_rows(view, self._room("tensors"), every=is_every))
        self._show_rows("log", log_rows(view))
        self._show_rows("end", end_rows(view, can_go_on=self._can_go_on(view)))
        self.query_one("#end-pane").border_title = view.state.capitalize()

    def _show_rows(self, name: str, rows: list[Row]) -> None:
        self.query_one(f"#{name}", PaintedText).show(rows)

    def _room(self, name: str) -> Room:
        size = self.query_one(f"#{name}", PaintedText).size
        return Room(size.width, size.height, self.workspace.ascii_only)

    def _can_go_on(self, view: RunView) -> bool:
        return isinstance(self.workspace.run, RegisteredRun) and view.end is not None

    def action_start_or_pause(self) -> None:
        """Start, pause, go on: whichever there is to do."""
        followed, view = self.workspace.followed, self.view
        if followed is None or view is None or isinstance(view.end, Done):
            self.mergegraph.action_plan()
        elif view.end is not None:
            self._go_on(view)
        else:
            said = followed.pause_or_go_on()
            self.notify(said or "it cannot be paused now: it is not merging", timeout=2)

    def _go_on(self, view: RunView) -> None:
        """A run of the recipe that is open goes through its plan; another one's command is run again."""
        path, run = self.workspace.document.path, self.workspace.run
        if view.recipe is not None and path is not None and view.recipe.resolve() == path.resolve():
            self.mergegraph.action_plan()
        elif isinstance(run, RegisteredRun):
            try:
                self.mergegraph.follow(runs.start_again(run), view.graph)
            except OutputError as error:
                self.mergegraph.say_problem(error.problems[0])

    def action_cancel(self) -> None:
        followed, view = self.workspace.followed, self.view
        if followed is None or view is None or view.end is not None:
            return
        if followed.stop():
            self.notify("stopping after the tiles it is at; finished tensors stay", timeout=4)

    def action_log(self) -> None:
        self._only("log")

    def action_tensors(self) -> None:
        self._only("tensors")

    def _only(self, which: str) -> None:
        """One pane on the whole screen, or all again."""
        self._only_pane = "" if self._only_pane == which else which
        self._arrange()
        self.call_after_refresh(self.show_all)

    def on_key(self, event: events.Key) -> None:
        """What has the whole screen is scrolled without the focus: to move that draws the footer anew."""
        scrolled = self.query_one(f"#{self._only_pane}", PaintedText) if self._only_pane else None
        scroll = scrolled and {
            "up": scrolled.scroll_up, "down": scrolled.scroll_down, "pageup": scrolled.scroll_page_up,
            "pagedown": scrolled.scroll_page_down, "home": scrolled.scroll_home, "end": scrolled.scroll_end,
        }.get(event.key)  # fmt: skip
        if scroll:
            scroll(animate=False)
            event.stop()

    def action_rail(self) -> None:
        self._is_graph = not self._is_graph
        self._arrange()
        self.call_after_refresh(self.show_all)

    def action_statistics(self) -> None:
        """The record beside the output, where the run made one."""
        output = self._output()
        record = output / "stats.json" if output is not None else None
        if record is not None and record.exists():
            self.workspace.stats = record
        self.mergegraph.action_show_mode("stats")

    def action_copy_path(self) -> None:
        output = self._output()
        if output is not None:
            self.mergegraph.copy_to_clipboard(str(output))
            self.notify(f"copied {output}", timeout=3, markup=False)

    def action_verify(self) -> None:
        """Read every byte of the outputs again, in a process of its own."""
        view = self.view
        if view is None or not isinstance(view.end, Done):
            return
        self.notify("reading every byte again", timeout=3)
        for output in view.outputs:
            threading.Thread(target=self._verify, args=(output,), name="verify", daemon=True).start()

    def _verify(self, output: Path) -> None:
        self.post_message(self.Verified(*verified(output)))

    def on_run_screen_verified(self, event: Verified) -> None:
        severity = "information" if event.is_right else "error"
        self.notify(event.said, title="Verify", severity=severity, timeout=15, markup=False)

    def _output(self) -> Path | None:
        return next(iter(self.view.outputs), None) if self.view is not None else None
