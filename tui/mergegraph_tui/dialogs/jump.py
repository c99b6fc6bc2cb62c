"""Jump: a letter on every pane; the letter gives it the focus.

A pane is what has the class `pane`, or a `jump_key`, which says its letter; every other pane gets the first letter of
its title that is free.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from string import ascii_lowercase
from typing import ClassVar, Protocol, runtime_checkable

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen, Screen
from textual.widget import Widget
from textual.widgets import Label


@runtime_checkable
class Jumpable(Protocol):
    """A widget that says which letter jumps to it."""

    jump_key: str


def panes(screen: Screen[object]) -> dict[str, Widget]:
    """The panes that can be seen and take the focus, by their letters."""
    found: dict[str, Widget] = {}
    unnamed: list[Widget] = []
    for widget in _candidates(screen):
        if isinstance(widget, Jumpable) and widget.jump_key not in found:
            found[widget.jump_key] = widget
        else:
            unnamed.append(widget)
    for widget in unnamed:
        title = str(widget.border_title or widget.id or "").lower()
        letter = next((each for each in title + ascii_lowercase if each.isalpha() and each not in found), "")
        if letter:
            found[letter] = widget
    return found


def focus_of(pane: Widget) -> Widget | None:
    """What takes the focus in a pane: itself, or the first inside it that can."""
    inside = [pane, *pane.query("*")]
    return next((widget for widget in inside if widget.focusable and widget.is_on_screen), None)


def _candidates(screen: Screen[object]) -> Iterator[Widget]:
    """Outermost first; a pane around one that was taken already, or inside it, is none."""
    taken: list[Widget] = []
    for widget in screen.query("*"):
        is_pane = widget.has_class("pane") or isinstance(widget, Jumpable)
        if not is_pane or not widget.is_on_screen or any(pane in widget.ancestors for pane in taken):
            continue
        if focus_of(widget) is not None:
            taken.append(widget)
    # The letter that a pane's content asks for is the pane's.
    for pane in taken:
        yield next((each for each in pane.query("*") if isinstance(each, Jumpable) and each.is_on_screen), pane)


class Jump(ModalScreen[Widget | None]):
    """Dismissed with the pane whose letter was pressed."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,ctrl+o", "leave", "Close", show=False)]
    DEFAULT_CSS = """
    Jump {
        background: $background 40%;
        & Label { background: $accent; color: $background; text-style: bold; }
        & .letter { position: absolute; width: 5; height: 1; }
        & #say { dock: bottom; width: 1fr; padding: 0 1; }
    }
    """

    def __init__(self, targets: Mapping[str, Widget]) -> None:
        super().__init__()
        self._targets = targets

    def compose(self) -> ComposeResult:
        for letter, widget in self._targets.items():
            label = Label(f"[ {letter} ]", classes="letter", markup=False)
            label.styles.offset = (widget.region.x + 1, widget.region.y)
            yield label
        yield Label("press the letter of a pane   esc stay", id="say", markup=False)

    def on_key(self, event: events.Key) -> None:
        target = self._targets.get(event.character or "")
        if target is not None:
            event.stop()
            self.dismiss(target)

    def action_leave(self) -> None:
        self.dismiss(None)
