"""Rows of text with styles by key, scrolled: what the Run screen and its dialogs consist of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from textual.geometry import Size

from mergegraph_tui.model.cells import Cell
from mergegraph_tui.model.glyphs import glyphs_of
from mergegraph_tui.model.rail import Part
from mergegraph_tui.widgets.painted_strips import PaintedStrips


class PaintedText(PaintedStrips):
    """`show(rows)`; only rows that differ are drawn again. `scrolls`: it can have the focus, and rows outside can be
    reached; else what does not fit is cut off. `follows_end`: it stays at the last row while it is there."""

    DEFAULT_CSS = "PaintedText.-fixed { overflow: hidden; }"

    def __init__(
        self,
        *,
        ascii_only: bool = False,
        scrolls: bool = False,
        follows_end: bool = False,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.can_focus = self._scrolls = scrolls
        self.set_class(not scrolls, "-fixed")
        self._glyphs = glyphs_of(ascii_only=ascii_only)
        self._follows_end = follows_end
        self._rows: list[list[Cell]] = []
        self._shown: list[Sequence[Part]] = []

    def painted_rows(self) -> Sequence[Sequence[Cell]]:
        return self._rows

    def show(self, rows: Iterable[Sequence[Part]]) -> None:
        """Show these rows."""
        shown = list(rows)
        if shown == self._shown:
            return
        was_at_end = self.scroll_offset.y >= self.max_scroll_y
        old, self._shown = self._shown, shown
        cells = self._rows
        self._rows = [cells[n] if n < len(old) and old[n] == row else self._cells(row) for n, row in enumerate(shown)]
        if len(old) != len(shown):
            self.repaint_all()
        else:
            self.repaint_rows(n for n, row in enumerate(shown) if old[n] != row)
        self._fit(len(old) != len(shown))
        if self._follows_end and was_at_end:
            self.scroll_end(animate=False)

    def _fit(self, has_other_height: bool) -> None:
        """A layout of the screen takes milliseconds: only where something moves."""
        if self._scrolls:
            size = Size(max(map(len, self._rows), default=0), len(self._rows))
            if size != self.virtual_size:
                self.virtual_size = size
        elif has_other_height and self.styles.height is not None and self.styles.height.is_auto:
            self.refresh(layout=True)

    def _cells(self, row: Sequence[Part]) -> list[Cell]:
        return [Cell(glyph, key) for text, key in row for glyph in self._glyphs.fitted(text, 2 * len(text))]

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many rows as there are, where the height is automatic."""
        return len(self._rows)
