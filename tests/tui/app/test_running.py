"""Plan, start and follow runs with keys: the dialog, the Run screen, other runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic

import pytest
from mergegraph_tui.app import MergegraphApp
from mergegraph_tui.dialogs.plan import PlanDialog
from mergegraph_tui.dialogs.runs import RunsDialog
from mergegraph_tui.model import runs
from mergegraph_tui.model.document import Document
from mergegraph_tui.model.runs import Options, RegisteredRun, Stopped
from mergegraph_tui.screens.run import RunScreen
from mergegraph_tui.starting import workspace_of
from mergegraph_tui.widgets.graph_canvas import GraphCanvas
from mergegraph_tui.widgets.painted_text import PaintedText
from mergegraph_tui.widgets.tick import Tick
from mergegraph_tui.workspace import Workspace
from textual.pilot import Pilot
from textual.widgets import Button, Input, OptionList

from tests.runs.children import PYTHON, Workshop, wait_for
from tests.tui.app.piloting import drive, told
from tests.tui.test_run_rows import GRAPH, MERGING, FakeRun


@dataclass
class Started:
    """Takes the place of `runs.start`."""

    calls: list[tuple[Path, Options]] = field(default_factory=list[tuple[Path, Options]])

    def __call__(self, recipe: Path, options: Options, outputs: object = None) -> FakeRun:
        self.calls.append((recipe, options))
        return FakeRun()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    found = Started()
    monkeypatch.setattr(runs, "start", found)
    return found


async def planned(app: MergegraphApp, pilot: Pilot[int]) -> PlanDialog:
    """The dialog, with a plan in it."""
    await pilot.pause()
    dialog = app.screen
    assert isinstance(dialog, PlanDialog)
    until = monotonic() + 20
    while dialog.prepared is None:
        assert monotonic() < until, "no plan was made"
        await pilot.pause(0.01)
    await pilot.pause()
    return dialog


def said(app: MergegraphApp, name: str) -> str:
    return "\n".join(app.screen.query_one(f"#{name}", PaintedText).lines)


def test_the_plan_is_shown_and_started_with_what_is_asked(recipe: Path, started: Started) -> None:
    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        await pilot.press("p")
        dialog = await planned(app, pilot)
        assert "read base" in said(app, "steps")
        assert "out/merged" in said(app, "facts")
        assert said(app, "told") == "ready"
        await pilot.press("escape")
        assert not started.calls
        await pilot.press("p")
        dialog = await planned(app, pilot)
        dialog.query_one("#threads", Input).value = "0"
        await pilot.click("#stats")
        assert dialog.query_one("#stats", Tick).has_focus
        await pilot.pause(0.4)
        dialog = await planned(app, pilot)
        assert "is no number of threads" in said(app, "told")
        assert dialog.query_one("#start", Button).disabled
        dialog.query_one("#threads", Input).value = "1"
        await pilot.pause(0.4)
        await planned(app, pilot)
        await pilot.click("#start")
        await pilot.pause()
        assert started.calls == [(recipe, Options(threads=1, stats=True))]
        assert app.current_mode == "run"

    drive(MergegraphApp(workspace_of(recipe)), act)


def test_what_is_in_the_way_is_replaced_only_when_that_is_chosen(recipe: Path, started: Started) -> None:
    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        (recipe.parent / "out" / "merged").mkdir(parents=True)
        await pilot.press("p")
        dialog = await planned(app, pilot)
        assert "something else is there" in said(app, "facts")
        assert dialog.focused is dialog.query_one("#not-now")
        await pilot.press("f")
        await pilot.pause()
        assert started.calls == [(recipe, Options(overwrite=True))]

    drive(MergegraphApp(workspace_of(recipe)), act)


def test_a_recipe_without_a_file_is_saved_first(recipe: Path, started: Started) -> None:
    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        await pilot.press("p")
        dialog = await planned(app, pilot)
        assert dialog.query_one("#file", Input).value == str(recipe.parent / "merge-2.yaml")
        assert "saved as this one first" in said(app, "told")
        await pilot.press("enter")
        await pilot.pause()
        assert (recipe.parent / "merge-2.yaml").read_text() == recipe.read_text()
        assert started.calls == [(recipe.parent / "merge-2.yaml", Options())]
        assert not app.workspace.document.is_dirty

    document = Document.new(recipe.read_text(), recipe.parent)
    drive(MergegraphApp(Workspace(document)), act)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 50)])
def test_the_run_screen(recipe: Path, size: tuple[int, int]) -> None:
    run = FakeRun()

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        app.follow(run, GRAPH)
        await pilot.press("f3")
        await pilot.pause(0.3)
        screen = app.screen
        assert isinstance(screen, RunScreen)
        assert "30.0/60.0 MiB" in said(app, "head-text").replace(" / ", "/")
        assert "20.0 MiB of 200.0 MiB" in said(app, "memory")
        assert (screen.query_one(GraphCanvas).size.width > 0) == (size[0] == 200), "wide: both"
        await pilot.press("g")
        await pilot.pause(0.2)
        assert screen.query_one(GraphCanvas).graph.nodes["m"].progress == 0.5
        await pilot.press("l")
        assert screen.query_one("#log").size.height > size[1] - 10
        await pilot.press("l", "t")
        await pilot.pause(0.1)
        assert "layers.2.up" in said(app, "tensors")
        await pilot.press("t")
        run.says = replace(MERGING, state="paused")
        await pilot.pause(0.3)
        assert "paused" in said(app, "head-text")

    drive(MergegraphApp(workspace_of(recipe)), act, size)


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    yield Workshop(tmp_path, monkeypatch)
    for run in runs.living():
        os.kill(run.pid, signal.SIGKILL)
        wait_for(lambda run=run: not run.is_alive())
    runs.reap()


async def until(app: MergegraphApp, pilot: Pilot[int], state: str) -> None:
    end = monotonic() + 30
    while app.workspace.followed is None or app.workspace.followed.view.state != state:
        assert monotonic() < end, f"{app.workspace.followed and app.workspace.followed.view}"
        await pilot.pause(0.05)
    await pilot.pause(0.2)


def test_a_real_run_is_cancelled_gone_on_with_and_left(workshop: Workshop) -> None:
    workshop.close(open_for=10)

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        await pilot.press("p")
        await planned(app, pilot)
        await pilot.press("enter")
        await until(app, pilot, "merging")
        left = app.run_that_goes_on()
        assert left is not None
        assert f"--attach {workshop.output}" in str(left)
        await pilot.press("1", "p")
        dialog = await planned(app, pilot)
        assert "writes it now" in said(app, "facts")
        assert dialog.query_one("#start", Button).disabled
        await pilot.click("#show")
        assert app.current_mode == "run"
        await until(app, pilot, "merging")
        await pilot.press("V")
        assert not told(app), "there is nothing to verify yet"
        await pilot.press("x")
        workshop.open()
        await until(app, pilot, "stopped")
        assert "space goes on" in said(app, "end")
        await pilot.press("space")
        await planned(app, pilot)
        assert "this one goes on behind them" in said(app, "facts")
        await pilot.press("enter")
        await until(app, pilot, "done")
        assert "next  s statistics" in said(app, "end")
        await pilot.press("t")
        await pilot.pause(0.5)
        assert said(app, "tensors").count("✓") == 38, "every tensor"
        await pilot.press("end")
        assert app.screen.query_one("#tensors").scroll_offset.y > 0
        await pilot.press("home", "t")
        assert app.run_that_goes_on() is None
        await pilot.press("c")
        assert (app.clipboard, told(app)[-1]) == (str(workshop.output), f"copied {workshop.output}")
        workshop.patch.setattr("sys.executable", PYTHON)  # no run is started any more
        await verified(app, pilot, "information", "38 tensors")
        damage(workshop.output / "model.safetensors")
        await verified(app, pilot, "error", "model.safetensors")
        await pilot.press("v")
        await pilot.pause(0.5)
        assert isinstance(app.screen, RunsDialog)
        assert app.screen.query_one(OptionList).option_count == 2
        await pilot.press("down", "enter")
        await until(app, pilot, "stopped")
        app.go_on_with(Document.new("", workshop.folder))
        again = FakeRun()
        workshop.patch.setattr(runs, "start_again", lambda run: again)
        await pilot.press("2", "space")
        assert app.workspace.run is again, "of another recipe than the open one, what was started is started again"
        await pilot.press("space")
        assert told(app)[-1] == "it cannot be paused now: it is not merging"

    drive(MergegraphApp(workspace_of(workshop.recipe)), act, notifications=True)


async def verified(app: MergegraphApp, pilot: Pilot[int], severity: str, words: str) -> None:
    """Verify the output, and see that it is said so."""
    before = len(told(app))
    await pilot.press("V")
    end = monotonic() + 30
    while len(told(app)) < before + 2:
        assert monotonic() < end, told(app)
        await pilot.pause(0.05)
    last = list(app._notifications)[-1]
    assert (last.title, last.severity) == ("Verify", severity), last.message
    assert words in last.message


def damage(file: Path) -> None:
    """Another last byte."""
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def test_attaching_opens_the_recipe_of_the_run(workshop: Workshop) -> None:
    workshop.close()
    run = runs.start(workshop.recipe, Options(threads=1), outputs={"out": workshop.output})

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        await until(app, pilot, "merging")
        assert app.current_mode == "run"
        assert app.workspace.document.path == workshop.recipe
        assert list(app.workspace.followed.view.graph.nodes) == ["base", "tuned", "merged", "out"]  # type: ignore[union-attr]

    workspace = workspace_of(None, attach=str(workshop.output))
    drive(MergegraphApp(workspace, mode="run"), act)
    assert isinstance(workspace.run, RegisteredRun)
    assert run.is_alive(), "leaving leaves it"

    async def stop(app: MergegraphApp, pilot: Pilot[int]) -> None:
        await until(app, pilot, "merging")
        await pilot.press("ctrl+q", "s")
        assert not app.is_running
        assert app.run_that_goes_on() is None, "it was told to stop"

    drive(MergegraphApp(workspace_of(None, attach=str(workshop.output)), mode="run"), stop)
    workshop.open()
    wait_for(lambda: not run.is_alive())
    late = workspace_of(None, attach="")
    assert isinstance(late.run, RegisteredRun)
    assert late.run.folder == run.folder, "who comes too late is shown how it ended"
    assert isinstance(late.run.end(), Stopped)
