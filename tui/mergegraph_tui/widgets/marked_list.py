"""A list of options in which the one under the cursor has a sign, not only another ground."""

from __future__ import annotations

from typing import cast

from rich.segment import Segment
from textual.app import App
from textual.strip import Strip
from textual.widgets import OptionList

from mergegraph_tui.model.glyphs import glyphs_of

_GUTTER = 2


class MarkedList(OptionList):
    """With a column for the sign on its left."""

    def _get_left_gutter_width(self) -> int:
        return _GUTTER

    def render_line(self, y: int) -> Strip:
        line = super().render_line(y)
        row = y + self.scroll_offset.y
        is_marked = row < len(self._lines) and self._lines[row] == (self.highlighted, 0)
        is_ascii = cast("App[object]", self.app).has_class("-ascii")
        sign = glyphs_of(ascii_only=is_ascii).pins["right"] if is_marked else " "
        style = next((segment.style for segment in line), None)
        return Strip([Segment(sign.ljust(_GUTTER), style), *line])
