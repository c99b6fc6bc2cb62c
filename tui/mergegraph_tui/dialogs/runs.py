"""The runs of this machine, those that live first; one is picked to be shown."""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.message import Message
from textual.widgets import Label, OptionList
from textual.widgets.option_list import Option

from mergegraph.units import format_seconds
from mergegraph_tui.dialogs.dialog import Dialog
from mergegraph_tui.model.recipes import ago
from mergegraph_tui.model.runs import Done, End, Failed, Lost, RegisteredRun, Run, Stopped, known
from mergegraph_tui.widgets.marked_list import MarkedList

_LOOK_SECONDS = 1.0
_MOST = 20


@dataclass(frozen=True, slots=True)
class Listed:
    """One run, as the list shows it."""

    run: RegisteredRun
    is_alive: bool
    text: str


def listed(now: float, *, ascii_only: bool = False) -> list[Listed]:
    """The runs that live, then the last ones that ended, each newest first. Reads their folders: for a thread."""
    found = [_listed(run, now, ascii_only=ascii_only) for run in known()[:_MOST]]
    return sorted(found, key=lambda each: not each.is_alive)


def _listed(run: RegisteredRun, now: float, *, ascii_only: bool) -> Listed:
    where = ", ".join(map(str, run.outputs)) or shlex.join(run.arguments)
    end = run.end()
    if end is None:
        progress = run.progress()
        share = f" {100 * progress.bytes_done // progress.bytes_total} %" if progress and progress.bytes_total else ""
        state = f"{progress.state if progress else 'starting'}{share}"
        mark, when = ">" if ascii_only else "▸", f"process {run.pid}, for {format_seconds(max(0.0, now - run.began))}"
    else:
        blocks, plain, state = _marks(end)
        mark, when = plain if ascii_only else blocks, f"began {ago(max(0.0, now - run.began))}"
    return Listed(run, end is None, f"{mark} {state:<14} {where}   {when}")


def _marks(end: End) -> tuple[str, str, str]:
    match end:
        case Done():
            return "✓", "*", "done"
        case Failed():
            return "✗", "x", "failed"
        case Stopped():
            return "■", "#", "stopped"
        case Lost():
            return "✗", "x", "lost"


class RunsDialog(Dialog[RegisteredRun]):
    """`shown`: the run that is followed already."""

    TITLE = "Runs of this machine"
    HINT = "enter shows one   esc goes back"
    DEFAULT_CSS = """
    RunsDialog > #frame { width: 94%; max-width: 140; }
    """

    class Looked(Message):
        """The runs, as they are now."""

        def __init__(self, found: Sequence[Listed]) -> None:
            self.found = found
            super().__init__()

    def __init__(self, shown: Run | None = None, *, ascii_only: bool = False) -> None:
        super().__init__()
        self._shown, self._ascii_only = shown, ascii_only
        self._listed: Sequence[Listed] = ()
        self._is_looking = False

    def compose_body(self) -> ComposeResult:
        yield Label("looking", id="none")
        yield MarkedList(id="runs")

    def on_mount(self) -> None:
        self._look()
        self.set_interval(_LOOK_SECONDS, self._look)

    def _look(self) -> None:
        """In a thread: a state folder may be on a slow disk."""
        if not self._is_looking:
            self._is_looking = True
            threading.Thread(target=self._look_in_thread, name="runs", daemon=True).start()

    def _look_in_thread(self) -> None:
        found = listed(time.time(), ascii_only=self._ascii_only)
        self._is_looking = False
        self.post_message(self.Looked(found))

    def on_runs_dialog_looked(self, event: Looked) -> None:
        runs = self.query_one(OptionList)
        at = self._at(runs.highlighted)
        self._listed = event.found
        self.query_one("#none", Label).display = not event.found
        self.query_one("#none", Label).update("There has been no run yet.")
        runs.set_options([Option(self._line(each), each.run.folder.name) for each in event.found])
        names = [each.run.folder.name for each in event.found]
        runs.highlighted = names.index(at) if at in names else 0 if names else None
        runs.focus()

    def _at(self, highlighted: int | None) -> str:
        in_list = highlighted is not None and highlighted < len(self._listed)
        return self._listed[highlighted].run.folder.name if in_list and highlighted is not None else ""

    def _line(self, each: Listed) -> Text:
        shown = "   (shown)" if each.run == self._shown else ""
        return Text(each.text + shown, style="bold" if each.is_alive else "", no_wrap=True, overflow="ellipsis")

    @on(OptionList.OptionSelected)
    def _pick(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._listed[event.option_index].run)
