"""A question with a few answers, each with a letter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from mergegraph_tui.dialogs.dialog import Dialog
from mergegraph_tui.widgets.marked_list import MarkedList


@dataclass(frozen=True, slots=True)
class Choice:
    """`key`: the letter that chooses it; `id`: what the dialog is dismissed with."""

    key: str
    id: str
    says: str


class Confirm(Dialog[str]):
    """Dismissed with the `id` of a choice; None by Escape, which changes nothing."""

    HINT = "the letter, or up, down and enter   esc leave everything as it is"

    def __init__(self, title: str, said: str, choices: Sequence[Choice]) -> None:
        super().__init__()
        self._title, self._said, self._choices = title, said, choices

    def title_text(self) -> str:
        return self._title

    def compose_body(self) -> ComposeResult:
        yield Static(Text(self._said + "\n"), classes="said")
        yield MarkedList(
            *(Option(Text(f"{choice.key}  {choice.says}"), id=choice.id) for choice in self._choices), markup=False
        )

    def on_mount(self) -> None:
        self.query_one(OptionList).highlighted = 0

    def on_key(self, event: events.Key) -> None:
        for choice in self._choices:
            if event.character == choice.key:
                event.stop()
                self.dismiss(choice.id)

    @on(OptionList.OptionSelected)
    def choose(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)
