"""From an empty recipe to a saved one by keys alone; and each edit of the graph is one step with a name."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from mergegraph_tui.app import MergegraphApp
from mergegraph_tui.dialogs.pick import PickDialog
from mergegraph_tui.starting import workspace_of
from mergegraph_tui.widgets.graph_canvas import GraphCanvas
from textual import events
from textual.pilot import Pilot

from mergegraph.pipeline import check
from mergegraph.recipe.load import load_recipe
from tests.tui.app.conftest import LLAMAS
from tests.tui.app.piloting import drive, press, screen_text, settle, told, until


async def typed(app: MergegraphApp, pilot: Pilot[int], text: str) -> None:
    """A name, letter by letter, into a dialog that is there."""
    await until(pilot, lambda: isinstance(app.screen, PickDialog))
    await pilot.press(*text)


def test_base_plus_a_part_of_code_minus_base_in_25_keys(tmp_path: Path) -> None:
    for name in ("base", "code"):
        (tmp_path / "models").mkdir(exist_ok=True)
        (tmp_path / "models" / name).symlink_to(LLAMAS / {"base": "base", "code": "python"}[name])
    path = tmp_path / "merge.yaml"
    pressed = 0

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        async def keys(*names: str) -> None:
            nonlocal pressed
            pressed += len(names)
            await press(app, pilot, *names)

        await keys("a", "enter")
        await typed(app, pilot, "base")
        await keys("enter", "m")
        await typed(app, pilot, "code")
        await keys("enter", "a")
        await typed(app, pilot, "base")
        await keys(*"+0.6*(")
        await typed(app, pilot, "code")
        await keys("-")
        await typed(app, pilot, "base")
        await keys(")", "enter")
        assert app.workspace.selected == "merged"
        await keys("a", "enter", "ctrl+s")
        assert (app.workspace.document.can_undo, app.workspace.document.is_dirty) == ("add out", False)

    drive(MergegraphApp(workspace_of(path)), act)
    assert pressed <= 25
    assert pressed == 18
    assert "merged: base+0.6*(code-base)" in path.read_text()
    assert check(load_recipe(path)).warnings == ()


def test_the_same_of_nodes_wires_what_a_node_needs(recipe: Path) -> None:
    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        app.screen.query_one(GraphCanvas).cursor = "code"
        await press(app, pilot, "a")
        await until(pilot, lambda: isinstance(app.screen, PickDialog))
        await press(app, pilot, "enter")
        assert "d_code: {op: delta, model: code, base: base}" not in app.workspace.document.text, "base is asked for"
        await until(pilot, lambda: isinstance(app.screen, PickDialog))
        await press(app, pilot, "enter")
        assert "d_code: {op: delta, model: code, base: base}" in app.workspace.document.text
        assert app.workspace.selected == "d_code"
        await press(app, pilot, "u")
        assert app.workspace.document.text == recipe.read_text(), "with its wires it was one step"

    drive(MergegraphApp(workspace_of(recipe)), act)


STEPS = [
    ("d", "merged", "delete merged"),
    ("D", "code", "duplicate code"),
    ("X", "out", "cut merged from out"),
    ("b", "out", "bypass out"),
]


@pytest.mark.parametrize(("key", "node", "step"), STEPS, ids=[row[2] for row in STEPS])
def test_a_key_is_one_step_with_a_name(recipe: Path, key: str, node: str, step: str) -> None:
    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        await select(app, pilot, node)
        await press(app, pilot, key)
        assert app.workspace.document.can_undo == step
        await press(app, pilot, "u")
        assert app.workspace.document.text == recipe.read_text()

    drive(MergegraphApp(workspace_of(recipe)), act)


def test_insert_rename_find_and_the_rail(recipe: Path) -> None:
    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        await select(app, pilot, "merged")
        await press(app, pilot, "i")
        await typed(app, pilot, "scale")
        await press(app, pilot, "enter")
        await until(pilot, lambda: app.workspace.document.can_undo != "")
        nodes = app.workspace.drawn.nodes
        assert nodes["out"].sources == ("scale",), app.workspace.document.text
        await press(app, pilot, "R")
        await until(pilot, lambda: len(app.screen_stack) > 1)
        await press(app, pilot, *"held", "enter")
        assert app.workspace.document.can_undo == "rename scale to held"
        assert app.workspace.selected == "held"
        await press(app, pilot, "slash")
        await typed(app, pilot, "cod")
        assert app.workspace.selected == "code", "the graph follows what is marked"
        await press(app, pilot, "escape")
        assert app.workspace.selected == "held", "and goes back when nothing is taken"
        await press(app, pilot, "g", "up")
        assert "rail" in str(app.screen.query_one("#graph").border_subtitle)
        above = app.workspace.selected
        assert above != "held"
        await press(app, pilot, "tab")
        assert app.workspace.selected == "held", "the keys of the graph move in the list"
        await press(app, pilot, "g")
        assert app.screen.query_one(GraphCanvas).cursor == app.workspace.selected

    drive(MergegraphApp(workspace_of(recipe)), act)


def test_connect_asks_for_the_port_where_several_fit(recipe: Path) -> None:
    recipe.write_text(recipe.read_text() + "  d: {op: elect, inputs: [merged]}\n")

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        await select(app, pilot, "code")
        await press(app, pilot, "c")
        assert str(app.screen.query_one("#graph").border_title).startswith("Connect code to")
        app.screen.query_one(GraphCanvas).cursor = "d"
        await press(app, pilot, "enter")
        await until(pilot, lambda: isinstance(app.screen, PickDialog))
        await press(app, pilot, "escape")
        assert not app.workspace.document.can_undo, "without a port there is no wire"
        await select(app, pilot, "code")
        await press(app, pilot, "c")
        app.screen.query_one(GraphCanvas).cursor = "d"
        await press(app, pilot, "enter")
        await until(pilot, lambda: isinstance(app.screen, PickDialog))
        await press(app, pilot, "down", "enter")
        assert app.workspace.document.can_undo == "connect code to d"
        assert "base: code" in app.workspace.document.text
        assert str(app.screen.query_one("#graph").border_title) == "Graph"

    drive(MergegraphApp(workspace_of(recipe)), act)


def test_in_the_rail_the_other_end_of_a_wire_is_picked_from_a_list(recipe: Path) -> None:
    async def offered(app: MergegraphApp, pilot: Pilot[int], key: str) -> tuple[str, list[tuple[str, str]]]:
        await press(app, pilot, key)
        await until(pilot, lambda: isinstance(app.screen, PickDialog))
        dialog = app.screen
        assert isinstance(dialog, PickDialog)
        return dialog.title_text(), [(choice.label, choice.refused) for choice in dialog.found]

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        document = app.workspace.document
        await select(app, pilot, "code")
        await press(app, pilot, "g")
        title, ends = await offered(app, pilot, "c")
        assert title == "Connect code to"
        assert ends == [("merged", ""), ("out", ""), ("base", '"base" takes no inputs.')], "what fits comes first"
        await press(app, pilot, *"base", "enter")
        assert isinstance(app.screen, PickDialog), "what does not fit is not taken"
        await press(app, pilot, *["backspace"] * 4, *"out", "enter")
        assert document.can_undo == "connect code to out"
        assert "input: code" in document.text
        assert app.workspace.selected == "out"
        title, ends = await offered(app, pilot, "C")
        assert title == "Connect to out from"
        assert [label for label, _ in ends] == ["base", "code", "merged"]
        await press(app, pilot, *"base", "enter")
        assert document.can_undo == "connect base to out"
        assert "input: base" in document.text
        await press(app, pilot, "u", "u", "X")
        assert document.can_undo == "cut merged from out"
        await press(app, pilot, "X")
        assert told(app)[-1] == "out has no wires"

    drive(MergegraphApp(workspace_of(recipe)), act, notifications=True)


def test_a_graph_that_cannot_be_read_any_more_is_dimmed_and_said(recipe: Path) -> None:
    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        app.apply(app.workspace.document.text + "broken: [\n", "type")
        await settle(app, pilot)
        graph = app.screen.query_one("#graph")
        assert graph.has_class("-stale")
        assert "of the last good text" in str(graph.border_title)
        await press(app, pilot, "d")
        assert app.workspace.document.can_undo == "type", "nothing is deleted from it"

    drive(MergegraphApp(workspace_of(recipe)), act)


async def select(app: MergegraphApp, pilot: Pilot[int], node: str) -> None:
    app.screen.query_one(GraphCanvas).cursor = node
    await pilot.pause()
    assert app.workspace.selected == node


def test_models_are_picked_by_a_burst_of_keys_before_they_are_found(tmp_path: Path) -> None:
    for name in ("base", "code"):
        (tmp_path / "models").mkdir(exist_ok=True)
        (tmp_path / "models" / name).symlink_to(LLAMAS / {"base": "base", "code": "python"}[name])

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        await burst(app, pilot, "m", *"base", "enter", "m", *"code", "enter", "a", *"code-base", "enter")
        assert list(app.workspace.drawn.nodes) == ["base", "code", "merged"], app.workspace.document.text

    drive(MergegraphApp(workspace_of(None)), act)


def test_a_folder_of_the_picker_is_opened_until_a_model_is_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(hub))
    for folder in ("work", "other"):
        (tmp_path / folder).mkdir()
    (tmp_path / "other" / "base").symlink_to(LLAMAS / "base")
    (hub / "models--org--name" / "snapshots").mkdir(parents=True)
    (hub / "models--org--name" / "snapshots" / "main").symlink_to(LLAMAS / "base")

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "m")
        await typed(app, pilot, "org")
        await until(pilot, lambda: "Hub cache" in screen_text(app))
        await pilot.press(*["backspace"] * 3, *"../ot")
        assert "a folder: enter opens it" in screen_text(app)
        await pilot.press("enter")
        assert isinstance(app.screen, PickDialog)
        assert app.screen.typed == "../other/"
        await press(app, pilot, *"ba", "enter")
        assert "base: ../other/base" in app.workspace.document.text

    drive(MergegraphApp(workspace_of(tmp_path / "work" / "merge.yaml")), act)


def test_keys_in_one_burst_reach_the_dialogs_that_they_open(recipe: Path) -> None:
    """As a slow line brings them: nothing is waited for between two keys."""

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        document = app.workspace.document
        await burst(app, pilot, "slash", *"merged", "enter", "i", *"scale", "enter", "R", *["backspace"] * 5, *"held",
                    "enter", "D", "d")  # fmt: skip
        assert app.workspace.drawn.nodes["out"].sources == ("held",), document.text
        assert len(app.screen_stack) == 1
        steps: list[str] = []
        while document.can_undo:
            steps.append(document.can_undo)
            document.undo()
        assert steps == ["delete held_2", "duplicate held", "rename scale to held", "insert scale"]

    drive(MergegraphApp(workspace_of(recipe)), act)


def test_a_recipe_is_built_by_one_burst_of_keys(recipe: Path) -> None:
    """The node that was just added is known to the next dialog, although no check has come to it yet."""
    recipe.write_text(recipe.read_text().partition("nodes:")[0])

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        await burst(app, pilot, "a", *"base+0.6*(code-base)", "enter", "a", *"scale", "enter", "enter", *"0.5", "enter",
                    "escape", "a", *"save", "enter", "ctrl+s")  # fmt: skip
        assert {name: node.sources for name, node in app.workspace.drawn.nodes.items()} == {
            "base": (), "code": (), "merged": ("base", "code"), "scale": ("merged",), "out": ("scale",),
        }, app.workspace.document.text  # fmt: skip
        assert "by: 0.5" in app.workspace.document.text
        assert not app.workspace.document.is_dirty

    drive(MergegraphApp(workspace_of(recipe)), act)


async def burst(app: MergegraphApp, pilot: Pilot[int], *keys: str) -> None:
    """Keys that come at once, and what comes of them."""
    for key in keys:
        app.post_message(events.Key(key, key if len(key) == 1 else None))
    taken = asyncio.Event()
    app.call_later(taken.set)
    await taken.wait()
    await until(pilot, lambda: not app.keys_wait)
    await settle(app, pilot)
