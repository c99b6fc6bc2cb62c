"""What there is can be found: help, the palette, jump mode; and keys can be the user's own."""

from __future__ import annotations

import os
import pkgutil
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path

import mergegraph_tui
import pytest
from mergegraph_tui.app import MergegraphApp
from mergegraph_tui.dialogs.help import Help, Topic
from mergegraph_tui.dialogs.jump import Jump
from mergegraph_tui.keys import EVERYWHERE, PLACES, own_bindings
from mergegraph_tui.model.recent import remember
from mergegraph_tui.screens.run import RunScreen
from mergegraph_tui.starting import theme_of_user, workspace_of
from mergegraph_tui.theme import THEMES
from mergegraph_tui.widget_keys import TITLES, all_actions, all_places, all_widgets
from mergegraph_tui.widgets.graph_canvas import GraphCanvas
from textual.command import CommandPalette
from textual.dom import DOMNode
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from tests.tui.app.piloting import drive, press, screen_text, until


def test_help_says_the_keys_of_where_you_are_first_and_typing_filters(recipe: Path) -> None:
    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        await pilot.press("question_mark")
        assert isinstance(app.screen, Help)
        await pilot.pause()
        shown = screen_text(app)
        assert shown.index("add a node after") < shown.index("the run and its progress")
        assert "move" in shown
        app.screen.query_one(Input).value = "rename"
        await pilot.pause()
        shown = screen_text(app)
        assert "rename everywhere" in shown
        assert "add a node after" not in shown
        await pilot.press("escape", "2", "question_mark")
        assert app.current_mode == "run"
        await pilot.pause()
        shown = screen_text(app)
        assert shown.index("start, pause, go on") < shown.index("duplicate the node")

    drive(MergegraphApp(workspace_of(recipe)), act, size=(60, 160))  # one column


def test_a_topic_is_filtered_by_all_words_of_keys_and_sayings() -> None:
    topic = Topic("Graph", (("a", "add a node"), ("d", "delete a node"), ("g", "graph or rail")))
    assert topic.filtered("node del").rows == (("d", "delete a node"),)
    assert topic.filtered("graph").rows == topic.rows
    assert topic.filtered("zebra").rows == ()


def test_the_palette_knows_actions_nodes_and_recipes(recipe: Path) -> None:
    other = recipe.with_name("other.yaml")
    other.write_text(recipe.read_text())
    remember(other)

    async def found(app: MergegraphApp, pilot: Pilot[int], typed: str) -> str:
        await pilot.press("ctrl+p")
        app.screen.query_one(Input).value = typed
        await pilot.pause(0.2)
        return str(app.screen.query_one(OptionList).get_option_at_index(0).prompt)

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        assert "Go to merged" in await found(app, pilot, "go to mer")
        await press(app, pilot, "enter")
        assert app.workspace.selected == "merged"
        assert app.screen.query_one(GraphCanvas).cursor == "merged"
        assert "Delete" in await found(app, pilot, "delete jo")
        await press(app, pilot, "enter")
        assert "merged" not in app.workspace.drawn.nodes
        assert "Undo: delete merged" in await found(app, pilot, "undo")
        await press(app, pilot, "enter")
        assert "merged" in app.workspace.drawn.nodes
        assert "other.yaml" in await found(app, pilot, "other.yaml")
        await press(app, pilot, "enter")
        assert app.workspace.document.path == other

    drive(MergegraphApp(workspace_of(recipe)), act)


def test_a_theme_is_shown_while_the_cursor_is_on_it_and_kept_when_chosen(recipe: Path) -> None:
    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        for last, theme in (("escape", "dark"), ("enter", "light")):
            await pilot.press("ctrl+p")
            app.screen.query_one(Input).value = "theme: light"
            await pilot.pause(0.2)
            assert app.theme == THEMES["light"].name
            await pilot.press(last)
            await pilot.pause(0.1)
            assert app.theme == THEMES[theme].name  # type: ignore[index]
            assert not isinstance(app.screen, CommandPalette)
            await until(pilot, lambda theme=theme: theme_of_user() == theme)  # type: ignore[misc]

    drive(MergegraphApp(workspace_of(recipe)), act)
    assert theme_of_user() == "light", "for the next start"


def test_a_letter_jumps_to_a_pane(recipe: Path) -> None:
    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        app.screen.set_focus(None)
        await pilot.press("ctrl+o")
        assert isinstance(app.screen, Jump)
        assert "[ g ]" in screen_text(app)
        await pilot.press("g")
        assert isinstance(app.focused, GraphCanvas)

    drive(MergegraphApp(workspace_of(recipe)), act)


def keys_file(text: str) -> Path:
    path = Path(os.environ["XDG_CONFIG_HOME"]) / "mergegraph" / "keys.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def test_keys_of_the_users_own_act_and_are_shown_in_help(recipe: Path) -> None:
    keys_file('[node]\ndelete = ["z", "ctrl+d"]\n[edit]\nundo = "x"\n')

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "tab", "tab", "d")
        assert not app.workspace.document.is_dirty
        await press(app, pilot, "z")
        assert "merged" not in app.workspace.drawn.nodes
        await press(app, pilot, "x")
        assert "merged" in app.workspace.drawn.nodes
        await pilot.press("question_mark")
        app.screen.query_one(Input).value = "delete, join"
        await pilot.pause()
        assert "z ^d" in screen_text(app)

    drive(MergegraphApp(workspace_of(recipe)), act)


