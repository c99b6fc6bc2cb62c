"""Rows of cells as strips: what the canvas and the rail share of Textual's line API.

Styles come from component classes `graph--KEY`, so a theme gives the colours. A strip is made once, and again when its
row has changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.scroll_view import ScrollView
from textual.strip import Strip

from mergegraph_tui.model.cells import STYLES, Cell


class PaintedStrips(ScrollView, can_focus=True):
    """A scrolled picture in cells. Who derives from it gives the rows, and says which have changed."""

    COMPONENT_CLASSES = {f"graph--{key}" for key in STYLES} | {"graph--hover"}
    DEFAULT_CSS = """
    PaintedStrips {
        background: $background; height: 1fr; width: 1fr;
        scrollbar-size: 1 1; scrollbar-background: $background; scrollbar-corner-color: $background;
        & .graph--wire-weights { color: $primary; }
        & .graph--wire-delta { color: $warning-darken-1; }
        & .graph--wire-up, & .graph--wire-down, & .graph--cursor, & .graph--running {
            color: $accent; text-style: bold;
        }
        & .graph--wire-new, & .graph--target { color: $success; text-style: bold; }
        & .graph--refused { color: $error; text-style: dim; }
        & .graph--source { color: $primary-lighten-1; }
        & .graph--delta { color: $warning; }
        & .graph--one-input { color: $secondary; }
        & .graph--merge { color: $success; }
        & .graph--sink { color: $accent; }
        & .graph--name { color: $text; text-style: bold; }
        & .graph--detail { color: $text-muted; }
        & .graph--error { color: $error; text-style: bold; }
        & .graph--warning { color: $warning; text-style: bold; }
        & .graph--done { color: $success; }
        & .graph--waiting { color: $text-disabled; }
        & .graph--hover { background: $boost; }
    }
    """

    def __init__(self, *, name: str | None = None, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._strips: dict[int, Strip] = {}
        self._key_styles: dict[str, Style] = {}

    def painted_rows(self) -> Sequence[Sequence[Cell]]:
        """The rows as they are now."""
        return ()

    def laid_over(self, row: int) -> Mapping[int, Cell]:
        """Cells shown instead of a row's own, by column."""
        return {}

    def is_lit(self, owner: str) -> bool:
        """Whether the cells of a node have the background of what the pointer is over."""
        return False

    def repaint_rows(self, rows: Iterable[int]) -> None:
        """Draw these rows again."""
        width = self.size.width
        for row in rows:
            self._strips.pop(row, None)
            shown = row - self.scroll_offset.y
            if 0 <= shown < self.size.height:
                self.refresh(Region(0, shown, width, 1))

    def repaint_all(self) -> None:
        self._strips.clear()
        self.refresh()

    def notify_style_update(self) -> None:
        """A change of theme: what was computed from it goes."""
        super().notify_style_update()
        self._key_styles.clear()
        self._strips.clear()

    def render_line(self, y: int) -> Strip:
        left, top = self.scroll_offset
        row, width = y + top, self.size.width
        if row >= self.row_count():
            return Strip.blank(width, self.style_of(""))
        strip = self._strips.get(row)
        if strip is None:
            strip = self._strips[row] = self.strip_of(row)
        return strip.crop_extend(left, left + width, self.style_of(""))

    def row_count(self) -> int:
        return len(self.painted_rows())

    def strip_of(self, row: int) -> Strip:
        """A row as it is now."""
        cells, over = self.painted_rows()[row], self.laid_over(row)
        segments: list[Segment] = []
        text, shown = "", ""
        for column, cell in enumerate(cells):
            glyph, key, owner = over.get(column, cell)
            key += "~" if owner is not None and self.is_lit(owner) else ""
            if key != shown and text:
                segments.append(Segment(text, self.style_of(shown)))
                text = ""
            text, shown = text + glyph, key
        return Strip([*segments, Segment(text, self.style_of(shown))], len(cells))

    def style_of(self, key: str) -> Style:
        style = self._key_styles.get(key)
        if style is None:
            style = self._key_styles[key] = self._computed(key)
        return style

    def _computed(self, key: str) -> Style:
        if key.endswith("~"):
            return self._computed(key[:-1]) + Style(bgcolor=self._component("hover").bgcolor)
        if key.startswith("fill-"):
            return Style(color=self.rich_style.bgcolor, bgcolor=self._component(key[5:]).color, bold=True)
        return self._component(key) if key else self.rich_style

    def _component(self, key: str) -> Style:
        return self.get_component_rich_style(f"graph--{key}")
