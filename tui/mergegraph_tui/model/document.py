"""The recipe that is being edited: its text, how it came to be (undo and redo), and the file that it belongs to.

The text is the truth; every change, of whatever origin, is a new text with a name. Knows nothing of what the text
means: that is `checking`'s and `outline`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from mergegraph.errors import Problem
from mergegraph_tui.model.files import Stamp, read_text, stamp, write_text

if TYPE_CHECKING:
    from mergegraph_tui.model.splice import Edited

TYPING_PAUSE = 1.5
"""Seconds without a key after which typing is a new step."""
_MOST_STEPS = 1000

TEMPLATE = "mergegraph: 1\n\nmodels:\n\nnodes:\n"
UNTITLED = "untitled.yaml"


class OnDisk(Enum):
    """How the file of a document compares with what was last read or written."""

    SAME = "same"
    CHANGED = "changed"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Step:
    """A text, and the name of the edit that made it."""

    text: str
    label: str


class Document:
    """One open recipe. `path` is None until it has a file. Nothing here raises; what cannot be done is a Problem."""

    def __init__(
        self, text: str, path: Path | None = None, *, on_disk: Stamp | None = None, folder: Path | None = None
    ) -> None:
        # Taken now: the folder that is meant may go away while the document is open.
        self.path = path.absolute() if path else None
        self._folder = self.path.parent if self.path else (folder or Path.cwd()).absolute()
        self._steps = [Step(text, "")]
        self._now = 0
        self._saved = text if on_disk is not None or path is None else None
        self._on_disk = on_disk
        self._typed_at: float | None = None

    @classmethod
    def open(cls, path: Path) -> Document | Problem:
        """The document in a file; Problem where it cannot be read or is no text."""
        found = read_text(path)
        return found if isinstance(found, Problem) else cls(found[0], path, on_disk=found[1])

    @classmethod
    def new(cls, text: str = TEMPLATE, folder: Path | None = None) -> Document:
        """A document without a file, made from a template; relative paths in it are meant from `folder`."""
        return cls(text, folder=folder)

    @property
    def text(self) -> str:
        return self._steps[self._now].text

    @property
    def name(self) -> str:
        """The name of its file."""
        return self.path.name if self.path else UNTITLED

    @property
    def folder(self) -> Path:
        """Where relative paths of the recipe start."""
        return self.path.parent if self.path else self._folder

    @property
    def is_dirty(self) -> bool:
        """Whether the text is not what was last read from or written to the file."""
        return self.text != self._saved

    def edit(self, text: str, label: str) -> bool:
        """A new text as one step; False when it is the text that is there."""
        self._typed_at = None
        if text == self.text:
            return False
        del self._steps[self._now + 1 :]
        self._steps = [*self._steps, Step(text, label)][-_MOST_STEPS:]
        self._now = len(self._steps) - 1
        return True

    def apply(self, edited: Edited, label: str) -> Problem | None:
        """The result of an edit as one step; or the problem that it was."""
        if isinstance(edited, Problem):
            return edited
        self.edit(edited, label)
        return None

    def type(self, text: str, label: str = "typing", at: float | None = None) -> None:
        """A text that is being typed: one step with what was typed just before. `at`: the time, in seconds."""
        now = monotonic() if at is None else at
        is_going_on = self._typed_at is not None and now - self._typed_at <= TYPING_PAUSE
        if is_going_on and self._now == len(self._steps) - 1 and self._now > 0 and text != self.text:
            self._steps[self._now] = Step(text, label)
        else:
            self.edit(text, label)
        self._typed_at = now

    @property
    def can_undo(self) -> str:
        """The name of the edit that undo takes back; "" when there is none."""
        return self._steps[self._now].label if self._now else ""

    @property
    def can_redo(self) -> str:
        """The name of the edit that redo brings back; "" when there is none."""
        return self._steps[self._now + 1].label if self._now + 1 < len(self._steps) else ""

    def undo(self) -> str:
        """Take the last edit back; its name, "" when there is none."""
        label = self.can_undo
        self._now -= bool(self._now)
        self._typed_at = None
        return label

    def redo(self) -> str:
        """Bring the edit back that was undone last; its name, "" when there is none."""
        label = self.can_redo
        self._now += self._now + 1 < len(self._steps)
        self._typed_at = None
        return label

    def on_disk(self) -> OnDisk:
        """Whether the file is still as it was when it was read or written; looked at with one `stat`."""
        if self.path is None or self._on_disk is None:
            return OnDisk.SAME
        found = stamp(self.path)
        if found is None:
            return OnDisk.GONE
        return OnDisk.SAME if found == self._on_disk else OnDisk.CHANGED

    @property
    def would_replace(self) -> bool:
        """Whether a save would replace what somebody else wrote: a file that changed, or one that came to be."""
        there = stamp(self.path) if self.path else None
        return there is not None and there != self._on_disk

    def save(self, *, replace: bool = False) -> Problem | None:
        """Write the text to its file. A file that changed since it was read is kept, unless `replace` is said."""
        if self.path is None:
            return Problem("The recipe has no file yet.", fix="save it as a file: give a name such as merge.yaml")
        return self._write(self.path, replace=replace, expected=self._on_disk)

    def save_as(self, path: Path, *, replace: bool = False) -> Problem | None:
        """Write the text to `path` and go on with that file. One that is there is kept, unless `replace` is said."""
        is_own = self.path is not None and path.absolute() == self.path.absolute()
        return self._write(path, replace=replace, expected=self._on_disk if is_own else None)

    def reload(self) -> Problem | None:
        """The text that the file has now, as a step that can be undone."""
        if self.path is None:
            return Problem("The recipe has no file yet.", fix="save it first")
        found = read_text(self.path)
        if isinstance(found, Problem):
            return found
        text, self._on_disk = found
        self._saved = text
        self.edit(text, "reload")
        return None

    def keep_mine(self) -> None:
        """The file changed and the text here is wanted all the same: the next save replaces the file."""
        self._on_disk = stamp(self.path) if self.path else None
        self._saved = None

    def _write(self, path: Path, *, replace: bool, expected: Stamp | None) -> Problem | None:
        there = stamp(path)
        if there is not None and there != expected and not replace:
            if path == self.path:
                fact, why = f"{path} was changed by somebody else.", "it is not as it was when it was opened"
            else:
                fact, why = f"There is a file {path} already.", ""
            return Problem(fact, why=why, fix="replace it, or save as another name")
        problem = write_text(path, self.text)
        if problem is None:
            self.path, self._on_disk, self._saved = path.absolute(), stamp(path), self.text
        return problem
