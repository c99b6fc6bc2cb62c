"""What is done about runs from every screen: plan and start one, look at one, and say so when the interface is left."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from textual.app import App

from mergegraph.errors import OutputError

if TYPE_CHECKING:
    from mergegraph_tui.app import MergegraphApp
    from mergegraph_tui.dialogs.plan import Start
    from mergegraph_tui.model import runs
    from mergegraph_tui.model.followed import RunView
    from mergegraph_tui.model.graph import DrawnGraph
    from mergegraph_tui.model.preparing import Asked

POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Left:
    """A run that goes on when the interface is left."""

    pid: int
    output: str

    def __str__(self) -> str:
        again = (
            f"mergegraph tui --attach {shlex.quote(self.output)}".rstrip() if self.output else "mergegraph tui --attach"
        )
        return f"The run goes on as process {self.pid}.\n  see it   {again}\n  stop it  kill -INT {self.pid}"


class RunActions(App[int]):
    """Actions of the keys `run.plan` and `run.attach`."""

    _asked: Asked | None = None
    _shown: RunView | None = None

    @property
    def _place(self) -> MergegraphApp:
        return cast("MergegraphApp", self)

    def on_mount(self) -> None:
        self.set_interval(POLL_SECONDS, self._poll)
        workspace = self._place.workspace
        if workspace.run is not None:
            self.follow(workspace.run)

    def on_unmount(self) -> None:
        followed = self._place.workspace.followed
        if followed is not None:
            followed.close()

    def follow(self, run: runs.Run, graph: DrawnGraph | None = None) -> None:
        """Show this run from now on; the one before goes on, unseen."""
        from mergegraph_tui.model.followed import Followed

        workspace = self._place.workspace
        if workspace.followed is not None:
            workspace.followed.close()
        workspace.run, workspace.followed = run, Followed(run, graph)
        workspace.followed.begin()
        self._place.sync()

    def _poll(self) -> None:
        """Ten times a second: show what the thread saw last, where it is news."""
        followed = self._place.workspace.followed
        view = followed.view if followed is not None else None
        if view is not self._shown:
            self._shown = view
            self._place.show_run()

    def action_plan(self) -> None:
        """The plan dialog, and then a run where it was started."""
        from mergegraph_tui.dialogs.plan import PlanDialog, ShowRun, Start
        from mergegraph_tui.model import runs
        from mergegraph_tui.model.preparing import Asked

        workspace = self._place.workspace
        dialog = PlanDialog(workspace.document, self._asked or Asked(), ascii_only=workspace.ascii_only)

        def decided(decision: Start | ShowRun | None) -> None:
            self._asked = dialog.asked_last
            match decision:
                case Start():
                    self._start(decision)
                case ShowRun(output=output):
                    found = runs.find(output)
                    if found is not None:
                        self._look_at(found)
                case None:
                    self._place.sync()

        self.push_screen(dialog, decided)

    def _start(self, decision: Start) -> None:
        from mergegraph_tui.model import runs

        prepared = decision.prepared
        options = prepared.wanted.asked.options(overwrite=decision.overwrite)
        try:
            run = runs.start(decision.recipe, options, outputs=prepared.outputs)
        except OutputError as error:
            self._place.say_problem(error.problems[0])
            return
        self._look_at(run, prepared.drawn)

    def _look_at(self, run: runs.Run, graph: DrawnGraph | None = None) -> None:
        self.follow(run, graph)
        self._place.action_show_mode("run")

    def action_attach(self) -> None:
        """Pick another run of this machine."""
        from mergegraph_tui.dialogs.runs import RunsDialog

        def picked(run: runs.RegisteredRun | None) -> None:
            if run is not None:
                self._look_at(run)

        self.push_screen(RunsDialog(self._place.workspace.run, ascii_only=self._place.workspace.ascii_only), picked)

    def run_that_goes_on(self) -> Left | None:
        """The followed run, where it lives and was not told to stop: quitting leaves it."""
        run, followed = self._place.workspace.run, self._place.workspace.followed
        if run is None or not run.is_alive() or (followed is not None and followed.is_stopping):
            return None
        return Left(run.pid, str(run.outputs[0]) if run.outputs else "")