def test_the_key_map_is_written_in_the_editor_and_counts_at_once(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        monkeypatch.setattr(app, "suspend", nullcontext)
        app.action_own_keys()
        await pilot.pause()
        await press(app, pilot, "tab", "tab", "f9")
        assert "merged" not in app.workspace.drawn.nodes
        text = (Path(os.environ["XDG_CONFIG_HOME"]) / "mergegraph" / "keys.toml").read_text()
        assert "# node.add = " in text

    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", """sed -i 's/^# node.delete = "[^"]*"/node.delete = "f9"/'""")
    drive(MergegraphApp(workspace_of(recipe)), act)


WRONG = [
    ("node.ad = 'x'", 'There is no action "node.ad".', "a misspelt action"),
    ("node.add = 'ctlr+x'", 'There is no key "ctlr+x", which "node.add" is given.', "a misspelt modifier"),
    ("node.add = 'entr'", 'There is no key "entr", which "node.add" is given.', "a misspelt key"),
    ("node.add = 7", '"node.add" has no keys.', "a number"),
    ("node.add = []", '"node.add" has no keys.', "no key"),
    ("node.add = 'c'", 'The key c is given to "node.add", and is that of "node.connect" too.', "a key twice"),
    ("node.add = '0'", 'The key 0 is given to "node.add", and is that of "view.fit" too.', "a key of the canvas"),
    ("node.add = ", "The key map cannot be read: Invalid value (at line 2, column 12).", "no TOML"),
]


@pytest.mark.parametrize(("text", "fact", "reason"), WRONG, ids=[row[2] for row in WRONG])
def test_a_wrong_key_map_is_said_and_the_rest_counts(text: str, fact: str, reason: str, recipe: Path) -> None:
    path = keys_file(f"graph.find = 'f9'\n{text}\n")
    app = MergegraphApp(workspace_of(recipe))
    app.read_keys()

    assert [problem.fact for problem in app.key_map.problems] == [fact], reason
    assert app.key_map.problems[0].fix
    assert str(app.key_map.problems[0].at) == str(path)
    assert app.key_map.keys.get("graph.find", "f9") == "f9"


def test_every_key_has_an_id_of_its_own_and_no_place_gives_a_key_two_meanings() -> None:
    for keys in PLACES.values():
        ids = [key.id for key in (*keys, *EVERYWHERE)]
        pressed = [each for key in (*keys, *EVERYWHERE) for each in key.keys.split(",")]
        assert len(set(ids)) == len(ids)
        assert len(set(pressed)) == len(pressed)


def test_every_key_with_an_id_is_known_to_help_and_key_maps() -> None:
    modules = [name for _, name, _ in pkgutil.walk_packages(mergegraph_tui.__path__, "mergegraph_tui.")]
    classes = [each for name in modules for each in vars(import_module(name)).values() if isinstance(each, type)]
    declared = {str(binding.id) for each in classes if issubclass(each, DOMNode) for binding in own_bindings(each)}
    assert declared == set(all_actions())
    assert set(TITLES) == set(all_widgets())


SHADOWS = {
    ("form.clear", "node.delete"): "in the form d clears the field, as in the graph it deletes the node",
    ("heat.none", "stats.back"): "with cells chosen, escape leaves the choice before it leaves the tensor",
    ("graph.right", "run.log"): "on the Run screen l is the log, before it is right",
}


def test_a_widget_shares_a_key_with_its_place_only_where_that_is_meant() -> None:
    shared: set[tuple[str, str]] = set()
    for place in all_places():
        owners: dict[str, str] = {}
        for name, keys in sorted(place.items()):
            for key in keys.split(","):
                shared |= {(owners[key], name)} if key in owners else set()
                owners[key] = name
    assert shared == set(SHADOWS)


def test_the_log_goes_before_the_graph_of_a_run(recipe: Path) -> None:
    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        app.screen.query_one("#graph-pane").display = True
        app.screen.query_one(GraphCanvas).focus()
        await pilot.press("l")
        assert isinstance(app.screen, RunScreen)
        assert app.screen._only_pane == "log"

    drive(MergegraphApp(workspace_of(recipe), mode="run"), act)


def test_a_widget_of_a_screen_that_was_not_shown_takes_keys_of_the_users_own(recipe: Path) -> None:
    keys_file("heat.choose-up = 'f9'\ncurve.write = 'w'\n")

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        assert app.key_map.problems == ()
        await pilot.press("question_mark")
        app.screen.query_one(Input).value = "choose up"
        await pilot.pause()
        assert "f9" in screen_text(app)

    drive(MergegraphApp(workspace_of(recipe)), act)


def test_every_dialog_is_ascii_where_that_is_asked_for(recipe: Path) -> None:
    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        for keys in (["question_mark"], ["o"], ["ctrl+n"], ["S"], ["ctrl+p"], ["ctrl+o"]):
            await pilot.press(*keys)
            await pilot.pause()
            shown = screen_text(app)
            assert shown.isascii(), (keys, {each for each in shown if not each.isascii()})
            await pilot.press("escape")

    drive(MergegraphApp(workspace_of(recipe, ascii_only=True)), act)
