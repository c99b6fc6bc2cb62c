"""A heat map of layers and kinds: numbers on colours, a cursor, and a rectangle of cells that is chosen.

What is chosen can be seen without colour: the cursor has brackets, chosen cells have marks at their sides.
"""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from mergegraph.stats.html.style import ink
from mergegraph.stats.summary import OUTSIDE
from mergegraph_tui.model.heat import HeatPicture
from mergegraph_tui.model.loaded import Cell
from mergegraph_tui.widgets.stat_paint import StatPaint, ramp

_SHORT = {"embedding": "embed", "attention": "attn", "expert": "expert"}
_LEAST_CELL = 7
Place = tuple[int, int]
"""Row and column, from 0."""


class HeatMap(StatPaint, ScrollView, can_focus=True):
    """`show(picture)`; the cursor stays where it is."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "step(-1, 0)", "Up", show=False, id="heat.up"),
        Binding("down,j", "step(1, 0)", "Down", show=False, id="heat.down"),
        Binding("left,h", "step(0, -1)", "Left", show=False, id="heat.left"),
        Binding("right,l", "step(0, 1)", "Right", show=False, id="heat.right"),
        Binding("shift+up,K", "step(-1, 0, True)", "Choose up", show=False, id="heat.choose-up"),
        Binding("shift+down,J", "step(1, 0, True)", "Choose down", show=False, id="heat.choose-down"),
        Binding("shift+left,H", "step(0, -1, True)", "Choose left", show=False, id="heat.choose-left"),
        Binding("shift+right,L", "step(0, 1, True)", "Choose right", show=False, id="heat.choose-right"),
        Binding("home", "step(-9999, 0)", "First layer", show=False, id="heat.home"),
        Binding("end", "step(9999, 0)", "Last layer", show=False, id="heat.end"),
        Binding("pageup", "step(-10, 0)", "Ten up", show=False, id="heat.page-up"),
        Binding("pagedown", "step(10, 0)", "Ten down", show=False, id="heat.page-down"),
        Binding("ctrl+a", "choose_all", "All", show=False, id="heat.all"),
        Binding("escape", "choose_none", "None", show=False, id="heat.none"),
        Binding("enter", "activate", "Tensor", show=False, id="heat.activate"),
    ]
    DEFAULT_CSS = """
    HeatMap {
        height: 1fr; width: 1fr; background: $background; scrollbar-size: 1 1;
        scrollbar-background: $background; scrollbar-corner-color: $background;
    }
    """

    class Moved(Message):
        """The cursor is on another cell, or another rectangle is chosen."""

        def __init__(self, heat_map: HeatMap) -> None:
            self.heat_map = heat_map
            super().__init__()

        @property
        def control(self) -> HeatMap:
            return self.heat_map

    class Activated(Moved):
        """Enter or a double click on a cell."""

    def __init__(self, *, ascii_only: bool = False, id: str | None = None) -> None:
        super().__init__(id=id)
        self._ascii = ascii_only
        self._picture = HeatPicture()
        self._names: tuple[str, ...] = ()
        self.at: Place = (0, 0)
        self._anchor: Place | None = None
        self._is_dragging = False

    @property
    def picture(self) -> HeatPicture:
        return self._picture

    @property
    def cell(self) -> Cell:
        """Row and column under the cursor, by name."""
        if not self._picture.rows or not self._picture.columns:
            return "", ""
        return self._picture.rows[self.at[0]], self._picture.columns[self.at[1]]

    @property
    def chosen(self) -> tuple[Cell, ...]:
        """The cells of the rectangle that have tensors; the one under the cursor where none is chosen."""
        if not self._picture.rows:
            return ()
        (top, left), (bottom, right) = self._corners()
        cells = [
            (row, column)
            for row in self._picture.rows[top : bottom + 1]
            for column in self._picture.columns[left : right + 1]
        ]
        return tuple(cell for cell in cells if cell in self._picture.cells)

    @property
    def columns_needed(self) -> int:
        """How wide all of it is."""
        return self._label + self._cell * len(self._picture.columns)

    @property
    def has_choice(self) -> bool:
        return self._anchor is not None and self._anchor != self.at

    def show(self, picture: HeatPicture) -> None:
        if picture == self._picture:
            return
        is_first = not self._picture.rows
        self._picture, self._names = picture, picture.row_names
        last = len(picture.rows) - 1, len(picture.columns) - 1
        if is_first:
            self.at, self._anchor = self._first(), None
        if self.at[0] > last[0] or self.at[1] > last[1]:
            self.at, self._anchor = (max(0, min(self.at[0], last[0])), max(0, min(self.at[1], last[1]))), None
        self.virtual_size = Size(self.columns_needed, len(picture.rows) + 1)
        self.refresh()

    def go_to(self, cell: Cell) -> None:
        """Put the cursor on a cell; nothing is chosen then."""
        rows, columns = self._picture.rows, self._picture.columns
        if cell[0] in rows and cell[1] in columns:
            self._move((rows.index(cell[0]), columns.index(cell[1])), None)

    def action_step(self, down: int, right: int, choose: bool = False) -> None:
        if self._picture.rows:
            row = min(max(self.at[0] + down, 0), len(self._picture.rows) - 1)
            column = min(max(self.at[1] + right, 0), len(self._picture.columns) - 1)
            self._move((row, column), (self._anchor or self.at) if choose else None)

    def action_choose_all(self) -> None:
        if self._picture.rows:
            self._move((len(self._picture.rows) - 1, len(self._picture.columns) - 1), (0, 0))

    def action_choose_none(self) -> None:
        self._move(self.at, None)

    def action_activate(self) -> None:
        if self._picture.rows:
            self.post_message(self.Activated(self))

    def _move(self, at: Place, anchor: Place | None) -> None:
        if (at, anchor) == (self.at, self._anchor):
            return
        self.at, self._anchor = at, anchor
        left = self._label + at[1] * self._cell
        self.scroll_to_region(Region(max(0, left - self._label), at[0], self._cell + self._label, 2), animate=False)
        self.refresh()
        self.post_message(self.Moved(self))

    def _first(self) -> Place:
        """The first cell that has a value."""
        rows, columns = self._picture.rows, self._picture.columns
        places = ((r, c) for c in range(len(columns)) for r in range(len(rows)))
        having = ((r, c) for r, c in places if (rows[r], columns[c]) in self._picture.cells and rows[r] != OUTSIDE)
        return next(having, (0, 0))

    def _corners(self) -> tuple[Place, Place]:
        other = self._anchor or self.at
        return (
            (min(self.at[0], other[0]), min(self.at[1], other[1])),
            (max(self.at[0], other[0]), max(self.at[1], other[1])),
        )

    # The mouse

    def on_mouse_down(self, event: events.MouseDown) -> None:
        if event.button != 1 or not self._picture.rows:
            return
        rows, columns = len(self._picture.rows), len(self._picture.columns)
        row = event.y - 1 + self.scroll_offset.y if event.y else -1
        column = (event.x - self._label + self.scroll_offset.x) // self._cell if event.x >= self._label else -1
        if row >= rows or column >= columns:
            return
        if row < 0 or column < 0:
            # The head of a column or row stands for all of it, the corner for everything.
            self._move((rows - 1 if row < 0 else row, columns - 1 if column < 0 else column),
                       (0 if row < 0 else row, 0 if column < 0 else column))  # fmt: skip
            return
        self._move((row, column), (self._anchor or self.at) if event.shift else None)
        self._is_dragging = True
        self.capture_mouse()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if not self._is_dragging:
            return
        row = event.y - 1 + self.scroll_offset.y
        column = (event.x - self._label + self.scroll_offset.x) // self._cell
        at = min(max(row, 0), len(self._picture.rows) - 1), min(max(column, 0), len(self._picture.columns) - 1)
        if at != self.at:
            self._move(at, self._anchor or self.at)

    def on_mouse_up(self) -> None:
        if self._is_dragging:
            self._is_dragging = False
            self.release_mouse()

    def on_click(self, event: events.Click) -> None:
        if event.chain == 2 and event.y and event.x >= self._label:
            self.action_activate()

    # The picture

    @property
    def _label(self) -> int:
        return max(6, *(len(name) + 1 for name in self._names)) if self._names else 6

    @property
    def _cell(self) -> int:
        return max(_LEAST_CELL, *(len(cell.text) + 2 for cell in self._picture.cells.values()), 0)

    def render_line(self, y: int) -> Strip:
        rows, width = self._picture.rows, self.size.width
        row = y - 1 + self.scroll_offset.y
        if not rows or (y and row >= len(rows)):
            return Strip.blank(width, self.rich_style)
        label = f"{'layer' if y == 0 else self._names[row]:>{self._label - 1}} "
        is_here = y > 0 and row == self.at[0]
        head = Segment(label, self.style_of("strong" if is_here else "head"))
        body = Strip(self._heads() if y == 0 else self._cells(row))
        left = self.scroll_offset.x
        room = max(0, width - self._label)
        return Strip([head, *body.crop_extend(left, left + room, self.rich_style)], width)

    def _heads(self) -> list[Segment]:
        found: list[Segment] = []
        for index, column in enumerate(self._picture.columns):
            style = self.style_of("strong" if index == self.at[1] else "head")
            found.append(Segment(f"{_column_name(column):^{self._cell}}", style))
        return found

    def _cells(self, row: int) -> list[Segment]:
        (top, left), (bottom, right) = self._corners()
        colours = ramp(has_two_sides=self._picture.has_two_sides, is_dark=self.is_dark)
        begin, end = ("(", ")") if self._ascii else ("‹", "›")
        found: list[Segment] = []
        for index, column in enumerate(self._picture.columns):
            cell = self._picture.cells.get((self._picture.rows[row], column))
            text = cell.text if cell is not None else ""
            style = self.style_of("dim")
            if cell is not None and cell.step >= 0:
                colour = colours[cell.step]
                style = Style(color=_ink(colour), bgcolor=colour)
            is_chosen = top <= row <= bottom and left <= index <= right
            if (row, index) == self.at:
                text, style = f"[{text:>{self._cell - 2}}]", style + Style(bold=True, reverse=cell is None)
            elif is_chosen and self.has_choice:
                text, style = f"{begin}{text:>{self._cell - 2}}{end}", style + Style(bold=True)
            else:
                text = f"{text:>{self._cell - 1}} "
            found.append(Segment(text, style))
        return found


def _ink(colour: str) -> str:
    return "#ffffff" if ink(colour) == "#fff" else "#000000"


def _column_name(column: str) -> str:
    """`q` for `attention q`; parts of experts keep their kind."""
    kind, _, part = column.partition(" ")
    if part and kind != "expert":
        return part
    return f"x.{part}" if part else _SHORT.get(kind, kind)
