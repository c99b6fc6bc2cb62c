"""The line at the top: the recipe, whether it is saved, and the three modes."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text
from textual.widget import Widget

MODES = {"edit": "F2 Edit", "run": "F3 Run", "stats": "F4 Stats"}


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
        self._says: tuple[str, bool, str] = ("", False, "")

    def show(self, name: str, *, is_dirty: bool, note: str = "") -> None:
        """`note`: what else is to be said of it, `out/merged vs base`."""
        if self._says != (name, is_dirty, note):
            self._says = (name, is_dirty, note)
            self.refresh()

    def render(self) -> Table:
        name, is_dirty, note = self._says
        style = self.get_component_rich_style
        left = Text.assemble(
            (f"{self._sign} mergegraph  ", style("top-bar--mark", partial=True)),
            name,
            (f" {self._unsaved}" if is_dirty else "", style("top-bar--dirty", partial=True)),
            (f"  {note}" if note else "", "dim"),
            no_wrap=True,
            overflow="ellipsis",
        )
        right = Text("  ").join(
            Text(f" {title} ", style("top-bar--on" if mode == self._mode else "top-bar--off", partial=True))
            for mode, title in MODES.items()
        )
        table = Table.grid(expand=True)
        table.add_column(no_wrap=True, ratio=1)
        table.add_column(no_wrap=True, justify="right")
        table.add_row(left, right)
        return table
