"""Ask for a name, and say below it why it cannot be one."""

from __future__ import annotations

from collections.abc import Callable

from textual import on
from textual.app import ComposeResult
from textual.widgets import Input, Static

from mergegraph.errors import Problem
from mergegraph_tui.dialogs.dialog import Dialog


class NameDialog(Dialog[str]):
    """`refused` says why a name cannot be taken, or None. Gives the name; None when it is closed."""

    HINT = "enter take   esc close"

    def __init__(self, title: str, name: str, refused: Callable[[str], Problem | None]) -> None:
        super().__init__()
        self._title, self._name_now, self._refused = title, name, refused

    def title_text(self) -> str:
        return self._title

    def compose_body(self) -> ComposeResult:
        yield Input(self._name_now)
        yield Static("", id="says", classes="problem", markup=False)

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
