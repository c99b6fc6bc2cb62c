"""A list to choose one line of: typing filters it. Where it may be, something else than the lines can be typed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option


@dataclass(frozen=True, slots=True)
class Row:
    """`title` is chosen by; `note` is said beside it."""

    title: str
    note: str = ""


class ChooseDialog(ModalScreen[int | str | None]):
    """The index of the row that was chosen; with `other` also what was typed where no row has it; None for nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss_none", "Close", id="choose.close"),
        Binding("up", "move(-1)", "Up", show=False, id="choose.up"),
        Binding("down", "move(1)", "Down", show=False, id="choose.down"),
    ]
    DEFAULT_CSS = """
    ChooseDialog {
        align: center middle;
        & > Vertical {
            width: 90%; max-width: 100; height: auto; max-height: 90%; padding: 0 1; background: $surface;
            border: round $accent; border-title-color: $accent; border-subtitle-color: $text-muted;
        }
        & Input, & Input:focus { height: 1; border: none; background: $panel; padding: 0 1; }
        & OptionList, & OptionList:focus {
            height: auto; max-height: 30; border: none; background: $surface; padding: 0;
        }
    }
    """

    def __init__(self, title: str, rows: Sequence[Row], *, chosen: int = 0, other: str = "") -> None:
        """`other`: what else may be typed, in words."""
        super().__init__()
        self._title, self._rows, self._chosen, self._other = title, tuple(rows), chosen, other

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = self._title
            box.border_subtitle = "enter chooses, esc closes"
            yield Input(placeholder=f"type to filter, or {self._other}" if self._other else "type to filter")
            yield OptionList()

    def on_mount(self) -> None:
        self._fill("")
        self.query_one(Input).focus()

    @on(Input.Changed)
    def filter(self, event: Input.Changed) -> None:
        self._fill(event.value)

    def _fill(self, typed: str) -> None:
        words = typed.lower().split()
        found = self.query_one(OptionList)
        found.clear_options()
        width = max((len(row.title) for row in self._rows), default=0) + 2
        shown = [
            (index, row)
            for index, row in enumerate(self._rows)
            if all(word in f"{row.title} {row.note}".lower() for word in words)
        ]
        found.add_options(
            Option(Content.assemble(f"{row.title:<{width}}", (row.note, "dim")), id=str(index)) for index, row in shown
        )
        places = [index for index, _ in shown]
        if places:
            found.highlighted = places.index(self._chosen) if self._chosen in places else 0

    def action_move(self, by: int) -> None:
        found = self.query_one(OptionList)
        if found.option_count:
            found.highlighted = ((found.highlighted or 0) + by) % found.option_count

    @on(Input.Submitted)
    def choose(self) -> None:
        option, typed = self.query_one(OptionList).highlighted_option, self.query_one(Input).value.strip()
        if option is not None and option.id is not None:
            self.dismiss(int(option.id))
        elif self._other and typed:
            self.dismiss(typed)

    @on(OptionList.OptionSelected)
    def choose_by_mouse(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(int(event.option_id) if event.option_id is not None else None)

    def action_dismiss_none(self) -> None:
        self.dismiss(None)
