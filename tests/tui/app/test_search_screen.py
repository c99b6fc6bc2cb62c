"""A search is shown, begun, stopped, gone on with, and its recipe opened: by keys."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import pytest
from mergegraph_tui.app import MergegraphApp
from mergegraph_tui.model.searches import SearchView
from mergegraph_tui.starting import workspace_of
from mergegraph_tui.widgets.line_plot import LinePlot
from mergegraph_tui.widgets.painted_text import PaintedText
from textual.pilot import Pilot

from tests.search.searches import write_search
from tests.tui.app.piloting import drive, press, told, until
from tests.tui.screens import search_stage as stage


def rows(app: MergegraphApp, name: str) -> str:
    return "\n".join(app.screen.query_one(f"#{name}", PaintedText).lines)


def view(app: MergegraphApp) -> SearchView:
    assert app.workspace.search is not None
    return app.workspace.search.view


def shown(path: Path) -> MergegraphApp:
    return MergegraphApp(workspace_of(path), mode="search")


def test_the_screen_fills_as_the_ledger_grows(tmp_path: Path) -> None:
    entries = stage.ended()
    place = stage.put(tmp_path / "found", entries[:6])

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        first_frame = app._screen_stacks["_default"][0]._compositor.render_strips()[0].text
        assert view(app).name in first_frame
        assert "F5 Search" in first_frame
        assert "5 of 24 evaluations" in rows(app, "head-text")
        with (place / "ledger.jsonl").open("a") as ledger:
            ledger.writelines(f"{json.dumps(entry)}\n" for entry in entries[6:])
        await until(pilot, lambda: "98.66" in rows(app, "result"))
        assert "done" in rows(app, "head-text")
        assert len(rows(app, "candidates").splitlines()) == 17
        curve = app.screen.query_one(LinePlot).plot
        assert [line.name for line in curve.lines] == ["best so far", "each"]

    drive(shown(place), act)


def test_keys_choose_the_plot_the_order_and_the_panes(tmp_path: Path) -> None:
    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        pane = app.screen.query_one("#plot-pane")
        titles = []
        for _ in range(3):
            titles.append(str(pane.border_title))
            await pilot.press("m")
        assert titles == ["loss along the line", "accuracy along the line", "Score by candidate"]
        first = rows(app, "candidates").splitlines()[2]
        await pilot.press("s")
        assert rows(app, "candidates").splitlines()[2] != first
        for only in ("result", "candidates"):
            await pilot.press("g")
            await pilot.pause()
            panes = {name for name in ("upper", "candidates-pane") if app.screen.query_one(f"#{name}").display}
            assert panes == {"upper" if only == "result" else "candidates-pane"}
        await pilot.press("g")
        await pilot.pause()
        assert app.screen.query_one("#curve").is_on_screen

    drive(shown(stage.put(tmp_path / "found", stage.line())), act)


GATED = """\
import judge, time
def score(model, split):
    while model.name == "c" and not (judge.HERE / "gate").exists():
        time.sleep(0.02)
    return judge.score(model, split)
"""


def test_a_search_is_begun_stopped_gone_on_with_and_its_recipe_opened(tmp_path: Path) -> None:
    """The third candidate waits at a gate, so that the search is stopped while it is evaluated."""
    (tmp_path / "gated.py").write_text(GATED)

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        assert view(app).state == "not begun"
        await pilot.press("c", "enter")
        assert (told(app), app.clipboard) == (["no recipe is found yet"], "")
        await pilot.press("space")
        await until(pilot, lambda: view(app).summary.evaluating == "c", seconds=60)
        await pilot.press("space")
        assert told(app)[-1] == "it runs already; x stops it"
        left = app.search_that_goes_on()
        assert left is not None
        assert f"mergegraph tui {view(app).place}" in str(left)
        await pilot.press("x")
        await until(pilot, lambda: "space goes on" in rows(app, "head-text"), seconds=60)
        assert view(app).state == "stopped"
        before = [row.label for row in view(app).summary.rows]
        assert before == ["a", "b"]
        (tmp_path / "gate").touch()
        await pilot.press("space")
        await until(pilot, lambda: view(app).state == "done", seconds=60)
        assert [row.label for row in view(app).summary.rows][: len(before)] == before
        assert app.search_that_goes_on() is None
        await pilot.press("c")
        assert app.clipboard == str(view(app).found)
        await press(app, pilot, "enter")
        assert app.current_mode == "edit"
        assert app.workspace.document.name == "found.yaml"
        assert "soup" in app.workspace.drawn.nodes
        assert not app.workspace.checked.errors

    drive(shown(write_search(tmp_path, evaluator={"python": "gated:score"})), act, notifications=True)


def test_why_it_cannot_begin_is_said_and_the_search_is_edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MergegraphApp, "suspend", lambda app: nullcontext())
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", "sed -i s/none-/models/")
    path = write_search(tmp_path, candidates=["./none-*"])
    text = path.read_text()

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        await pilot.press("space")
        await until(pilot, lambda: "No model matches" in rows(app, "result"))
        assert view(app).state == "not begun"
        await pilot.press("e")
        assert path.read_text() == text.replace("none-", "models")
        path.unlink()
        await pilot.press("e")
        assert "search.yaml" in told(app)[-1]
        assert not path.exists()

    drive(shown(path), act, notifications=True)


def test_a_search_is_opened_beside_the_recipe_and_one_with_faults_is_not(recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "searches"

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        app.open_recipe(write_search(folder, select_on=None))
        await pilot.pause()
        assert app.current_mode == "edit"
        assert app.workspace.search is None
        app.open_recipe(write_search(folder))
        await until(pilot, lambda: app.current_mode == "search")
        assert app.workspace.document.path == recipe
        await pilot.press("1")
        assert app.current_mode == "edit"
        await pilot.press("4")
        assert app.current_mode == "search"

    drive(MergegraphApp(workspace_of(recipe)), act)
