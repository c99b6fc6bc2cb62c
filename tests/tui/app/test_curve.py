"""What the recipe does in each layer, written from the Stats screen: a rule for chosen cells, a schedule as a curve."""

from __future__ import annotations

from pathlib import Path

import pytest
from mergegraph_tui.app import MergegraphApp
from mergegraph_tui.dialogs.curve import CurveDialog, FieldList
from mergegraph_tui.dialogs.rule import RuleDialog
from mergegraph_tui.widgets.line_plot import LinePlot
from mergegraph_tui.widgets.preview import PreviewPanel
from textual.pilot import Pilot
from textual.widgets import Input, Label

from tests.tui.app.piloting import drive, press, settle, until
from tests.tui.app.test_stats_screen import app_of, place_of, ready


def preview_text(app: MergegraphApp) -> str:
    return app.screen.query_one(PreviewPanel).text


def test_a_rule_for_the_chosen_cells_is_one_step_of_the_recipe(two_tuned: Path, record_file: Path) -> None:
    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        await ready(app, pilot)
        before = app.workspace.document.text
        await pilot.press("right", "shift+right", "shift+down", "w")
        await until(pilot, lambda: isinstance(app.screen, RuleDialog) and "kept of code" in preview_text(app))
        dialog = app.screen
        assert isinstance(dialog, RuleDialog)
        nodes = [dialog.target.title]
        for _ in range(2):
            await pilot.press("down")
            nodes.append(dialog.target.title)
        assert nodes[0] == nodes[2] != nodes[1], "after the last schedule comes the first"
        await pilot.press("x")
        assert str(dialog.query_one("#wrong", Label).content) == "this is no number"
        await pilot.press("enter")
        assert str(dialog.query_one("#wrong", Label).content) == "write a number, such as 0.5"
        await pilot.press("backspace", "backspace", *"0.1")
        await until(pilot, lambda: "0.1" in app.screen.query_one(Input).value)
        await press(app, pilot, "enter")
        text = app.workspace.document.text
        assert (
            'by: [{kind: attention, part: k, layers: "0:2", value: 0.1}, '
            '{kind: attention, part: q, layers: "0:2", value: 0.1}, {value: 0.6}]'
        ) in text
        assert "# the base" in text
        assert app.workspace.checked.is_fine
        await press(app, pilot, "u")
        assert app.workspace.document.text == before

    drive(app_of(two_tuned, record_file), act)


def test_a_curve_is_moved_foretold_and_written_as_a_gradient(two_tuned: Path, record_file: Path) -> None:
    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        await ready(app, pilot)
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, CurveDialog) and "kept of code" in preview_text(app))
        now = preview_text(app)
        await pilot.press("end", "up", "up", "pageup", "s")
        await until(pilot, lambda: preview_text(app) != now)
        dialog = app.screen
        assert isinstance(dialog, CurveDialog)
        assert dialog.curve is not None
        assert dialog.curve.points == pytest.approx((0.6, 0.716667, 0.833333, 0.95))
        assert len(dialog.query_one("#kept", LinePlot).plot.lines) == 2
        await pilot.press("home", "down", "u", "v", *"0.2", "enter", "f")
        assert dialog.curve.points == (0.2,) * 4
        await pilot.press("end", "up", "up", "s")
        await press(app, pilot, "enter")
        assert "by: [0.2, 0.3]" in app.workspace.document.text
        assert app.workspace.checked.is_fine

    drive(app_of(two_tuned, record_file), act)


def test_a_curve_is_drawn_with_the_mouse(two_tuned: Path) -> None:
    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, CurveDialog))
        dialog = app.screen
        assert isinstance(dialog, CurveDialog)
        says, plot = dialog.query_one("#says", Label), dialog.query_one("#curve", LinePlot)
        assert preview_text(app) == "not foretold: no statistics of this recipe yet"

        def points() -> list[float]:
            assert dialog.curve is not None
            return [round(point, 2) for point in dialog.curve.points]

        await pilot.mouse_down("#curve", offset=place_of(plot, 0, 0.0))
        first = points()[0]
        assert first < 0.1
        assert points()[1:] == [0.6] * 3, "the others stay"
        await pilot.hover("#curve", offset=place_of(plot, 1, 1.0))
        await pilot.mouse_up("#curve", offset=place_of(plot, 1, 1.0))
        await pilot.hover("#curve", offset=place_of(plot, 3, 0.0))
        second = points()[1]
        assert second > 0.9
        assert points() == [first, second, 0.6, 0.6], "only while the button is held"
        assert all(round(point / 0.05, 6).is_integer() for point in points())
        await pilot.press("u")
        assert points() == [first, 0.6, 0.6, 0.6]
        await pilot.press("home", "plus", "up")
        assert ", with 1 on each side" in str(says.content)
        assert points() == [round(first + 0.05, 2), 0.62, 0.6, 0.6]
        await pilot.press("v", "x", "enter")
        assert str(says.content) == "'x' is no number"
        await pilot.press("v", "escape")
        assert app.screen is dialog, "only the line is left"
        await pilot.press("tab")
        assert points() == [0.4] * 4
        await pilot.click(FieldList, offset=(5, 0))
        assert points() == [0.6] * 4
        await press(app, pilot, "escape")
        assert app.workspace.document.text == two_tuned.read_text()

        app.apply(app.workspace.document.text.replace("/french", "/nowhere"), "another model")
        await settle(app, pilot)
        await press(app, pilot, "e")
        assert isinstance(app.screen, CurveDialog)
        assert str(app.screen.query_one("#says", Label).content) == "no curve: the recipe has a problem"
        await pilot.press("up", "enter")
        assert isinstance(app.screen, CurveDialog), "there is nothing to write"

    drive(app_of(two_tuned, None), act)
