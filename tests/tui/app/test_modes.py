"""The three modes over one workspace."""

from __future__ import annotations

from pathlib import Path

import pytest
from mergegraph_tui.app import MergegraphApp
from mergegraph_tui.starting import workspace_of
from mergegraph_tui.widgets.graph_canvas import GraphCanvas
from textual.pilot import Pilot

from tests.tui.app.piloting import drive, press


def test_a_recipe_is_drawn_and_a_key_deletes_and_undoes(recipe: Path) -> None:
    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        assert list(app.screen.query_one(GraphCanvas).graph.nodes) == ["base", "code", "merged", "out"]
        await press(app, pilot, "tab", "tab", "d")
        assert "merged" not in app.workspace.drawn.nodes
        assert app.workspace.document.is_dirty
        await press(app, pilot, "u")
        assert "merged" in app.workspace.drawn.nodes
        assert app.workspace.document.text == recipe.read_text()

    drive(MergegraphApp(workspace_of(recipe)), act)


@pytest.mark.parametrize("keys", [("1",), ("2",), ("3",), ("1", "question_mark"), ("1", "a"), ("1", "o"), ("1", "p")])
def test_no_window_is_too_small(recipe: Path, keys: tuple[str, ...]) -> None:
    recipe.write_text(recipe.read_text() + "  wrong: {op: nothing}\n")

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, *keys)
        for size in ((40, 12), (5, 2), (1, 1), (3, 40), (120, 1), (120, 40)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
        assert app.is_running

    drive(MergegraphApp(workspace_of(recipe)), act)


@pytest.mark.parametrize(("key", "mode"), [("f3", "run"), ("2", "run"), ("f4", "stats"), ("3", "stats")])
def test_a_key_shows_a_mode(recipe: Path, key: str, mode: str) -> None:
    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        await pilot.press(key)
        assert app.current_mode == mode
        await pilot.press("1")
        assert app.current_mode == "edit"

    drive(MergegraphApp(workspace_of(recipe)), act)
