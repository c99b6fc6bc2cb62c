"""What is done to the document as a whole, from every screen: save, open, undo, quit."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual.app import App

if TYPE_CHECKING:
    from mergegraph_tui.app import MergegraphApp


class FileActions(App[int]):
    """Actions of the keys `file.*` and `edit.*`."""

    @property
    def _here(self) -> MergegraphApp:
        return cast("MergegraphApp", self)

    def action_undo(self) -> None:
        label = self._here.workspace.document.undo()
        if label:
            self.notify(f"undid: {label}", timeout=2, markup=False)
            self._here.changed()

    def action_redo(self) -> None:
        label = self._here.workspace.document.redo()
        if label:
            self.notify(f"redid: {label}", timeout=2, markup=False)
            self._here.changed()

    def action_save(self) -> None:
        problem = self._here.workspace.document.save()
        if problem is not None:
            self._here.say_problem(problem)
        self._here.sync()
