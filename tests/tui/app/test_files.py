"""Recipes are opened, begun, saved and left; nothing that was typed is lost without a question."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest
from mergegraph_tui import keeping
from mergegraph_tui.app import MergegraphApp
from mergegraph_tui.dialogs.confirm import Confirm
from mergegraph_tui.dialogs.new import New
from mergegraph_tui.dialogs.open import Open
from mergegraph_tui.dialogs.pick import PickDialog
from mergegraph_tui.dialogs.save_as import SaveAs
from mergegraph_tui.model.autosave import recoverable
from mergegraph_tui.model.recent import recent, remember
from mergegraph_tui.model.recipes import entries_at
from mergegraph_tui.starting import workspace_of
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from tests.tui.app.piloting import drive, press, settle, until

TYPED = "mergegraph: 1\nnodes:\n  x: a + b\n"


def app_of(recipe: Path | None) -> MergegraphApp:
    return MergegraphApp(workspace_of(recipe))


def type_text(app: MergegraphApp, text: str = TYPED) -> None:
    app.workspace.document.edit(text, "typing")
    app.changed()


def test_a_recipe_is_saved_and_saved_as_and_a_file_is_replaced_only_when_asked(recipe: Path) -> None:
    other = recipe.with_name("other.yaml")
    other.write_text("mine")

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        type_text(app)
        await press(app, pilot, "ctrl+s")
        assert recipe.read_text() == TYPED
        assert not app.workspace.document.is_dirty
        await pilot.press("S")
        assert isinstance(app.screen, SaveAs)
        app.screen.query_one(Input).value = "other"
        await pilot.press("enter")
        assert isinstance(app.screen, Confirm)
        await pilot.press("escape")
        assert other.read_text() == "mine"
        assert app.workspace.document.path == recipe
        await pilot.press("S")
        app.screen.query_one(Input).value = "other"
        await press(app, pilot, "enter", "r")
        assert other.read_text() == TYPED
        assert app.workspace.document.path == other
        assert recent()[0] == other

    drive(app_of(recipe), act)


def test_another_recipe_is_opened_and_the_unsaved_one_asked_about(recipe: Path) -> None:
    text = recipe.read_text()
    other = recipe.with_name("other.yaml")
    other.write_text(text.replace("merged", "blend"))

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        type_text(app)
        await press(app, pilot, "o")
        dialog = app.screen
        assert isinstance(dialog, Open)
        await pilot.press(*"oth")
        assert [option.prompt for option in dialog.query_one(OptionList).options if "other.yaml" in str(option.prompt)]
        assert dialog.query_one(OptionList).option_count == 1
        while "4 nodes" not in str(dialog.query_one(OptionList).get_option_at_index(0).prompt):
            await pilot.pause(0.01)
        await pilot.press("enter")
        assert isinstance(app.screen, Confirm)
        await press(app, pilot, "s")
        assert recipe.read_text() == TYPED
        assert "blend" in app.workspace.drawn.nodes
        assert app.workspace.document.path == other.absolute()

    drive(app_of(recipe), act)


def test_a_path_is_typed_to_open_and_tab_browses(recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "deeper" / "deepest"
    folder.mkdir(parents=True)
    (folder / "far.yaml").write_text(recipe.read_text())

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        await pilot.press("o", "tab")
        field = app.screen.query_one(Input)
        assert field.value == f"{tmp_path}/"
        await pilot.press(*"deep", "tab", "tab", "tab", "tab")
        assert field.value == str(folder / "far.yaml")
        await press(app, pilot, "enter")
        assert app.workspace.document.path == folder / "far.yaml"

    drive(app_of(recipe), act)


def test_a_new_recipe_begins_as_a_template_and_asks_for_its_name(recipe: Path) -> None:
    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        await pilot.press("ctrl+n")
        assert isinstance(app.screen, New)
        await press(app, pilot, *"ties", "enter")
        assert app.workspace.document.path is None
        assert "agreed" in app.workspace.drawn.nodes
        await pilot.press("ctrl+s")
        assert isinstance(app.screen, SaveAs)
        app.screen.query_one(Input).value = "new.yaml"
        await press(app, pilot, "enter")
        assert recipe.with_name("new.yaml").read_text() == app.workspace.document.text

    drive(app_of(recipe), act)


def test_a_file_that_changed_on_disk_is_taken_over_or_asked_about(recipe: Path) -> None:
    text = recipe.read_text()

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        recipe.write_text(text + "# theirs\n")
        app.look_at_file()
        await settle(app, pilot)
        assert app.workspace.document.text.endswith("# theirs\n")
        await press(app, pilot, "u")
        assert app.workspace.document.text == text

        recipe.write_text(text + "# theirs again\n")
        app.look_at_file()
        await pilot.pause()
        assert isinstance(app.screen, Confirm)
        await press(app, pilot, "k", "ctrl+s")
        assert recipe.read_text() == text

        type_text(app)
        recipe.write_text(text + "# a third time\n")
        await press(app, pilot, "ctrl+s")
        assert isinstance(app.screen, Confirm)
        await pilot.press("escape")
        app.look_at_file()
        await pilot.pause()
        await press(app, pilot, "r")
        assert app.workspace.document.text == text + "# a third time\n"
        recipe.unlink()
        app.look_at_file()
        assert app.workspace.document.save() is None

    drive(app_of(recipe), act)


def test_a_recipe_that_has_no_file_yet_does_not_replace_one_that_came_to_be(tmp_path: Path) -> None:
    path = tmp_path / "begun.yaml"

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        type_text(app)
        path.write_text("theirs")
        await press(app, pilot, "ctrl+s")
        assert isinstance(app.screen, Confirm)
        assert path.read_text() == "theirs"
        await press(app, pilot, "r")
        assert path.read_text() == TYPED

    drive(app_of(path), act)


def test_unsaved_text_is_kept_and_offered_after_a_crash(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "AUTOSAVE_SECONDS", 0.01)
    crash = (
        "import os, sys\nfrom pathlib import Path\nfrom mergegraph_tui.model.autosave import Autosave\n"
        "Autosave().keep(Path(sys.argv[1]), sys.argv[2])\nos._exit(9)"
    )
    subprocess.run([sys.executable, "-c", crash, str(recipe), TYPED], check=False)

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        await pilot.pause()
        assert isinstance(app.screen, Confirm)
        await press(app, pilot, "t")
        assert app.workspace.document.text == TYPED
        assert app.workspace.document.can_undo == "recover"
        assert recoverable(recipe) == ()
        while not (files := list((Path(os.environ["XDG_STATE_HOME"]) / "mergegraph" / "unsaved").glob("*.json"))):
            await pilot.pause(0.01)
        await press(app, pilot, "ctrl+s")
        while files[0].exists():
            await pilot.pause(0.01)

    drive(app_of(recipe), act)


def test_what_is_not_saved_is_kept_when_the_app_ends_by_itself_and_not_when_it_is_unwanted(recipe: Path) -> None:
    async def fall(app: MergegraphApp, pilot: Pilot[int]) -> None:
        type_text(app)

    async def leave(app: MergegraphApp, pilot: Pilot[int]) -> None:
        type_text(app)
        await pilot.press("ctrl+q", "d")

    unsaved = Path(os.environ["XDG_STATE_HOME"]) / "mergegraph" / "unsaved"
    drive(app_of(recipe), leave)
    assert list(unsaved.glob("*.json")) == []
    drive(app_of(recipe), fall)
    assert len(list(unsaved.glob("*.json"))) == 1


def test_the_text_is_edited_in_an_editor_as_one_step(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "e")
        assert app.workspace.document.text == recipe.read_text(), "no terminal to hand over"
        monkeypatch.setattr(app, "suspend", nullcontext)
        await press(app, pilot, "e")
        assert "0.7*" in app.workspace.document.text
        assert app.workspace.document.can_undo == "$EDITOR"

    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", "sed -i s/0.6/0.7/")
    drive(app_of(recipe), act)


@dataclass
class LivingRun:
    outputs: tuple[Path, ...] = (Path("out/merged"),)
    pid: int = 0

    def is_alive(self) -> bool:
        return True

    def progress(self) -> None:
        return None

    def end(self) -> None:
        return None


def test_leaving_asks_when_something_is_unsaved_or_a_run_lives(recipe: Path) -> None:
    async def stay(app: MergegraphApp, pilot: Pilot[int]) -> None:
        type_text(app)
        await pilot.press("ctrl+q")
        assert isinstance(app.screen, Confirm)
        await pilot.press("escape")
        assert app.return_code is None
        app.workspace.run = LivingRun()
        await pilot.press("ctrl+q", "s")
        assert recipe.read_text() == TYPED
        assert isinstance(app.screen, Confirm)
        await pilot.press("l")
        assert app.return_code == 0

    drive(app_of(recipe), stay)


NO_FILE = [
    ("", "nothing"),
    ("~nosuchuser/x", "nobody is called so"),
    ("n" * 300, "a name that is too long"),
    ("/", "the root"),
    ("a/" * 3000, "a path that is too long"),
    ("./x\0/y", "a NUL character in a folder"),
    ("..", "a folder"),
]


def test_a_name_that_no_file_can_have_is_refused_and_ends_nothing(recipe: Path) -> None:
    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        for key, dialog in (("S", SaveAs), ("o", Open), ("m", PickDialog)):
            # A short one is a part of the paths of models that are there.
            for name, reason in [row for row in NO_FILE if key != "m" or len(row[0]) > 2]:
                await pilot.press(key)
                await until(pilot, lambda dialog=dialog: isinstance(app.screen, dialog))  # type: ignore[misc]
                app.screen.query_one(Input).value = name
                await pilot.press("enter", "escape")
                assert app.workspace.document.path == recipe, (key, reason)
                assert len(app.screen_stack) == 1, (key, reason)
        assert app.workspace.document.text == recipe.read_text()

    drive(app_of(recipe), act)


def test_a_link_that_leads_nowhere_hides_no_other_recipe(recipe: Path) -> None:
    recipe.with_name("a.yaml").symlink_to("nothing")
    assert [each.shown for each in entries_at("./", recipe.parent)] == ["merge.yaml"]


def test_a_folder_that_goes_away_ends_nothing(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = recipe.parent / "away"
    folder.mkdir()
    (folder / "merge.yaml").write_text(recipe.read_text())
    monkeypatch.chdir(folder)
    app = app_of(Path("merge.yaml"))

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        shutil.rmtree(folder)
        for keys in ("D", "ma", "S", "o", "p"):
            for key in keys:
                await pilot.press(key, "escape")
        await pilot.press("ctrl+n", "escape", "f4", "r", "b", "escape", "f3", "v", "escape", "f2", "S", "enter")
        app.look_at_file()
        await pilot.pause(0.1)
        assert app.workspace.document.path == folder / "merge.yaml"
        assert app.workspace.document.can_undo
        assert "code_2" in app.workspace.document.text or "base_2" in app.workspace.document.text

    drive(app, act)
    monkeypatch.chdir(recipe.parent)
    (kept,) = (recipe.parent / "state" / "mergegraph" / "unsaved").glob("*.json")
    assert app.workspace.document.text == json.loads(kept.read_text())["text"], "what was not saved is kept"


def test_a_name_with_brackets_is_no_markup(recipe: Path) -> None:
    """Neither a node's nor a folder's; what stands in a broken recipe is shown as well."""
    folder = recipe.parent / "a[" / "b]"
    folder.mkdir(parents=True)
    path = folder / "[red].yaml"
    path.write_text(recipe.read_text().replace("  code:", '  "[/x]": ./x\n  code:'))
    remember(path)

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        app.workspace.selected = "[/x]"
        app.sync()
        for key in ("c", "C", "R", "a", "X", "o", "S", "ctrl+o"):
            await pilot.press(key, "escape")
        for typed in ("", "go to", "red"):
            await pilot.press("ctrl+p")
            app.screen.query_one(Input).value = typed
            await pilot.pause(0.2)
            await pilot.press("escape")
        assert len(app.screen_stack) == 1

    drive(app_of(path), act)
