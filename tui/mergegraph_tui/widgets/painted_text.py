"""Rows of text with styles by key: what the Run screen and its dialogs consist of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.segment import Segment
from textual.geometry import Size
from textual.strip import Strip

from mergegraph_tui.model.glyphs import glyphs_of
from mergegraph_tui.model.rail import Part
from mergegraph_tui.widgets.painted_strips import PaintedStrips


class PaintedText(PaintedStrips):
    """`show(rows)`; only rows that differ are drawn again. `scrolls`: it can have the focus, and rows outside can be
    reached; else what does not fit is cut off, and other rows are no new layout of the screen, which takes
    milliseconds. `follows_end`: it stays at the last row while it is there."""

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
        self._rows: list[tuple[Part, ...]] = []

    @property
    def lines(self) -> list[str]:
        """What is shown, as text."""
        return ["".join(text for text, _ in row).rstrip() for row in self._rows]

    def show(self, rows: Iterable[Sequence[Part]]) -> None:
        """Show these rows."""
        old, self._rows = self._rows, [tuple((self._fitted(text), key) for text, key in row) for row in rows]
        if old == self._rows:
            return
        was_at_end = self.scroll_offset.y >= self.max_scroll_y
        if len(old) != len(self._rows):
            self.repaint_all()
        else:
            self.repaint_rows(n for n, row in enumerate(self._rows) if old[n] != row)
        self._fit(len(old))
        if self._follows_end and was_at_end:
            self.scroll_end(animate=False)

    def _fitted(self, text: str) -> str:
        """What a terminal can show of it."""
        if text.isprintable() and (text.isascii() or not self._glyphs.is_ascii):
            return text
        return "".join(self._glyphs.fitted(text, 2 * len(text)))

    def _fit(self, before: int) -> None:
        if self._scrolls:
            width = max((len(line) for line in self.lines), default=0)
            if (size := Size(width, len(self._rows))) != self.virtual_size:
                self.virtual_size = size
        elif before != len(self._rows) and self.styles.height is not None and self.styles.height.is_auto:
            self.refresh(layout=True)

    def row_count(self) -> int:
        return len(self._rows)

    def strip_of(self, row: int) -> Strip:
        return Strip([Segment(text, self.style_of(key)) for text, key in self._rows[row] if text])

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many rows as there are, where the height is automatic."""
        return len(self._rows)
