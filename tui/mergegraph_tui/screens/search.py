"""Search: what is evaluated, what was accepted and why, the best so far, and how much of the budget is spent."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content

from mergegraph_tui.keys import SEARCH, bindings
from mergegraph_tui.model.plot import Plot
from mergegraph_tui.model.run_rows import Room
from mergegraph_tui.model.search_rows import (
    SCORE,
    Line,
    candidate_rows,
    first_plot,
    head_rows,
    plots,
    result_rows,
)
from mergegraph_tui.model.searches import SearchView
from mergegraph_tui.screens.base import PlaceScreen
from mergegraph_tui.widgets.line_plot import LinePlot
from mergegraph_tui.widgets.painted_text import PaintedText

_VIEWS = ("all", "result", "candidates")
"""What `g` goes round. Where it is narrow, "all" is without the result."""


class SearchScreen(PlaceScreen):
    """The search that the workspace follows."""

    MODE = "search"
    KEYS = SEARCH
    BINDINGS = bindings(SEARCH)
    AUTO_FOCUS = "#candidates"
    DEFAULT_CSS = """
    SearchScreen {
        & .pane { padding: 0 1; }
        & #search-head { height: 5; }
        & #upper { height: 5fr; }
        & #candidates-pane { height: 6fr; }
        & #plot-pane { width: 1fr; padding: 0; }
        & #result-pane { width: 1fr; }
        &.-wide #plot-pane { width: 3fr; }
        &.-wide #result-pane { width: 2fr; }
        & #none { height: 1fr; padding: 2 4; color: $text-muted; }
    }
    """

    _view: str = "all"
    _plot: str = ""
    _by_rank: bool = True

    def compose_body(self) -> ComposeResult:
        plain = self.workspace.ascii_only
        yield PaintedText(ascii_only=plain, id="none")
        with Vertical(id="search-head", classes="pane"):
            yield PaintedText(ascii_only=plain, id="head-text")
        with Horizontal(id="upper"):
            with Vertical(id="plot-pane", classes="pane"):
                yield LinePlot(ascii_only=plain, id="curve")
            with Vertical(id="result-pane", classes="pane"):
                yield PaintedText(ascii_only=plain, scrolls=True, id="result")
        with Vertical(id="candidates-pane", classes="pane"):
            yield PaintedText(ascii_only=plain, scrolls=True, id="candidates")

    def on_mount(self) -> None:
        self.query_one("#result-pane").border_title = "Best so far"
        self.query_one("#candidates-pane").border_title = "Candidates"
        self.query_one("#none", PaintedText).show(
            [[("No search is shown.", "name")], [], [("o: open one, a YAML file that says `search:`", "")],
             [("mergegraph tui FOLDER: one that goes on, or that has ended", "")]]
        )  # fmt: skip
        super().on_mount()

    def on_resize(self) -> None:
        self.call_after_refresh(self.show_all)

    @property
    def view(self) -> SearchView | None:
        search = self.workspace.search
        return search.view if search is not None else None

    def show_bar(self) -> None:
        """The line at the top is about the search."""
        view = self.view
        if view is None:
            super().show_bar()
        else:
            self.show_bar_of(view)

    def sync(self) -> None:
        super().sync()
        self.show_all()

    def show_search(self) -> None:
        self.show_all()

    def show_all(self) -> None:
        """What the followed search was seen at last."""
        view = self.view
        if self._arrange(view):
            self.call_after_refresh(self.show_all)
        elif view is not None:
            with self.mergegraph.batch_update():
                self._show(view)

    def _arrange(self, view: SearchView | None) -> bool:
        """Which panes there are; whether others than before, whose sizes are not known yet."""
        is_there, only = view is not None, self._view
        is_narrow = self.has_class("-narrow")
        shown = {
            "none": not is_there,
            "search-head": is_there,
            "upper": is_there and only != "candidates",
            "plot-pane": only == "all" or not is_narrow,
            "result-pane": only == "result" or not is_narrow,
            "candidates-pane": is_there and only != "result",
        }
        others = [pane for name, is_shown in shown.items() if (pane := self.query_one(f"#{name}")).display != is_shown]
        for pane in others:
            pane.display = not pane.display
        return bool(others)

    def _show(self, view: SearchView) -> None:
        self._show_rows("head-text", head_rows(view, self._room("head-text")))
        self.query_one("#search-head").border_title = Content(f"Search {view.name}")
        drawn, name = plots(view.summary), self._plot_of(view)
        pane = self.query_one("#plot-pane")
        pane.border_title = Content("Score by candidate" if name == SCORE else f"{name} along the line")
        pane.border_subtitle = Content(f"m: one of {len(drawn)}") if len(drawn) > 1 else ""
        self.query_one("#curve", LinePlot).show(drawn.get(name, Plot((), ())))
        rows = candidate_rows(view.summary, self._room("candidates"), by_rank=self._by_rank)
        self._show_rows("candidates", rows)
        order = "best first" if self._by_rank else "as they were evaluated"
        self.query_one("#candidates-pane").border_subtitle = f"{order}; s: the other way"
        self._show_rows("result", result_rows(view))
        self.query_one("#result-pane").border_title = "Best so far" if view.is_alive else "Result"

    def _plot_of(self, view: SearchView) -> str:
        """The one that was chosen, while there is one of that name."""
        return self._plot if self._plot in plots(view.summary) else first_plot(view.summary)

    def _show_rows(self, name: str, rows: list[Line]) -> None:
        self.query_one(f"#{name}", PaintedText).show(rows)

    def _room(self, name: str) -> Room:
        size = self.query_one(f"#{name}", PaintedText).size
        return Room(size.width, size.height, self.workspace.ascii_only)

    def action_begin(self) -> None:
        """Begin it, or go on with it."""
        search = self.workspace.search
        if search is None:
            return
        if search.view.is_alive:
            self.notify("it runs already; x stops it", timeout=2)
        elif (problem := search.start()) is not None:
            self.mergegraph.say_problem(problem)
        self.show_all()

    def action_stop(self) -> None:
        search = self.workspace.search
        if search is not None and search.stop():
            self.notify("stopping; what is evaluated stays", timeout=4)

    def action_plot(self, step: int) -> None:
        view = self.view
        if view is not None and (names := list(plots(view.summary))):
            self._plot = names[(names.index(self._plot_of(view)) + step) % len(names)]
            self.show_all()

    def action_order(self) -> None:
        self._by_rank = not self._by_rank
        self.show_all()

    def action_view(self) -> None:
        self._view = _VIEWS[(_VIEWS.index(self._view) + 1) % len(_VIEWS)]
        self.show_all()

    def action_open_found(self) -> None:
        view = self.view
        if view is not None and view.found is not None:
            self.mergegraph.open_found(view.found)
        elif view is not None:
            self.notify("no recipe is found yet", timeout=2)

    def action_edit_search(self) -> None:
        view = self.view
        if view is not None and view.file is not None:
            self.mergegraph.edit_search(view.file)

    def action_copy_found(self) -> None:
        view = self.view
        if view is not None and view.found is not None:
            self.mergegraph.copy_to_clipboard(str(view.found))
            self.notify(f"copied {view.found}", timeout=3, markup=False)
