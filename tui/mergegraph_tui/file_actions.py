"""What is done to the document as a whole, from every screen: save, open, undo, quit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from textual.app import App, SuspendNotSupported

from mergegraph.errors import Problem
from mergegraph_tui.dialogs.confirm import Choice, Confirm
from mergegraph_tui.dialogs.save_as import SaveAs
from mergegraph_tui.model.document import Document
from mergegraph_tui.model.files import is_there
from mergegraph_tui.model.recent import remember

if TYPE_CHECKING:
    from mergegraph_tui.app import MergegraphApp
    from mergegraph_tui.widgets.yaml_pane import YamlPane

_REPLACE = (Choice("r", "replace", "replace the file"), Choice("o", "other", "save under another name"))
_SAVE = (Choice("s", "save", "save, and go on"), Choice("d", "discard", "go on without saving"))
_LEAVE = (
    Choice("l", "leave", "leave; the run goes on"),
    Choice("s", "stop", "stop it, and leave; what is done is kept"),
)


class FileActions(App[int]):
    """Actions of the keys `file.*` and `edit.*`."""

    @property
    def _here(self) -> MergegraphApp:
        return cast("MergegraphApp", self)

    def on_yaml_pane_typed(self, event: YamlPane.Typed) -> None:
        self._here.workspace.document.type(event.text)
        self._here.changed()

    def take_typed(self) -> None:
        """What was typed a moment ago and not told yet belongs to the document too."""
        for pane in self.screen_stack[0].query("YamlPane"):
            text = cast("YamlPane", pane).take_typed()
            if text is not None:
                self._here.workspace.document.type(text)
                self._here.changed()

    def action_undo(self) -> None:
        self.take_typed()
        self._say_step("undid", self._here.workspace.document.undo())

    def action_redo(self) -> None:
        self.take_typed()
        self._say_step("redid", self._here.workspace.document.redo())

    def _say_step(self, done: str, label: str) -> None:
        if label:
            self.notify(f"{done}: {label}", timeout=2, markup=False)
            self._here.changed()

    def action_save(self) -> None:
        self.take_typed()
        self.save_and(lambda: None)

    def save_and(self, then: Callable[[], None]) -> None:
        """Save, asking for a name or whether to replace where that is needed; go on once it is saved."""
        document = self._here.workspace.document
        if document.path is None:
            self._ask_name(then)
        elif document.would_replace:
            self._ask_replace(document.path, then)
        else:
            self._saved(document.save(), then)

    def action_save_as(self) -> None:
        self.take_typed()
        self._ask_name(lambda: None)

    def _ask_name(self, then: Callable[[], None]) -> None:
        document = self._here.workspace.document

        def named(path: Path | None) -> None:
            if path is None:
                return
            if is_there(path) and not (document.path and path.absolute() == document.path.absolute()):
                self._ask_replace(path, then)
            else:
                self._saved(document.save_as(path), then)

        self.push_screen(SaveAs(document.name, document.folder), named)

    def _ask_replace(self, path: Path, then: Callable[[], None]) -> None:
        document = self._here.workspace.document
        is_own = document.path is not None and path.absolute() == document.path.absolute()
        said = f"{path.name} was written by somebody else." if is_own else f"There is a file {path} already."

        def answered(answer: str | None) -> None:
            if answer == "replace":
                self._saved(document.save_as(path, replace=True), then)
            elif answer == "other":
                self._ask_name(then)

        self.push_screen(Confirm("Replace it?", said, _REPLACE), answered)

    def _saved(self, problem: Problem | None, then: Callable[[], None]) -> None:
        document = self._here.workspace.document
        if problem is not None:
            self._here.say_problem(problem)
            return
        if document.path is not None:
            remember(document.path)
        self._here.keep_no_more()
        self.notify(f"saved: {document.path}", timeout=2, markup=False)
        self._here.changed()
        then()

    def action_open(self) -> None:
        """A recipe in the place of this one, which is asked about when it is not saved."""
        from mergegraph_tui.dialogs.open import NEW, Open

        self.take_typed()
        dialog = Open(self._here.workspace.document.folder, ascii_only=self._here.workspace.ascii_only)

        def chosen(path: Path | None) -> None:
            if path == NEW:
                self.action_new()
            elif path is not None:
                self.open_recipe(path)

        self.push_screen(dialog, chosen)

    def open_recipe(self, path: Path) -> None:
        """The recipe at `path` in the place of this one; a search is shown beside it."""
        if self._here.shown_as_search(path):
            return
        found = Document.open(path)
        if isinstance(found, Problem):
            self._here.say_problem(found)
        else:
            self.unless_unsaved(lambda: self.go_on_with(found))

    def action_new(self) -> None:
        from mergegraph_tui.dialogs.new import New

        self.take_typed()
        folder = self._here.workspace.document.folder

        def chosen(text: str | None) -> None:
            if text is not None:
                self.unless_unsaved(lambda: self.go_on_with(Document.new(text, folder)))

        self.push_screen(New(ascii_only=self._here.workspace.ascii_only), chosen)

    def go_on_with(self, document: Document) -> None:
        """Another recipe in the place of this one, which is not wanted any more."""
        self._here.keep_no_more()
        self._here.replace_document(document)
        if document.path is not None:
            remember(document.path)
        self._here.offer_recovery()

    def unless_unsaved(self, then: Callable[[], None]) -> None:
        """Go on; where the text is not saved, ask first what becomes of it."""
        document = self._here.workspace.document
        if not document.is_dirty:
            then()
            return

        def answered(answer: str | None) -> None:
            if answer == "save":
                self.save_and(then)
            elif answer == "discard":
                then()

        self.push_screen(Confirm("Not saved", f"{document.name} has changes that are not saved.", _SAVE), answered)

    def action_external_editor(self) -> None:
        """The text in `$EDITOR`, as one step."""
        self.take_typed()
        document = self._here.workspace.document
        found = self.edited_outside(document.text, document.name)
        if isinstance(found, Problem):
            self._here.say_problem(found)
        elif document.edit(found, "$EDITOR"):
            self._here.changed()

    def edited_outside(self, text: str, name: str) -> str | Problem:
        """`text` as `$EDITOR` leaves it; the terminal is the editor's meanwhile."""
        from mergegraph_tui.model.editor import edit_outside

        try:
            with self.suspend():
                return edit_outside(text, name)
        except SuspendNotSupported:
            return Problem("An editor cannot be started here.", fix="edit the text in the interface: y")

    async def action_quit(self) -> None:
        """Leave; ask where the text is not saved, and where a run is followed, which goes on."""
        self.take_typed()
        self.unless_unsaved(self._leave_run)

    def _leave_run(self) -> None:
        run, search = self._here.run_that_goes_on(), self._here.search_that_goes_on()
        if run is None and search is None:
            self._here.leave()
            return
        what = "A run" if run is not None else "A search"
        left = "\n".join(str(each) for each in (run, search) if each is not None)
        said = f"{what} is going on, and goes on when you leave.\n{left}"

        def answered(answer: str | None) -> None:
            if answer == "stop" and self._here.workspace.followed is not None:
                self._here.workspace.followed.stop()
            if answer is not None:
                self._here.leave()

        self.push_screen(Confirm("Leave?", said, _LEAVE), answered)
