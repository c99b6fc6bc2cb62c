"""Whatever is pressed, the interface goes on. The keys are the same in every run."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from mergegraph_tui.app import MergegraphApp
from mergegraph_tui.starting import workspace_of
from textual.pilot import Pilot

from tests.tui.app.piloting import drive, press
from tests.tui.app.test_form import SCHEDULED

KEYS = [
    "a",
    "A",
    "m",
    "i",
    "c",
    "C",
    "X",
    "R",
    "d",
    "D",
    "b",
    "slash",
    "g",
    "y",
    "n",
    "N",
    "u",
    "ctrl+r",
    "ctrl+o",
    "ctrl+p",
    "question_mark",
    "f2",
    "f3",
    "f4",
    "1",
    "2",
    "3",
    "S",
    "o",
    "ctrl+n",
    "enter",
    "enter",
    "enter",
    "escape",
    "escape",
    "tab",
    "shift+tab",
    "up",
    "down",
    "left",
    "right",
    "up",
    "down",
    "left",
    "right",
    "plus",
    "minus",
    "0",
    "s",
    "M",
    "v",
    "w",
    "x",
    "t",
    "E",
    "h",
    "j",
    "k",
    "pageup",
    "pagedown",
    "home",
    "end",
    "shift+down",
    "shift+right",
    "ctrl+a",
    "delete",
    "backspace",
    "q",
    "z",
    "5",
    "full_stop",
    "left_square_bracket",
    "left_curly_bracket",
    "colon",
    "comma",
    "quotation_mark",
    "ctrl+u",
    "ctrl+k",
    "ctrl+x",
    "ctrl+v",
]
"""But those that start a child, an editor, or leave."""


@pytest.mark.parametrize(("seed", "size"), [(3, (80, 24)), (17, (200, 50))])
def test_random_keys_end_nothing(seed: int, size: tuple[int, int], recipe: Path) -> None:
    recipe.write_text(recipe.read_text() + SCHEDULED)
    chosen = random.Random(seed).choices(KEYS, k=60)

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        for key in chosen:
            await pilot.press(key)
            assert app.is_running
        assert app.return_code is None

    drive(MergegraphApp(workspace_of(recipe)), act, size)


def test_the_graph_follows_what_happens_while_the_rail_is_shown(recipe: Path) -> None:
    recipe.write_text(recipe.read_text() + "  k: {op: soup, inputs: [base, code, merged]}\n")

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        before = recipe.read_text()
        await press(app, pilot, "g")
        app.workspace.selected = "k"
        app.sync()
        for text in (
            before.replace(", merged]", "]"),
            before.replace(", merged]", "]").replace("op: soup", "op: soup, normalize: true"),
            before.replace("k: {op: soup", "other: {op: soup"),
            before,
            before.replace("path: out/merged", "path: out/elsewhere"),
        ):
            app.apply(text, "change")
            await press(app, pilot)
        await press(app, pilot, "g")
        assert set(app.screen.query_one("GraphCanvas").graph.nodes) == {"base", "code", "merged", "out", "k"}  # type: ignore[attr-defined]

    drive(MergegraphApp(workspace_of(recipe)), act)
