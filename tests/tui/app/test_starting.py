"""How the interface starts: fast, without torch; and in a browser where its server is installed."""

from __future__ import annotations

import asyncio
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from mergegraph_tui import starting, web
from mergegraph_tui.app import MergegraphApp
from mergegraph_tui.screens.opening import OpeningScreen
from mergegraph_tui.starting import workspace_of
from mergegraph_tui.widgets.yaml_pane import YamlPane
from textual import events

from mergegraph.errors import OutputError, RecipeError
from tests.tui.app.piloting import settle, until

STARTED = """
import asyncio, sys
from pathlib import Path
from mergegraph_tui.app import MergegraphApp
from mergegraph_tui.starting import workspace_of

async def run():
    app = MergegraphApp(workspace_of(Path(sys.argv[1])))
    async with app.run_test() as pilot:
        while app.workspace.checked.text != app.workspace.document.text:
            await pilot.pause(0.01)

asyncio.run(run())
print([name for name in ("torch", "mergegraph.stats", "mergegraph_tui.screens.stats") if name in sys.modules])
"""


def test_starting_and_checking_imports_neither_torch_nor_what_is_not_shown(recipe: Path) -> None:
    shown = subprocess.run([sys.executable, "-c", STARTED, str(recipe)], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


FIRST_FRAME = """
import sys
from pathlib import Path
from mergegraph_tui.app import MergegraphApp
from mergegraph_tui.starting import workspace_of

app = MergegraphApp(workspace_of(Path(sys.argv[1])))
app.get_default_screen()
later = ("networkx", "numpy", "yaml", "mergegraph.methods", "mergegraph.pipeline", "mergegraph_tui.screens.edit")
print([name for name in later if name in sys.modules])
"""


def test_the_first_frame_waits_for_nothing_but_the_bar_at_the_top(recipe: Path) -> None:
    shown = subprocess.run([sys.executable, "-c", FIRST_FRAME, str(recipe)], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


def test_the_first_frame_names_the_recipe_and_the_place_that_comes(recipe: Path) -> None:
    """Keys that come before the place wait for it."""

    async def run() -> None:
        app = MergegraphApp(workspace_of(recipe))
        async with app.run_test(size=(80, 24)) as pilot:
            first = app._screen_stacks["_default"][0]
            assert isinstance(first, OpeningScreen)
            app.post_message(events.Key("y", "y"))
            await settle(app, pilot)
            await until(pilot, lambda: isinstance(app.focused, YamlPane))
            assert "merge.yaml" in first._compositor.render_strips()[0].text
            assert "F2 Edit" in first._compositor.render_strips()[0].text

    asyncio.run(run())


def started(recipe: Path | None) -> int:
    return starting.start(recipe, attach=None, ascii_only=True, theme="light", web=True)


def test_the_browser_needs_a_package_and_says_which(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "find_spec", lambda name: None)
    with pytest.raises(OutputError) as caught:
        started(recipe)
    assert caught.value.problems[0].fix == 'pip install "mergegraph[web]"'


def test_the_browser_is_served_the_same_command_from_this_machine_alone(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[tuple[str, str]] = []

    class Server:
        def __init__(self, command: str, *, host: str, port: int, title: str) -> None:
            served.append((command, host))

        def serve(self) -> None:
            pass

    monkeypatch.setattr(web, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "textual_serve", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "textual_serve.server", SimpleNamespace(Server=Server))
    assert started(recipe) == 0
    (command, host) = served[0]
    assert shlex.split(command)[1:] == ["-m", "mergegraph", "tui", "--ascii", "--theme=light", "--", str(recipe)]
    assert host == "localhost"
    assert "--theme" not in web.command_of(recipe, attach=None, ascii_only=False, theme=None), "the one chosen last"


def test_what_is_no_text_is_refused_before_anything_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "model.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError):
        starting.workspace_of(path)
