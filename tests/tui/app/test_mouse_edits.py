"""The graph by mouse: drag to wire, drop on nothing to add, double click to edit, the right button's menu, ctrl and the
wheel."""

from __future__ import annotations

from pathlib import Path

from mergegraph_tui.app import MergegraphApp
from mergegraph_tui.dialogs.add_node import AddNode
from mergegraph_tui.dialogs.pick import PickDialog, PickList
from mergegraph_tui.starting import workspace_of
from mergegraph_tui.widgets.graph_canvas import GraphCanvas
from mergegraph_tui.widgets.inspector import FieldInput
from textual import events
from textual.pilot import Pilot

from tests.tui.app.piloting import drive, press, settle, told, until


def place(canvas: GraphCanvas, node: str) -> tuple[int, int]:
    """A cell of a node in the widget."""
    for y in range(canvas.size.height):
        for x in range(canvas.size.width):
            if canvas.node_at(x, y) == node:
                return x + 1, y
    raise AssertionError(f"{node} is not to be seen")


async def drag(pilot: Pilot[int], start: tuple[int, int], end: tuple[int, int]) -> None:
    await pilot.mouse_down(GraphCanvas, offset=start)
    await pilot.hover(GraphCanvas, offset=((start[0] + end[0]) // 2, (start[1] + end[1]) // 2))
    await pilot.hover(GraphCanvas, offset=end)
    await pilot.mouse_up(GraphCanvas, offset=end)
    await pilot.pause()


def test_the_graph_by_mouse(recipe: Path) -> None:
    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        document, canvas = app.workspace.document, app.screen.query_one(GraphCanvas)
        await drag(pilot, place(canvas, "code"), place(canvas, "out"))
        await settle(app, pilot)
        assert document.can_undo == "connect code to out"
        assert "input: code" in document.text
        await press(app, pilot, "u")
        await drag(pilot, place(canvas, "code"), place(canvas, "base"))
        assert told(app)[-1] == "base takes no inputs"
        assert document.text == recipe.read_text()
        await drag(pilot, place(canvas, "code"), (0, 0))
        await until(pilot, lambda: isinstance(app.screen, AddNode))
        assert "after code" in str(app.screen.query_one("#frame").border_title)
        await press(app, pilot, "escape")
        await pilot.click(GraphCanvas, offset=place(canvas, "merged"), times=2)
        await until(pilot, lambda: app.screen.query_one(FieldInput).has_focus)
        await press(app, pilot, "escape", "escape")
        assert canvas.has_focus
        await pilot.click(GraphCanvas, offset=(0, 0), times=2)
        await until(pilot, lambda: isinstance(app.screen, AddNode))
        await press(app, pilot, "escape")
        assert document.text == recipe.read_text()

    drive(MergegraphApp(workspace_of(recipe)), act, notifications=True)


def test_wires_by_mouse(recipe: Path) -> None:
    recipe.write_text(recipe.read_text() + "  also: {op: save, input: merged, path: out/also}\n")

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        document, canvas = app.workspace.document, app.screen.query_one(GraphCanvas)
        trunk = wire(canvas, ("merged", "out"), ("merged", "also"))
        branch = wire(canvas, ("merged", "also"))
        await pilot.click(GraphCanvas, offset=branch, times=2)
        await until(pilot, lambda: isinstance(app.screen, AddNode))
        await press(app, pilot, *"scale", "enter")
        assert document.can_undo == "insert scale"
        nodes = app.workspace.drawn.nodes
        assert (nodes["also"].sources, nodes["out"].sources) == (("scale",), ("merged",)), "only on that wire"
        await press(app, pilot, "u")
        await pilot.click(GraphCanvas, offset=trunk, button=3)
        await until(pilot, lambda: isinstance(app.screen, PickDialog))
        assert isinstance(app.screen, PickDialog)
        assert [choice.label for choice in app.screen.found] == ["Insert", "Cut", "Cut"]
        await press(app, pilot, "enter")
        await until(pilot, lambda: isinstance(app.screen, AddNode))
        await press(app, pilot, *"scale", "enter")
        nodes = app.workspace.drawn.nodes
        assert (nodes["also"].sources, nodes["out"].sources) == (("scale",), ("scale",)), "on both"
        await press(app, pilot, "u")
        await pilot.click(GraphCanvas, offset=trunk, button=3)
        await until(pilot, lambda: isinstance(app.screen, PickDialog))
        await press(app, pilot, *"also", "enter")
        assert document.can_undo == "cut merged from also"
        assert "also: {op: save, path: out/also}" in document.text

    drive(MergegraphApp(workspace_of(recipe)), act)


def wire(canvas: GraphCanvas, *wires: tuple[str, str]) -> tuple[int, int]:
    """A cell in the widget through which just these wires run."""
    for y in range(canvas.size.height):
        for x in range(canvas.size.width):
            if set(canvas.wires_at(x, y)) == set(wires):
                return x, y
    raise AssertionError(f"{wires} do not run together")


def test_the_menu_of_a_node_and_the_wheel(recipe: Path) -> None:
    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        canvas = app.screen.query_one(GraphCanvas)
        await pilot.click(GraphCanvas, offset=place(canvas, "merged"), button=3)
        await until(pilot, lambda: isinstance(app.screen, PickDialog))
        assert isinstance(app.screen, PickDialog)
        assert [choice.label for choice in app.screen.found][:2] == ["Edit", "Add"]
        row = [choice.label for choice in app.screen.found].index("Delete")
        lines = app.screen.query_one(PickList)
        await pilot.hover(PickList, offset=(4, row))
        assert lines.is_lit(str(row))
        await pilot.click(PickList, offset=(4, row))
        await until(pilot, lambda: app.workspace.document.can_undo != "")
        assert app.workspace.document.can_undo == "delete merged"
        assert canvas.fit is not None
        size = canvas.fit.size
        wheel = events.MouseScrollDown(canvas, 5, 5, 0, 0, 0, False, False, True)
        canvas.post_message(wheel)
        await pilot.pause()
        assert canvas.fit.size != size

    drive(MergegraphApp(workspace_of(recipe)), act)
