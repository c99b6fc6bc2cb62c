"""The terminal interface: its modes over one workspace.

One direction of data: a text becomes a recipe, a graph, problems and forms. Every change, of whatever origin, is a new
text in the document (`apply`); the check of it comes back from its thread; `sync` shows the workspace.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

from textual.command import Provider
from textual.css.query import NoMatches
from textual.message import Message
from textual.screen import Screen
from textual.theme import Theme

from mergegraph.errors import Problem
from mergegraph_tui.file_actions import FileActions
from mergegraph_tui.finding_the_way import FindingTheWay
from mergegraph_tui.keeping import Keeping
from mergegraph_tui.keys import EVERYWHERE, bindings
from mergegraph_tui.model.checked import Checked
from mergegraph_tui.model.checker import Checker
from mergegraph_tui.model.document import Document
from mergegraph_tui.palette import Commands
from mergegraph_tui.run_actions import RunActions
from mergegraph_tui.screens.base import PlaceScreen
from mergegraph_tui.screens.opening import OpeningScreen
from mergegraph_tui.search_actions import SearchActions
from mergegraph_tui.theme import STYLES, THEMES, ThemeName, draw_scroll_bars
from mergegraph_tui.type_ahead import TypeAhead
from mergegraph_tui.workspace import Workspace

if TYPE_CHECKING:
    from mergegraph_tui.model.splice import Edited


def _edit_screen() -> Screen[None]:
    """Imported when it is shown first, so that the first frame does not wait for it; likewise the others."""
    from mergegraph_tui.screens.edit import EditScreen

    return EditScreen()


def _run_screen() -> Screen[None]:
    from mergegraph_tui.screens.run import RunScreen

    return RunScreen()


def _stats_screen() -> Screen[None]:
    from mergegraph_tui.screens.stats import StatsScreen

    return StatsScreen()


def _search_screen() -> Screen[None]:
    from mergegraph_tui.screens.search import SearchScreen

    return SearchScreen()


class MergegraphApp(FileActions, RunActions, SearchActions, Keeping, FindingTheWay, TypeAhead):
    """`mode`: the one that it begins in."""

    TITLE = "mergegraph"
    MODES: ClassVar[dict[str, Callable[[], Screen[None]]]] = {
        "edit": _edit_screen,
        "run": _run_screen,
        "stats": _stats_screen,
        "search": _search_screen,
    }
    BINDINGS = bindings(EVERYWHERE)
    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = {Commands}
    CSS = STYLES

    class Found(Message):
        """The check of a text has ended."""

        def __init__(self, checked: Checked) -> None:
            self.checked = checked
            super().__init__()

    def __init__(self, workspace: Workspace, *, theme: ThemeName = "dark", mode: str = "edit") -> None:
        super().__init__()
        self.workspace = workspace
        self._mode = mode
        self._checker = Checker(self._found)
        for each in THEMES.values():
            self.register_theme(each)
        self.theme = THEMES[theme].name
        self.animation_level = "none"
        self.set_class(workspace.ascii_only, "-ascii")

    def _found(self, checked: Checked) -> None:
        """Called in the checker's thread."""
        self.post_message(self.Found(checked))

    def on_mount(self) -> None:
        draw_scroll_bars(ascii_only=self.workspace.ascii_only)
        self.call_after_refresh(self._open)

    def get_default_screen(self) -> Screen[None]:
        return OpeningScreen(self._mode)

    def _open(self) -> None:
        """The first frame is on the terminal: the place that was asked for takes its place."""
        self.read_keys()
        self.switch_mode(self._mode)
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        """The place is on the terminal too. What works in the background begins only now: it would hold up both."""
        self.submit()
        self.begin_passing_keys()
        self.begin_keeping()
        for problem in self.key_map.problems:
            self.say_problem(problem)

    def on_unmount(self) -> None:
        self._checker.close()
        self.end_keeping()

    def action_show_mode(self, mode: str) -> None:
        if self.current_mode != mode:
            self.switch_mode(mode)

    def apply(self, edited: Edited, label: str) -> bool:
        """The result of an edit as one named step that can be undone; what could not be done is said. Whether it
        was."""
        problem = self.workspace.document.apply(edited, label)
        if problem is not None:
            self.say_problem(problem)
            return False
        self.changed()
        return True

    def changed(self) -> None:
        """The document has another text (or is another one): check it, and show what is known already."""
        self.submit()
        self.sync()
        self.keep_soon()

    def submit(self) -> None:
        document = self.workspace.document
        self._checker.submit(document.text, document.path, document.folder)

    def replace_document(self, document: Document) -> None:
        """Go on with another recipe; nothing of this one stays but the run that is followed."""
        self.workspace.begin(document)
        self.changed()

    def on_mergegraph_app_found(self, event: Found) -> None:
        self.workspace.take(event.checked)
        self.sync()

    def sync(self) -> None:
        """Show the workspace on the screen of the mode; the others do so when they come up."""
        place = self.screen_stack[0] if self.screen_stack else None
        if isinstance(place, PlaceScreen) and place.is_mounted:
            place.sync()

    def show_run(self) -> None:
        """The followed run has moved on."""
        self._show_news(lambda place: place.show_run())

    def show_search(self) -> None:
        """The followed search has moved on."""
        self._show_news(lambda place: place.show_search())

    def _show_news(self, show: Callable[[PlaceScreen], None]) -> None:
        place = self.screen_stack[0] if self.screen_stack else None
        if not isinstance(place, PlaceScreen) or not place.is_mounted:
            return
        with suppress(NoMatches):  # the last look may come while a screen is taken down
            place.show_bar()
            show(place)

    def get_theme(self, theme_name: str) -> Theme | None:
        """Textual asks twice for each line that it draws, and makes a table of all themes anew each time."""
        own = next((each for each in THEMES.values() if each.name == theme_name), None)
        return own or super().get_theme(theme_name)

    def say_problem(self, problem: Problem) -> None:
        """A problem that belongs to what was just asked for, not to the recipe."""
        said = "\n".join(part for part in (problem.where, problem.fact, problem.why, problem.fix) if part)
        self.notify(said, severity="error" if problem.severity == "error" else "warning", markup=False)
