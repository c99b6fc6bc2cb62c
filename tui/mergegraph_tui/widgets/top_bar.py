"""The line at the top: the recipe, whether it is saved, and the modes; that of searches where one is shown."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text
from textual.widget import Widget

from mergegraph_tui.theme import ink

MODES = {"edit": "F2 Edit", "run": "F3 Run", "stats": "F4 Stats", "search": "F5 Search"}


class TopBar(Widget):
    """`mode`: the one that is on. `show` what it says of the recipe. A recipe that is not saved has a mark."""

    COMPONENT_CLASSES = {"top-bar--mark", "top-bar--dirty", "top-bar--on", "top-bar--off"}  # noqa: RUF012
    DEFAULT_CSS = """
    TopBar {
        height: 1; background: $panel; color: $text; padding: 0 1;
        & .top-bar--mark { color: $accent; text-style: bold; }
        & .top-bar--dirty { color: $warning; }
        & .top-bar--on { color: $accent; text-style: bold reverse; }
        & .top-bar--off { color: $text-muted; }
    }
    """

    def __init__(self, mode: str, *, ascii_only: bool = False, id: str | None = None) -> None:
        super().__init__(id=id)
        self._mode = mode
        self._sign, self._unsaved = ("#", "*") if ascii_only else ("◆", "●")
        self._says: tuple[str, bool, str, bool] = ("", False, "", False)

    def show(self, name: str, *, is_dirty: bool, note: str = "", has_search: bool = False) -> None:
        """`note`: what else is to be said of it, `out/merged vs base`."""
        if self._says != (name, is_dirty, note, has_search):
            self._says = (name, is_dirty, note, has_search)
            self.refresh()

    def render(self) -> Table:
        name, is_dirty, note, has_search = self._says
        left = Text.assemble(
            (f"{self._sign} mergegraph  ", ink(self, "top-bar--mark")),
            name,
            (f" {self._unsaved}" if is_dirty else "", ink(self, "top-bar--dirty")),
            (f"  {note}" if note else "", "dim"),
            no_wrap=True,
            overflow="ellipsis",
        )
        right = Text("  ").join(
            Text(f" {title} ", ink(self, "top-bar--on" if mode == self._mode else "top-bar--off"))
            for mode, title in MODES.items()
            if mode != "search" or has_search or self._mode == mode
        )
        table = Table.grid(expand=True)
        table.add_column(no_wrap=True, ratio=1)
        table.add_column(no_wrap=True, justify="right")
        table.add_row(left, right)
        return table
