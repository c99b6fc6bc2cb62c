"""Run: how far the run is, what it holds, where its time goes, what it says; and what to do when it has ended."""

from __future__ import annotations

import threading
from pathlib import Path

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from mergegraph.errors import OutputError
from mergegraph_tui.keys import RUN, bindings
from mergegraph_tui.model import runs
from mergegraph_tui.model.followed import RunView
from mergegraph_tui.model.run_rows import (
    Room,
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
        & #graph-pane { display: none; }
        & #end-pane { height: auto; max-height: 9; display: none; }
        & #end-pane PaintedText { height: auto; }
        & #log-pane { height: 6; }
        & #none { height: 1fr; padding: 2 4; color: $text-muted; display: none; }
        &.-graph #graph-pane { display: block; }
        &.-graph #nodes-pane { display: none; }
        &.-wide #graph-pane, &.-wide.-graph #nodes-pane { display: block; }
        &.-ended #end-pane { display: block; }
        &.-narrow #meters { height: 4; }
        &.-narrow #tensors-pane, &.-narrow #log-pane { display: none; }
        &.-only-log #log-pane { display: block; height: 1fr; }
        &.-only-tensors #tensors-pane { display: block; width: 1fr; }
        &.-only-log #meters, &.-only-log #body, &.-only-log #end-pane { display: none; }
        &.-only-tensors #meters, &.-only-tensors #log-pane, &.-only-tensors #end-pane { display: none; }
        &.-only-tensors #nodes-pane, &.-only-tensors #graph-pane { display: none; }
        &.-none #head, &.-none #meters, &.-none #body, &.-none #log-pane, &.-none #end-pane { display: none; }
        &.-none #none { display: block; }
    }
    """

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
        self.call_after_refresh(self.show_run)

    @property
    def view(self) -> RunView | None:
        followed = self.workspace.followed
        return followed.view if followed is not None else None

    def sync(self) -> None:
        super().sync()
        self.show_run()

    def show_run(self) -> None:
        """What the followed run was seen at last."""
        view = self.view
        self.set_class(view is None, "-none")
        if view is None:
            return
        self.set_class(view.end is not None, "-ended")
        with self.mergegraph.batch_update():
            self._show(view)

    def _show(self, view: RunView) -> None:
        for name, rows in (("head-text", head_rows), ("pace", pace_rows), ("memory", memory_rows)):
            text = self.query_one(f"#{name}", PaintedText)
            text.show(rows(view, self._room(text)))
        graph = run_graph(view)
        canvas, rail = self.query_one(GraphCanvas), self.query_one(RailView)
        if rail.graph.nodes.keys() != graph.nodes.keys():
            rail.show(graph)
        rail.show(graph, node_columns(view, Room(rail.columns_width, 1, self.workspace.ascii_only)))
        if canvas.is_on_screen or canvas.size.width:
            canvas.show(graph)
        tensors = self.query_one("#tensors", PaintedText)
        tensors.show(tensor_rows(view, self._room(tensors)))
        self.query_one("#log", PaintedText).show(log_rows(view))
        self.query_one("#end", PaintedText).show(end_rows(view, can_go_on=self._can_go_on(view)))
        self.query_one("#end-pane").border_title = view.state.capitalize()

    def _room(self, text: PaintedText) -> Room:
        return Room(text.size.width, text.size.height, self.workspace.ascii_only)

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
        is_on = self.has_class(f"-only-{which}")
        self.remove_class("-only-log", "-only-tensors")
        if not is_on:
            self.add_class(f"-only-{which}")
            self.query_one(f"#{which}").focus()
        else:
            self.query_one(RailView).focus()
        self.call_after_refresh(self.show_run)

    def action_rail(self) -> None:
        self.toggle_class("-graph")
        self.call_after_refresh(self.show_run)

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
        said, is_right = verified(output)
        self.mergegraph.call_from_thread(
            self.notify, said, title="Verify", severity="information" if is_right else "error", timeout=15, markup=False
        )

    def _output(self) -> Path | None:
        return next(iter(self.view.outputs), None) if self.view is not None else None
