"""The file that the recipe is to be saved in."""

from __future__ import annotations

from pathlib import Path

from textual import on
from textual.app import ComposeResult
from textual.widgets import Input, Static

from mergegraph_tui.dialogs.dialog import Dialog
from mergegraph_tui.model.files import from_home, is_folder, typed_path


class SaveAs(Dialog[Path]):
    """Dismissed with a path. A name without an ending gets `.yaml`; relative paths start in `folder`."""

    TITLE = "Save the recipe as"
    HINT = "enter save   esc not now"

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__()
        self._name, self._folder = name, folder

    def compose_body(self) -> ComposeResult:
        field = Input(self._name)
        field.cursor_blink = False
        yield field
        yield Static(f"in {from_home(self._folder)}", classes="said", id="says", markup=False)

    @on(Input.Submitted)
    def done(self, event: Input.Submitted) -> None:
        typed = event.value.strip()
        if typed:
            path = typed_path(typed, self._folder)
            if typed.endswith("/") or not path.name or is_folder(path):
                self.query_one("#says", Static).update(f"{from_home(path)} is a folder: name a file in it")
            else:
                self.dismiss(path if path.suffix else path.with_name(f"{path.name}.yaml"))
