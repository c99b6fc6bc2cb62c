"""The Stats screen on a real record: 0.6 and 0.4 of the changes of two fine-tunes of a small language model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pytest
from mergegraph_tui.app import MergegraphApp
from mergegraph_tui.model.measuring import Measurement, measure
from mergegraph_tui.model.plot import place_and_value
from mergegraph_tui.model.records import measured_file
from mergegraph_tui.screens.stats import StatsScreen
from mergegraph_tui.starting import workspace_of
from mergegraph_tui.widgets.heat_map import HeatMap
from mergegraph_tui.widgets.line_plot import LinePlot
from mergegraph_tui.widgets.lines_view import LinesView
from mergegraph_tui.widgets.tensor_list import TensorList
from textual.pilot import Pilot
from textual.widgets import Input

from tests.tui.app.piloting import drive, press, told


def app_of(recipe: Path, record: Path | None, *, ascii_only: bool = False) -> MergegraphApp:
    workspace = workspace_of(recipe, ascii_only=ascii_only)
    workspace.stats = record
    return MergegraphApp(workspace, mode="stats")


async def until(pilot: Pilot[int], condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = monotonic() + seconds
    while not condition():
        assert monotonic() < end, "it did not come about"
        await pilot.pause(0.02)
    await pilot.pause()


def screen_of(app: MergegraphApp) -> StatsScreen:
    found = app.screen_stack[0]
    assert isinstance(found, StatsScreen)
    return found


async def ready(app: MergegraphApp, pilot: Pilot[int]) -> StatsScreen:
    """Once the record is shown."""
    await until(pilot, lambda: screen_of(app).loaded is not None)
    return screen_of(app)


def place_of(plot: LinePlot, layer: int, value: float) -> tuple[int, int]:
    """The cell of the plot that is nearest to a value of a layer."""
    cells = [(x, y) for x in range(plot.size.width) for y in range(plot.size.height)]
    there = {cell: found for cell in cells if (found := place_and_value(plot.plot, *plot.size, *cell)) is not None}
    return min((cell for cell in there if there[cell][0] == layer), key=lambda cell: abs(there[cell][1] - value))


def test_a_heat_map_with_every_metric_follows_cursor_and_keys(two_tuned: Path, record_file: Path) -> None:
    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        screen = await ready(app, pilot)
        heat, detail = screen.query_one(HeatMap), screen.query_one("#tensor", LinesView)
        assert heat.picture.cells["2", "attention v"].text == "0.037"
        await pilot.press("right", "right", "right", "down", "down")
        assert heat.cell == ("2", "attention v")
        assert detail.text.startswith("model.layers.2.self_attn.v_proj.weight\n96 × 192")
        assert "noise alone" in detail.text
        assert "energy in the largest elements" in detail.text
        assert screen.query_one("#by-layer", LinePlot).plot.mark == 2
        seen = [screen.choice]
        for _ in range(4):
            await pilot.press("m")
            seen.append(screen.choice)
        names = [choice.metric.name for choice in seen if choice is not None]
        assert names == ["relative", "retention", "sign_conflict", "asymmetry", "cast_loss"]
        await pilot.press("M", "M", "M", "s")
        assert screen.choice is not None
        assert screen.choice.title == "retention · french"
        await press(app, pilot, "slash", *"kurtosis", "enter")
        assert screen.choice.metric.name == "kurtosis"
        await pilot.press("g")
        table = screen.query_one(TensorList)
        assert table.display
        assert table.table is not None
        assert len(table.table.rows) == 38
        for act_on_list, row in ((pilot.click(TensorList, offset=(5, 4)), 3), (pilot.press("j", "j"), 5)):
            await act_on_list
            await pilot.pause()
            assert detail.text.startswith(table.table.rows[row].tensor)
            assert screen.loaded is not None
            assert heat.cell == screen.loaded.place_of[table.table.rows[row].tensor], "the map follows"
        two = next(cell for cell, tensors in screen.loaded.tensors_in.items() if len(tensors) == 2)
        heat.go_to(two)
        for number in ("1", "2", "1"):
            await pilot.pause()
            assert f"{number} of 2 in this cell; t: next" in detail.text
            await pilot.press("t")
        await pilot.press("g", "g")
        plot = screen.query_one("#by-layer", LinePlot)
        await pilot.click("#by-layer", offset=place_of(plot, 1, 0.0))
        assert heat.cell[0] == "1"
        await pilot.press("ctrl+a")
        assert len(heat.chosen) == len(heat.picture.cells)
        await pilot.press("x")
        assert screen.other is None, "there is nothing to swap"

    drive(app_of(two_tuned, record_file), act)


def test_records_are_compared_swapped_and_chosen(two_tuned: Path, record_file: Path, weaker_record: Path) -> None:
    broken = two_tuned.with_name("broken.json")
    broken.write_text("{}")

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        screen = await ready(app, pilot)
        await pilot.press("v")
        app.screen.query_one(Input).value = str(weaker_record)
        await pilot.pause()
        await pilot.press("enter")
        await until(pilot, lambda: screen.other is not None)
        assert screen.heat.picture.has_two_sides
        assert screen.heat.picture.cells["1", "attention q"].text.startswith("+")
        assert "most different" in screen.query_one("#tensor", LinesView).text
        await pilot.press("n")
        assert screen.heat.cell[1] == "embedding"
        await pilot.press("x")
        assert screen.heat.picture.cells["1", "attention q"].text.startswith("-")
        await pilot.press("v")
        assert screen.other is None
        for path in (weaker_record, broken):
            await pilot.press("b")
            app.screen.query_one(Input).value = str(path)
            await pilot.pause()
            await pilot.press("enter")
            await until(pilot, lambda: screen.loaded is not None and screen.loaded.path == weaker_record)
        await until(pilot, lambda: bool(told(app)))
        assert "broken.json" in told(app)[-1]
        assert screen.loaded is not None
        assert screen.loaded.path == weaker_record, "what was shown stays"
        await pilot.press("N")
        assert told(app)[-1] == "no tensor stands out"

    drive(app_of(two_tuned, record_file), act, notifications=True)


def test_the_mouse_chooses_cells_and_a_double_click_opens_one(two_tuned: Path, record_file: Path) -> None:
    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        screen = await ready(app, pilot)
        heat = screen.heat
        await pilot.mouse_down(HeatMap, offset=(22, 1))
        await pilot.hover(HeatMap, offset=(36, 3))
        await pilot.mouse_up(HeatMap, offset=(36, 3))
        assert heat.chosen[0] == ("0", "attention q")
        assert heat.chosen[-1] == ("2", "attention v")
        await pilot.click(HeatMap, offset=(22, 0))
        assert [row for row, _ in heat.chosen] == ["0", "1", "2", "3"]
        await pilot.click(HeatMap, offset=(36, 2), times=2)
        assert screen.query_one("#tensor").has_focus

    drive(app_of(two_tuned, record_file), act)


def test_statistics_are_written_as_files(two_tuned: Path, record_file: Path) -> None:
    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        await ready(app, pilot)
        for kind, keys in (("html", ()), ("csv", ("down",)), ("svg", ("up",))):
            await pilot.press("E", *keys, "enter")
            await pilot.pause()
            files = list(two_tuned.parent.glob(f"*-stats.{kind}"))
            assert files, kind
        assert "</svg>" in files[0].read_text()
        before = {path.name for path in two_tuned.parent.iterdir()}
        for name in ("", "~nosuchuser/x.csv", "n" * 300 + ".csv"):
            await pilot.press("E")
            app.screen.query_one(Input).value = name
            await pilot.press("down", "enter", "enter")
            assert len(app.screen_stack) == 2, name
            await pilot.press("escape", "b")
            app.screen.query_one(Input).value = name
            await pilot.press("escape")
        assert {path.name for path in two_tuned.parent.iterdir()} == before

    drive(app_of(two_tuned, record_file), act)


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
def test_narrow_and_wide_show_what_fits(two_tuned: Path, record_file: Path, size: tuple[int, int]) -> None:
    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        screen = await ready(app, pilot)
        shown = {pane: screen.query_one(f"#{pane}").display for pane in ("heat", "detail", "plot", "list")}
        is_wide = size[0] > 100
        assert shown == {"heat": True, "detail": is_wide, "plot": True, "list": is_wide}
        if not is_wide:
            await pilot.press("enter")
            assert screen.query_one("#detail").display
            assert not screen.query_one("#heat").display
            text = "\n".join(strip.text for strip in app.screen._compositor.render_strips())
            assert "model.layers" in text
            assert "esc back" in text
            await pilot.press("escape")
            assert screen.query_one("#heat").display

    drive(app_of(two_tuned, record_file, ascii_only=size == (80, 24)), act, size)


def test_a_recipe_without_statistics_is_measured_by_a_child(
    two_tuned: Path, record_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child's work is another test's: here it is one that copies a record."""

    def copying(recipe: Path, into: Path) -> Measurement:
        import subprocess
        import sys
        import tempfile

        into.parent.mkdir(parents=True, exist_ok=True)
        code = f"import shutil; input(); shutil.copy({str(record_file)!r}, {str(into)!r})"
        child = subprocess.Popen([sys.executable, "-S", "-c", code], stdin=subprocess.PIPE)
        return Measurement(recipe, into, child, tempfile.TemporaryFile())

    monkeypatch.setattr("mergegraph_tui.screens.stats_record.measure", copying)

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        screen = screen_of(app)
        assert screen.has_class("-empty")
        await pilot.press("m", "slash", "n", "t", "w", "E", "v", "x")
        assert app.screen is screen, "there is nothing to choose, to write, or to compare"
        await pilot.press("r")
        assert screen.measurement is not None
        stopped = screen.measurement.child
        await pilot.press("r")
        assert screen.measurement is None
        assert (told(app)[-1], stopped.poll() is None) == ("stopped measuring", False)
        stopped.communicate()
        await pilot.press("r")
        assert screen.measurement is not None
        screen.measurement.child.kill()
        screen.measurement.child.communicate()
        await until(pilot, lambda: screen.measurement is None)
        assert "merge.yaml could not be measured." in told(app)[-1]
        await pilot.press("r")
        assert screen.measurement is not None
        screen.measurement.child.communicate(b"go on\n")
        await until(pilot, lambda: screen.loaded is not None)
        assert screen.measurement is None
        assert screen.loaded is not None
        assert screen.loaded.path == measured_file(app.workspace.document)
        assert not screen.has_class("-empty")

    drive(app_of(two_tuned, None), act, notifications=True)


def test_a_child_measures_a_recipe(two_tuned: Path, tmp_path: Path) -> None:
    found = measure(two_tuned, tmp_path / "kept" / "a.json")
    assert isinstance(found, Measurement)
    found.child.wait(60)
    assert found.ended() == tmp_path / "kept" / "a.json"
    assert (tmp_path / "kept" / "a.json").is_file()
