"""A search that is followed: a thread of its own looks at its ledger, and what it saw last is a plain value.

A search is a process that outlives whoever started it: `mergegraph search` in a session of its own. It is shown in the
same way whoever began it, from its folder alone. No Textual.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

from mergegraph.errors import InputError, Problem
from mergegraph.search.document import is_search, load_search
from mergegraph.search.ledger import LEDGER, Seen, writer
from mergegraph.search.summary import Summary, summarise
from mergegraph_tui.model.runs import IGNORING_SIGHUP, leave

FOUND = "found.yaml"
_LOOK_SECONDS = 0.2
_SHOWN_BYTES = 8_000

State = Literal["not begun", "starting", "running", "stopping", "stopped", "failed", "ended early", "done"]


@dataclass(frozen=True)
class SearchView:
    """One moment of a search. `file`: its YAML, None where nobody says; `pid`: its process, 0 where none lives;
    `said`: why it could not begin or go on; `seconds`: how long the candidate that is evaluated has taken."""

    place: Path
    file: Path | None
    summary: Summary = field(default_factory=Summary)
    pid: int = 0
    is_starting: bool = False
    is_stopping: bool = False
    said: str = ""
    seconds: int = 0
    found: Path | None = None

    @property
    def state(self) -> State:
        """In a word or two."""
        if self.pid:
            return "stopping" if self.is_stopping else "running"
        if self.is_starting:
            return "starting"
        if self.summary.state == "none":
            return "not begun"
        if self.summary.state == "running":
            return "stopped"
        if self.summary.ended.startswith("failed"):
            return "failed"
        return "done" if self.summary.ended == "done" else "ended early"

    @property
    def is_alive(self) -> bool:
        return self.state in ("starting", "running", "stopping")

    @property
    def name(self) -> str:
        """Of the search, or of its file or folder where it has not begun."""
        return self.summary.name or (self.file.stem if self.file is not None else self.place.name)

    @property
    def note(self) -> str:
        """For a line that is about something else: `running 12`."""
        return f"{self.state} {self.summary.evaluations}" if self.pid and self.summary.evaluations else self.state


class FollowedSearch:
    """Follows the search in the folder `place`. `file`: its YAML, where it is known; else the ledger names it."""

    def __init__(self, place: Path, file: Path | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._file = file
        self._seen = Seen(place)
        self._child: tuple[subprocess.Popen[bytes], IO[bytes]] | None = None
        self._is_starting = self._is_stopping = False
        self._said = ""
        self._closed = threading.Event()
        self._looking = threading.RLock()
        self.view = SearchView(place, file)
        self.look()

    @property
    def place(self) -> Path:
        return self.view.place

    def begin(self) -> None:
        """Look from now on, in a thread."""
        threading.Thread(target=self._watch, name="search", daemon=True).start()

    def close(self) -> None:
        """Look no more. The search goes on."""
        self._closed.set()
        with self._looking:
            child, self._child = self._child, None
            if child is not None:
                child[1].close()
                leave(child[0])

    def look(self) -> SearchView:
        """One look; the same value where nothing is new."""
        with self._looking:
            # Asked in this order: what a search writes last is there when it is seen to have ended.
            pid = self._process()
            summary = self._summary()
            self._is_starting = self._is_starting and self._child is not None and not pid
            self._is_stopping = self._is_stopping and (self._child is not None or pid > 0)
            view = SearchView(
                self.place, self._file or self._named(summary), summary, pid, self._is_starting, self._is_stopping,
                self._said, self._seconds(summary) if pid else 0, self._found(summary),
            )  # fmt: skip
            if view != self.view:
                self.view = view
            return self.view

    def _process(self) -> int:
        """The process that runs it; 0 where none does. One that lets go of the folder only to end is still there: what
        it says last is not taken from another that begins behind it."""
        pid = writer(self.place)
        self._look_at_child()
        if pid or self._child is None or self._is_starting:
            return pid
        return self._child[0].pid

    def _summary(self) -> Summary:
        try:
            is_new = self._seen.look()
        except InputError as error:
            self._said = str(error.problems[0])
            return self.view.summary
        return summarise(self._seen.entries) if is_new else self.view.summary

    def _named(self, summary: Summary) -> Path | None:
        file = Path(os.path.normpath(self.place / summary.file)) if summary.file else None
        return file if file is not None and file.is_file() else None

    def _found(self, summary: Summary) -> Path | None:
        """The recipe, once the search has ended: one of before is not this one's."""
        there = self.place / FOUND
        return there if summary.state == "ended" and summary.best is not None and there.is_file() else None

    def _seconds(self, summary: Summary) -> int:
        """Since the last entry, which says what is evaluated."""
        if not summary.evaluating:
            return 0
        try:
            return max(0, int(self._clock() - (self.place / LEDGER).stat().st_mtime))
        except OSError:
            return 0

    def start(self) -> Problem | None:
        """Begin it, or go on with it; what stands in the way where it cannot."""
        file = self.view.file
        if self.view.is_alive:
            return None
        if file is None:
            fix = f"mergegraph search SEARCH.yaml -o {self.place}"
            return Problem("The file of this search is not where its ledger says.", why=self.view.summary.file, fix=fix)
        command = ["-P", "-m", "mergegraph", "search", "--quiet", f"--output={self.place}", "--", str(file)]
        said = tempfile.TemporaryFile()  # noqa: SIM115 - the child writes to it while it lives
        try:
            child = subprocess.Popen(
                [*IGNORING_SIGHUP, sys.executable, *command],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            said.close()
            return Problem("The search was not started.", why=str(error), fix=f"mergegraph search {file}")
        with self._looking:
            self._child, self._said, self._is_starting, self._is_stopping = (child, said), "", True, False
            self.look()
        return None

    def stop(self) -> bool:
        """Ask it to end; what is evaluated stays. False where it does not run."""
        with self._looking:
            pid = self._process()
            if not pid:
                return False
            try:
                os.kill(pid, signal.SIGINT)
            except (ProcessLookupError, PermissionError):
                return False
            self._is_stopping = True
        return True

    def _look_at_child(self) -> None:
        """Take what it said where it has ended and was not content."""
        if self._child is None or self._child[0].poll() is None:
            return
        child, said = self._child
        self._child = None
        if child.returncode:
            said.seek(0)
            words = said.read(_SHOWN_BYTES).decode(errors="replace").strip()
            self._said = words or f"mergegraph search ended with code {child.returncode}"
        said.close()

    def _watch(self) -> None:
        while not self._closed.wait(_LOOK_SECONDS):
            self.look()


def search_at(path: Path) -> FollowedSearch | None:
    """The search that `path` means: its folder, or its file; None where it is neither. RecipeError for a file that is
    a search with faults."""
    if path.is_dir():
        return FollowedSearch(path) if (path / LEDGER).is_file() else None
    if not path.is_file() or not is_search(path):
        return None
    return FollowedSearch(load_search(path).place(None), path)
