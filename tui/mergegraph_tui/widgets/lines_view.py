"""Lines of styled text that scroll: a tensor in full, a comparison, a preview."""

from __future__ import annotations

from collections.abc import Sequence

from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from mergegraph_tui.model.detail import Line
from mergegraph_tui.widgets.stat_paint import StatPaint, plain


class LinesView(StatPaint, ScrollView, can_focus=True):
    """`show(lines)`. What is too long for the pane can be scrolled to."""

    DEFAULT_CSS = """
    LinesView {
        height: 1fr; width: 1fr; background: $background; scrollbar-size: 1 1; padding: 0 1;
        scrollbar-background: $background; scrollbar-corner-color: $background;
    }
    """

    def __init__(self, *, ascii_only: bool = False, id: str | None = None) -> None:
        super().__init__(id=id)
        self._ascii = ascii_only
        self._lines: tuple[Line, ...] = ()

    @property
    def text(self) -> str:
        """All of it, without styles."""
        return "\n".join("".join(text for text, _ in line) for line in self._lines)

    def show(self, lines: Sequence[Line], *, from_top: bool = False) -> None:
        found = tuple(tuple((plain(text, ascii_only=self._ascii), key) for text, key in line) for line in lines)
        if found == self._lines:
            return
        self._lines = found
        width = max((sum(len(text) for text, _ in line) for line in self._lines), default=0)
        self.virtual_size = Size(width, len(self._lines))
        if from_top:
            self.scroll_to(0, 0, animate=False)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        left, top = self.scroll_offset
        width, row = self.size.width, y + top
        if row >= len(self._lines):
            return Strip.blank(width, self.rich_style)
        return self.strip_of(self._lines[row]).crop_extend(left, left + width, self.rich_style)
