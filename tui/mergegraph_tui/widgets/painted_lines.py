"""Lines of styled text on the line API: what forms and lists of the interface share."""

from __future__ import annotations

from collections.abc import Sequence

from textual.geometry import Size

from mergegraph_tui.model.cells import Cell
from mergegraph_tui.model.glyphs import Glyphs, glyphs_of
from mergegraph_tui.model.rail import Part
from mergegraph_tui.widgets.painted_strips import PaintedStrips

Line = tuple[Sequence[Part], str | None]
"""The parts of a line, and the key of what it belongs to: that is lit under the pointer."""


class PaintedLines(PaintedStrips, can_focus=False):
    """`paint` it lines; those that stay as they are cost nothing on the screen."""

    DEFAULT_CSS = "PaintedLines { overflow-x: hidden; scrollbar-gutter: stable; }"

    def __init__(
        self, *, ascii_only: bool = False, name: str | None = None, id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self.glyphs: Glyphs = glyphs_of(ascii_only=ascii_only)
        self._rows: list[list[Cell]] = []
        self._lit: str | None = None

    @property
    def line_width(self) -> int:
        """Cells for a line; room for a scroll bar is kept free."""
        return self.scrollable_content_region.width

    def painted_rows(self) -> Sequence[Sequence[Cell]]:
        return self._rows

    def is_lit(self, owner: str) -> bool:
        return owner == self._lit

    def paint(self, lines: Sequence[Line], width: int = 0) -> None:
        """`width`: lines are cut there; 0 is as wide as they are, and the view scrolls."""
        old, self._rows = self._rows, [self._cells(parts, owner, width) for parts, owner in lines]
        size = Size(width or max(map(len, self._rows), default=0), len(self._rows))
        if size != self.virtual_size or len(old) != len(self._rows):
            self.virtual_size = size
            self.repaint_all()
        else:
            self.repaint_rows(row for row, cells in enumerate(self._rows) if cells != old[row])

    def light(self, owner: str | None) -> None:
        """Show what the pointer is over."""
        left, self._lit = self._lit, owner
        if left != owner:
            changed = {left, owner} - {None}
            self.repaint_rows(row for row, cells in enumerate(self._rows) if cells and cells[0].owner in changed)

    def on_leave(self) -> None:
        self.light(None)

    def owner_at(self, y: int) -> str | None:
        """What a line of the widget belongs to."""
        row = y + self.scroll_offset.y
        return self._rows[row][0].owner if 0 <= row < len(self._rows) and self._rows[row] else None

    def _cells(self, parts: Sequence[Part], owner: str | None, width: int) -> list[Cell]:
        room = width or sum(2 * len(text) for text, _ in parts)
        cells: list[Cell] = []
        for text, style in parts:
            cells += [Cell(glyph, style, owner) for glyph in self.glyphs.fitted(text, max(0, room - len(cells)))]
        return cells or [Cell(" ", "", owner)]
