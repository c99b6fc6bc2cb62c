"""The first frame: the bar with the recipe's name and the modes, while the place that was asked for is made.

It imports nothing but what draws the bar, so that it is on the terminal before the rest of the interface is loaded.
"""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Label

from mergegraph_tui.screens.base import PlaceScreen
from mergegraph_tui.widgets.top_bar import TopBar


class OpeningScreen(PlaceScreen):
    """`mode`: the place that comes."""

    DEFAULT_CSS = "OpeningScreen #opening { margin: 1 2; color: $text-muted; }"

    def __init__(self, mode: str) -> None:
        super().__init__(id="_default")
        self._mode = mode

    def show_bar(self) -> None:
        search = self.workspace.search
        if search is not None and self._mode == "search":
            self.show_bar_of(search.view)
        else:
            super().show_bar()

    def compose(self) -> ComposeResult:
        yield TopBar(self._mode, ascii_only=self.workspace.ascii_only)
        yield Label("opening", id="opening")
