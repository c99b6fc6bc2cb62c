"""Pick one of a list by typing a part of it: the dialog that all pickers are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message
from textual.widgets import Input, Static

from mergegraph_tui.dialogs.dialog import Dialog
from mergegraph_tui.model.rail import Part
from mergegraph_tui.widgets.painted_lines import PaintedLines

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Choice(Generic[T]):
    """One line. `refused`: why it does not fit, or ""; it can be taken all the same where `takes_refused` says so."""

    value: T
    label: str
    note: str = ""
    end: str = ""
    icon: Part = (" ", "")
    refused: str = ""


_AROUND = 13
"""Rows that frame, field, note and keys take, and what stays free around them."""
Choices = Callable[[str], Sequence[Choice[T]]]
"""What there is to pick from, for what was typed."""


def filtered(choices: Iterable[Choice[T]]) -> Choices[T]:
    """Those of a fixed list whose label or note has every word typed; labels that begin so come first."""
    known = tuple(choices)

    def found(typed: str) -> Sequence[Choice[T]]:
        words = typed.lower().split()
        fitting = [each for each in known if all(word in f"{each.label} {each.note}".lower() for word in words)]
        return sorted(fitting, key=lambda each: bool(words) and not each.label.lower().startswith(words[0]))

    return found


class PickList(PaintedLines, can_focus=False):
    """The lines of a dialog, one of them marked."""

    class Resized(Message):
        """There is another room for the lines."""

    class Clicked(Message):
        """The user took a line."""

        def __init__(self, row: int) -> None:
            self.row = row
            super().__init__()

    def on_resize(self) -> None:
        self.post_message(self.Resized())

    def on_mouse_move(self, event: events.MouseMove) -> None:
        self.light(self.owner_at(event.y))

    def on_click(self, event: events.Click) -> None:
        owner = self.owner_at(event.y)
        if owner:
            self.post_message(self.Clicked(int(owner)))


class PickDialog(Dialog[T], Generic[T]):
    """`choices(typed)` are the lines. Gives the value of the one that is taken, None when it is closed.

    `moved` is called with the value under the mark. `at`: where the upper left corner is to be, as for a menu.
    `more_come`: lines are still looked for; Enter before there is one takes the first that comes.
    """

    HINT = "up, down choose   enter take   esc close"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "step(-1)", "Up", show=False),
        Binding("down", "step(1)", "Down", show=False),
        Binding("pageup", "step(-8)", "Up", show=False),
        Binding("pagedown", "step(8)", "Down", show=False),
    ]
    DEFAULT_CSS = """
    PickDialog {
        & > #frame { width: 80; }
        & PickList { height: auto; background: $surface; }
        & #says { height: auto; max-height: 3; margin-top: 1; }
        &.-menu > #frame { width: 64; }
        &.-menu Input { margin: 0; }
        &.-menu #says { margin: 0; }
    }
    """

    def __init__(
        self,
        title: str,
        choices: Choices[T],
        *,
        placeholder: str = "type to filter",
        empty: str = "nothing fits",
        ascii_only: bool = False,
        takes_refused: bool = False,
        moved: Callable[[T], None] | None = None,
        at: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(classes="" if at is None else "-menu")
        self._title, self._choices, self._placeholder, self._empty = title, choices, placeholder, empty
        self._ascii_only, self._takes_refused = ascii_only, takes_refused
        self._moved, self._at = moved, at
        self._found: Sequence[Choice[T]] = ()
        self._row = 0
        self.more_come = False
        self._takes_first = False

    def title_text(self) -> str:
        return self._title

    def compose_body(self) -> ComposeResult:
        yield Input(placeholder=self._placeholder)
        yield PickList(ascii_only=self._ascii_only)
        yield Static("", id="says", markup=False)

    def on_mount(self) -> None:
        frame = self.query_one("#frame")
        if self._at is not None:
            self.styles.align = ("left", "top")
            x, y = self._at
            frame.styles.offset = (max(0, min(x, self.size.width - 64)), max(0, min(y, self.size.height - 16)))
        self.refill()

    @property
    def typed(self) -> str:
        return self.query_one(Input).value

    @property
    def found(self) -> Sequence[Choice[T]]:
        """The lines as they are now."""
        return self._found

    @property
    def marked(self) -> Choice[T] | None:
        """The line under the mark."""
        return self._found[self._row] if self._row < len(self._found) else None

    def refill(self, *, stay: bool = False) -> None:
        """Ask for the lines again; with `stay` the mark stays on its line where that is still there."""
        marked = self.marked if stay and self._row else None
        self._found = self._choices(self.typed)
        rows = [row for row, choice in enumerate(self._found) if marked and choice.value == marked.value]
        self._mark(rows[0] if rows else 0)
        if self.is_busy and self._found:
            self._take()

    @property
    def is_busy(self) -> bool:
        return self._takes_first and self.more_come

    def _mark(self, row: int) -> None:
        self._row = max(0, min(row, len(self._found) - 1))
        pick_list = self.query_one(PickList)
        width = pick_list.line_width or 70
        pick_list.paint([(parts, str(index)) for index, parts in enumerate(self._lines(width))], width)
        pick_list.scroll_to_region(Region(0, self._row, 1, 1), animate=False)
        choice = self.marked
        self.query_one("#says", Static).update(self._said(choice))
        if choice is not None and self._moved is not None:
            self._moved(choice.value)

    @on(PickList.Resized)
    def _fit(self) -> None:
        self._mark(self._row)

    def on_resize(self, event: events.Resize) -> None:
        # A height that depends on the screen's is not counted into a frame of automatic height (Textual 8.2).
        self.query_one(PickList).styles.max_height = max(4, min(16, event.size.height - _AROUND))

    @on(Input.Changed)
    def _filter(self) -> None:
        self._takes_first = False
        self.refill()

    @on(Input.Submitted)
    def _submit(self) -> None:
        self._take()

    @on(PickList.Clicked)
    def _click(self, event: PickList.Clicked) -> None:
        self._mark(event.row)
        self._take()

    def action_step(self, by: int) -> None:
        self._mark(self._row + by)

    def _take(self) -> None:
        choice = self.marked
        self._takes_first = choice is None
        if choice is not None and (self._takes_refused or not choice.refused):
            self.dismiss(choice.value)

    def _lines(self, width: int) -> list[list[Part]]:
        """Mark, icon, label, note, end; what does not fit is dim and has a sign."""
        labels = min(width // 2, max((len(choice.label) for choice in self._found), default=0))
        ends = min(28, max((len(choice.end) for choice in self._found), default=0))
        glyphs = self.query_one(PickList).glyphs
        notes = max(0, width - labels - ends - 8)
        lines: list[list[Part]] = []
        for index, choice in enumerate(self._found):
            is_marked = index == self._row
            style = "detail" if choice.refused else "cursor" if is_marked else "name"
            note = "".join(glyphs.fitted(choice.note, notes)).ljust(notes)
            label = "".join(glyphs.fitted(choice.label, labels)).ljust(labels)
            mark = glyphs.pins["right"] if is_marked else "-" if choice.refused else " "
            lines.append(
                [(f"{mark} ", "cursor"), choice.icon, (f" {label}  ", style), (note, "detail"), (f"  {choice.end}", "")]
            )
        return lines

    def _said(self, choice: Choice[T] | None) -> str:
        if choice is None:
            return self._empty
        return choice.refused or choice.note
