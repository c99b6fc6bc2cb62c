"""Ask for a name, and say below it why it cannot be one."""

from __future__ import annotations

from collections.abc import Callable

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from mergegraph.errors import Problem


class NameDialog(ModalScreen[str | None]):
    """`refused` says why a name cannot be taken, or None. Gives the name; None when it is closed."""

    BINDINGS: list[BindingType] = [Binding("escape", "close", "Close", show=False)]  # noqa: RUF012
    DEFAULT_CSS = """
    NameDialog {
        align: center middle;
        & #frame {
            width: 60; max-width: 96%; height: auto; border: round $accent; border-title-color: $accent;
            border-subtitle-color: $text-muted; background: $surface; padding: 0 1;
        }
        & Input { background: $surface; }
        & #says { height: auto; color: $error; }
    }
    """

    def __init__(self, title: str, name: str, refused: Callable[[str], Problem | None]) -> None:
        super().__init__()
        self._title, self._name_now, self._refused = title, name, refused

    def compose(self) -> ComposeResult:
        with Vertical(id="frame"):
            yield Input(self._name_now, compact=True)
            yield Static("", id="says", markup=False)

    def on_mount(self) -> None:
        frame = self.query_one("#frame")
        frame.border_title, frame.border_subtitle = self._title, "enter  take   esc  close"

    @on(Input.Changed)
    def _check(self, event: Input.Changed) -> None:
        problem = self._refused(event.value.strip()) if event.value.strip() != self._name_now else None
        said = "\n".join(part for part in (problem.fact, problem.why, problem.fix) if part) if problem else ""
        self.query_one("#says", Static).update(said)

    @on(Input.Submitted)
    def _take(self, event: Input.Submitted) -> None:
        name = event.value.strip()
        if name == self._name_now:
            self.dismiss(None)
        elif self._refused(name) is None:
            self.dismiss(name)
        else:
            self.app.bell()

    def action_close(self) -> None:
        self.dismiss(None)
