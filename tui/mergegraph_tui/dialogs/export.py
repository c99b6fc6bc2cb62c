"""Where statistics are written to, and as what: the ending of the name says it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input, Label

from mergegraph_tui.dialogs.dialog import Dialog
from mergegraph_tui.model.exporting import KINDS, export
from mergegraph_tui.model.files import from_home, typed_path
from mergegraph_tui.model.heat import Choice
from mergegraph_tui.model.loaded import LoadedRecord

_SAYS = {
    "html": "a report that opens in a browser, without a network",
    "csv": "a row for each tensor, with all sums",
    "json": "the record, which mergegraph stats reads again",
    "svg": "the heat map as it is shown",
}


class ExportDialog(Dialog[Path]):
    """The file that was written; None where none was."""

    TITLE = "Write the statistics"
    HINT = "up, down  kind   enter  write   esc  close"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "kind(-1)", "Kind before", show=False, id="export.up"),
        Binding("down", "kind(1)", "Next kind", show=False, id="export.down"),
    ]
    DEFAULT_CSS = "ExportDialog > #frame { width: 90; }"

    def __init__(self, loaded: LoadedRecord, choice: Choice, other: LoadedRecord | None, folder: Path) -> None:
        super().__init__()
        self._loaded, self._choice, self._other, self._folder = loaded, choice, other, folder
        self._refused: str | None = None

    def compose_body(self) -> ComposeResult:
        yield Input(from_home(self._folder / f"{self._loaded.name}-stats.html"))
        for kind in KINDS:
            yield Label(f".{kind:<5} {_SAYS[kind]}", classes="said")
        yield Label("", id="wrong", classes="problem", markup=False)

    def action_kind(self, by: int) -> None:
        """The next ending."""
        field = self.query_one(Input)
        path = Path(field.value)
        if not path.name:
            return
        kind = path.suffix.removeprefix(".")
        index = KINDS.index(kind) + by if kind in KINDS else 0
        field.value = str(path.with_suffix(f".{KINDS[index % len(KINDS)]}"))

    @on(Input.Submitted)
    def write(self, event: Input.Submitted) -> None:
        path = typed_path(event.value, self._folder)
        problem = export(self._loaded, self._choice, path, other=self._other, replace=self._refused == event.value)
        if problem is None:
            self.dismiss(path)
            return
        self._refused = event.value
        self.query_one("#wrong", Label).update(f"{problem.fact}\n{problem.fix}")
