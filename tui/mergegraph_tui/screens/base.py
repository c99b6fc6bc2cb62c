"""What the screens share: the bar at the top, the footer, and that they show the workspace when told to."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.screen import Screen

from mergegraph_tui.keys import Key
from mergegraph_tui.widgets.key_hints import KeyHints
from mergegraph_tui.widgets.top_bar import TopBar
from mergegraph_tui.workspace import Workspace

if TYPE_CHECKING:
    from mergegraph_tui.app import MergegraphApp
    from mergegraph_tui.model.searches import SearchView


class PlaceScreen(Screen[None]):
    """A mode. One direction of data: whatever changes, `sync` shows the workspace; no widget writes to another."""

    MODE: ClassVar[str] = ""
    KEYS: ClassVar[tuple[Key, ...]] = ()
    """What its BINDINGS are made from: help and the palette show them."""
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-normal"), (160, "-wide")]  # noqa: RUF012
    DEFAULT_CSS = """
    PlaceScreen {
        background: $background;
        & .pane {
            border: round $border; border-title-color: $text-muted; border-subtitle-color: $text-muted;
            background: $background; min-width: 12;
        }
        & .pane:focus-within { border: round $accent; border-title-color: $accent; }
    }
    """

    @property
    def mergegraph(self) -> MergegraphApp:
        """The app, as what it is."""
        return cast("MergegraphApp", self.app)

    @property
    def workspace(self) -> Workspace:
        return self.mergegraph.workspace

    def compose(self) -> ComposeResult:
        yield TopBar(self.MODE, ascii_only=self.workspace.ascii_only)
        yield from self.compose_body()
        yield KeyHints()

    def compose_body(self) -> ComposeResult:
        """What stands between the bar and the footer."""
        yield from ()

    def on_mount(self) -> None:
        self.sync()

    def on_screen_resume(self) -> None:
        self.sync()

    def sync(self) -> None:
        """Show the workspace as it is now. Cheap where nothing changed; who overrides it calls it."""
        self.show_bar()

    def show_bar(self) -> None:
        """The line at the top, with the run that is followed."""
        document, followed = self.workspace.document, self.workspace.followed
        run = f"run: {followed.view.note}" if followed is not None else ""
        followed_search = self.workspace.search
        search = f"search: {followed_search.view.note}" if followed_search is not None else ""
        note = "  ".join(part for part in (self.note(), run, search) if part)
        has_search = followed_search is not None
        self.query_one(TopBar).show(document.name, is_dirty=document.is_dirty, note=note, has_search=has_search)

    def show_bar_of(self, search: SearchView) -> None:
        """The same line, about a search."""
        self.query_one(TopBar).show(search.name, is_dirty=False, note=search.note, has_search=True)

    def show_run(self) -> None:
        """The followed run has moved on. Who shows more of it than the bar does overrides this."""

    def show_search(self) -> None:
        """The followed search has moved on; likewise."""

    def note(self) -> str:
        """What the bar says beside the recipe."""
        return ""
