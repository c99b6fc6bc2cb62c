"""What the dialogs share: a frame in the middle of the screen with a title, and a line that says which keys count."""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar, cast

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Label, OptionList

Answer = TypeVar("Answer")


class Dialog(ModalScreen[Answer | None], Generic[Answer]):
    """Is dismissed with an answer, or with None by Escape. Who derives from it gives the body."""

    TITLE: ClassVar[str] = ""
    HINT: ClassVar[str] = "esc close"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Close", show=False)]
    DEFAULT_CSS = """
    Dialog {
        align: center middle; background: $background 60%;
        & > #frame {
            width: 74; max-width: 96%; min-width: 20; height: auto; max-height: 90%; border: round $accent;
            border-title-color: $accent; border-title-style: bold; background: $surface; padding: 0 1;
        }
        & Input { border: none; height: 1; padding: 0 1; background: $boost; margin-bottom: 1; }
        & Input:focus { border: none; }
        & OptionList {
            border: none; background: $surface; height: auto; max-height: 16; padding: 0; scrollbar-size: 1 1;
        }
        & OptionList:focus { border: none; }
        & OptionList > .option-list--option-highlighted { background: $block-cursor-background; text-style: bold; }
        & #hint { color: $text-muted; margin-top: 1; width: 1fr; }
        & .said { width: 1fr; height: auto; }
        & .problem { color: $error; width: 1fr; height: auto; }
    }
    """

    def compose(self) -> ComposeResult:
        cast("App[object]", self.app).clear_notifications()  # what was said before must not lie over it
        with Vertical(id="frame") as frame:
            frame.border_title = Content(self.title_text())
            yield from self.compose_body()
            yield Label(self.HINT, id="hint", markup=False)

    @property
    def is_busy(self) -> bool:
        """Whether it will be dismissed by itself, and keys are to wait for that."""
        return False

    def compose_body(self) -> ComposeResult:
        yield from ()

    def title_text(self) -> str:
        return self.TITLE

    def action_leave(self) -> None:
        self.dismiss(None)


def step(options: OptionList, key: str) -> bool:
    """Let the arrows move a list while an Input beside it has the focus. Whether `key` was one of them."""
    moves = {
        "down": options.action_cursor_down,
        "up": options.action_cursor_up,
        "pagedown": options.action_page_down,
        "pageup": options.action_page_up,
    }
    move = moves.get(key)
    if move is not None:
        move()
    return move is not None
