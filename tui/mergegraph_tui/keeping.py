"""What guards the text without being asked: autosave and its recovery, and a look at the file each second."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from textual.app import App
from textual.timer import Timer

from mergegraph_tui.dialogs.confirm import Choice, Confirm
from mergegraph_tui.model.autosave import Recovered, forget, recoverable
from mergegraph_tui.model.document import OnDisk
from mergegraph_tui.model.files import Stamp, stamp
from mergegraph_tui.model.keeper import Keeper
from mergegraph_tui.model.recent import remember

if TYPE_CHECKING:
    from mergegraph_tui.app import MergegraphApp

AUTOSAVE_SECONDS = 1.0
"""After the last change."""
LOOK_SECONDS = 1.0
"""Between two looks at the file."""

_RECOVER = (
    Choice("t", "take", "take it: an edit that can be undone"),
    Choice("d", "discard", "throw it away"),
)
_CHANGED = (
    Choice("r", "reload", "take the file's text: an edit that can be undone"),
    Choice("k", "keep", "keep this text; saving will replace the file"),
)


class Keeping(App[int]):
    """Begins with `begin_keeping`; is told of every change by `keep_soon`."""

    def __init__(self) -> None:
        super().__init__()
        self._keeper = Keeper()
        self._keep_timer: Timer | None = None
        self._is_unwanted = False
        self._said_of: tuple[OnDisk, Stamp | None] | None = None

    @property
    def _app(self) -> MergegraphApp:
        return cast("MergegraphApp", self)

    def begin_keeping(self) -> None:
        document = self._app.workspace.document
        if document.path is not None and document.on_disk() is not OnDisk.GONE:
            remember(document.path)
        self.set_interval(LOOK_SECONDS, self.look_at_file)
        self.offer_recovery()

    def keep_soon(self) -> None:
        """The text has changed: keep it, a second after its last change."""
        if self._keep_timer is not None:
            self._keep_timer.stop()
        self._keep_timer = self.set_timer(AUTOSAVE_SECONDS, self._keep)

    def _keep(self) -> None:
        document = self._app.workspace.document
        if document.is_dirty:
            self._keeper.keep(document.path, document.text)
        else:
            self._keeper.discard()

    def end_keeping(self) -> None:
        """The app ends. What is not saved stays kept, unless it was said to be unwanted."""
        document = self._app.workspace.document
        if document.is_dirty and not self._is_unwanted:
            self._keeper.keep(document.path, document.text)
        self._keeper.close(discard=self._is_unwanted or not document.is_dirty)

    def leave(self) -> None:
        """End the app; what is not saved is not wanted."""
        self._is_unwanted = True
        self.exit(0)

    def keep_no_more(self) -> None:
        """The text is saved, or not wanted."""
        if self._keep_timer is not None:
            self._keep_timer.stop()
        self._keeper.discard()

    def offer_recovery(self) -> None:
        """Text of this recipe that was never saved, the newest first."""
        document = self._app.workspace.document
        for kept in recoverable(document.path):
            if kept.text == document.text:
                forget(kept)
            else:
                said = f"An earlier session ended without saving {document.name}; its text was kept."
                self.push_screen(Confirm("Unsaved text", said, _RECOVER), partial(self._recover, kept))
                return

    def _recover(self, kept: Recovered, answer: str | None) -> None:
        if answer == "take":
            self._app.workspace.document.edit(kept.text, "recover")
            self._app.changed()
        if answer is not None:
            forget(kept)

    def look_at_file(self) -> None:
        """Take over what somebody else wrote; ask where this text was changed too."""
        document = self._app.workspace.document
        found = document.on_disk()
        if found is OnDisk.SAME or document.path is None:
            self._said_of = None
            return
        what = (found, stamp(document.path))
        if what == self._said_of:
            return
        if found is OnDisk.GONE:
            self.notify(f"{document.name} is gone; saving writes it again.", severity="warning", markup=False)
        elif document.is_dirty:
            if len(self.screen_stack) > 1:
                return
            said = f"{document.name} was changed by somebody else, and here too."
            self.push_screen(Confirm("Changed on disk", said, _CHANGED), self._settle)
        else:
            self._reload()
        self._said_of = what

    def _settle(self, answer: str | None) -> None:
        if answer == "reload":
            self._reload()
        elif answer == "keep":
            self._app.workspace.document.keep_mine()
            self._app.changed()

    def _reload(self) -> None:
        problem = self._app.workspace.document.reload()
        if problem is not None:
            self._app.say_problem(problem)
            return
        self.notify("the file changed on disk: reloaded", timeout=3)
        self._app.changed()
