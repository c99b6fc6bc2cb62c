"""What is done about searches from every screen: show one, begin it or go on with it, and open what it found."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from textual.app import App

from mergegraph.errors import MergegraphError, Problem
from mergegraph_tui.model.document import Document
from mergegraph_tui.model.files import read_text, write_text
from mergegraph_tui.model.recent import remember
from mergegraph_tui.run_actions import POLL_SECONDS

if TYPE_CHECKING:
    from mergegraph_tui.app import MergegraphApp
    from mergegraph_tui.model.searches import FollowedSearch, SearchView


@dataclass(frozen=True, slots=True)
class LeftSearch:
    """A search that goes on when the interface is left."""

    pid: int
    place: str

    def __str__(self) -> str:
        again = f"mergegraph tui {shlex.quote(self.place)}"
        return f"The search goes on as process {self.pid}.\n  see it   {again}\n  stop it  kill -INT {self.pid}"


class SearchActions(App[int]):
    """The search that the workspace follows."""

    _search_shown: SearchView | None = None

    @property
    def _home(self) -> MergegraphApp:
        return cast("MergegraphApp", self)

    def on_mount(self) -> None:
        self.set_interval(POLL_SECONDS, self._poll_search)
        if (search := self._home.workspace.search) is not None:
            search.begin()

    def on_unmount(self) -> None:
        if (search := self._home.workspace.search) is not None:
            search.close()

    def _poll_search(self) -> None:
        """Show what the thread saw last, where it is news."""
        search = self._home.workspace.search
        view = search.view if search is not None else None
        if view is not self._search_shown:
            self._search_shown = view
            self._home.show_search()

    def shown_as_search(self, path: Path) -> bool:
        """Whether `path` is a search, or says to be one: then it is shown, or what is wrong with it is said."""
        from mergegraph_tui.model.searches import search_at

        try:
            found = search_at(path)
        except MergegraphError as error:
            for problem in error.problems:
                self._home.say_problem(problem)
            return True
        if found is None:
            return False
        remember(path)
        self.follow_search(found)
        return True

    def follow_search(self, search: FollowedSearch) -> None:
        """Show this search from now on; the one before goes on, unseen."""
        workspace = self._home.workspace
        if workspace.search is not None:
            workspace.search.close()
        workspace.search = search
        search.begin()
        self._home.sync()
        self._home.action_show_mode("search")

    def open_found(self, recipe: Path) -> None:
        """The recipe that a search found, on the Edit screen."""
        found = Document.open(recipe)
        if isinstance(found, Problem):
            self._home.say_problem(found)
        else:
            self._home.unless_unsaved(lambda: self._edit(found))

    def _edit(self, document: Document) -> None:
        self._home.go_on_with(document)
        self._home.action_show_mode("edit")

    def edit_search(self, file: Path) -> None:
        """The search's text in `$EDITOR`; it counts when the search is begun next."""
        read = read_text(file)
        edited = read if isinstance(read, Problem) else self._home.edited_outside(read[0], file.name)
        problem = edited if isinstance(edited, Problem) else write_text(file, edited)
        if problem is not None:
            self._home.say_problem(problem)

    def search_that_goes_on(self) -> LeftSearch | None:
        """The followed search, where it lives: quitting leaves it."""
        search = self._home.workspace.search
        view = search.look() if search is not None else None
        return LeftSearch(view.pid, str(view.place)) if view is not None and view.pid else None
