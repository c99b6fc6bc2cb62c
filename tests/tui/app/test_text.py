"""The text beside the graph: typed in, marked, undone with the document's undo, and whatever is typed the app lives."""

from __future__ import annotations

from pathlib import Path
from time import monotonic

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mergegraph_tui.app import MergegraphApp
from mergegraph_tui.model.checking import check_text
from mergegraph_tui.model.document import Document
from mergegraph_tui.model.headers import Headers
from mergegraph_tui.starting import workspace_of
from mergegraph_tui.widgets.graph_canvas import GraphCanvas
from mergegraph_tui.widgets.problems_list import ProblemsList
from mergegraph_tui.widgets.yaml_pane import YamlPane
from mergegraph_tui.workspace import Workspace
from textual.pilot import Pilot

from tests.tui.app.conftest import RECIPE
from tests.tui.app.piloting import drive, press, screen_text, settle

HEADERS = Headers()


async def told(app: MergegraphApp, pilot: Pilot[int], text: str) -> None:
    """Until what was typed is the document's, and checked."""
    until = monotonic() + 5
    while app.workspace.document.text != text:
        assert monotonic() < until, app.workspace.document.text
        await pilot.pause(0.01)
    await settle(app, pilot)


def test_typing_changes_the_graph_and_is_one_step_of_the_documents_undo(recipe: Path) -> None:
    before = recipe.read_text()
    after = before.replace("  merged: base", "# n\n  merged: base")

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        await pilot.press("y")
        pane = app.screen.query_one(YamlPane)
        assert app.focused is pane
        pane.go_to_line(7)
        await pilot.press("home", "#", "space", "n", "enter")
        await told(app, pilot, after)
        assert app.workspace.document.can_undo == "typing"
        await press(app, pilot, "ctrl+z")
        assert pane.text == app.workspace.document.text == before
        await press(app, pilot, "ctrl+y")
        assert pane.text == app.workspace.document.text == after
        await pilot.press("x")
        await press(app, pilot, "ctrl+s")
        assert "x" + after[after.index("  merged") :] in recipe.read_text().replace("  x", "x  "), "the last key counts"

    drive(MergegraphApp(workspace_of(recipe)), act)


def test_a_problem_is_marked_in_the_text_listed_and_gone_to(recipe: Path) -> None:
    broken = recipe.read_text().replace("input: merged", "input: mergd")

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        app.workspace.document.edit(broken, "spoil")
        app.changed()
        await settle(app, pilot)
        await pilot.press("y")
        assert "8✗   out:" in screen_text(app)
        problems = app.screen.query_one(ProblemsList)
        assert problems.border_title == "Problems  1 error, 0 warnings"
        app.screen.query_one(GraphCanvas).focus()
        await press(app, pilot, "n")
        assert app.workspace.selected == "out"
        assert app.screen.query_one(YamlPane).cursor_location[0] == 7
        assert "fix  Did you mean merged?" in screen_text(app)
        assert [problem.fact for problem in app.workspace.checked.problems] == ['There is no node "mergd".']

    drive(MergegraphApp(workspace_of(recipe)), act)


def test_a_text_that_cannot_be_read_leaves_the_graph_dimmed_and_the_cursor_follows_the_node(recipe: Path) -> None:
    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        await pilot.press("y")
        pane, canvas = app.screen.query_one(YamlPane), app.screen.query_one(GraphCanvas)
        canvas.focus()
        await pilot.press("tab", "tab")
        assert pane.cursor_location == (6, 2)
        app.workspace.document.edit(recipe.read_text() + "  broken: [", "spoil")
        app.changed()
        await settle(app, pilot)
        assert list(canvas.graph.nodes) == ["base", "code", "merged", "out"]
        assert "of the last good text" in screen_text(app)

    drive(MergegraphApp(workspace_of(recipe)), act)


def test_what_a_terminal_would_obey_is_shown_as_a_sign_and_kept_in_the_text(recipe: Path) -> None:
    text = recipe.read_text() + "# \x1b[31m \u202e\r\n"
    recipe.write_bytes(text.encode())

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        await pilot.press("y")
        pane = app.screen.query_one(YamlPane)
        shown = screen_text(app)
        assert "\x1b" not in shown
        assert "\u202e" not in shown
        pane.go_to_line(1)
        await pilot.press("home", "#")
        await told(app, pilot, "#" + text)

    drive(MergegraphApp(workspace_of(recipe)), act)


PIECES = [
    "",
    " ",
    "\n",
    "  ",
    ":",
    "[",
    "]",
    "{",
    "}",
    "#",
    '"',
    "&a ",
    "*a",
    "op: sum",
    "0",
    "1e999",
    "\x00",
    "\ud800",
]


@st.composite
def spoilt(draw: st.DrawFn) -> str:
    """The recipe with some pieces put in and some taken out."""
    text = RECIPE
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        text = text[:start] + draw(st.sampled_from(PIECES)) + text[start + draw(st.sampled_from((0, 1, 4, 30))) :]
    return text


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(spoilt(), min_size=1, max_size=2))
def test_a_workspace_takes_whatever_is_typed(texts: list[str]) -> None:
    work = Workspace(Document(RECIPE))
    work.take(check_text(RECIPE, headers=HEADERS))
    for text in texts:
        work.document.type(text)
        work.take(check_text(work.document.text, headers=HEADERS))
        assert work.checked.failure == ""
        assert work.is_stale or work.drawn.nodes or not work.checked.recipe or not work.checked.recipe.nodes


def test_the_app_lives_through_random_texts_typed_into_it(recipe: Path) -> None:
    texts: list[str] = []

    @settings(max_examples=25, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(spoilt())
    def collect(text: str) -> None:
        texts.append(text)

    collect()

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        await pilot.press("y")
        pane = app.screen.query_one(YamlPane)
        for text in texts:
            pane.load_text(text)
            app.take_typed()
            while app.workspace.checked.text != app.workspace.document.text:
                await pilot.pause(0)
            assert app.workspace.checked.failure == ""
        assert "Problems" in screen_text(app)

    drive(MergegraphApp(workspace_of(recipe)), act)
