"""Which record the Stats screen shows: the recipe's own, one that was chosen, or none until the recipe is measured.

Files are read in a thread, and measuring is a child process: no key ever waits for either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from textual.message import Message
from textual.timer import Timer

from mergegraph.errors import Problem
from mergegraph.stats.files import STATS
from mergegraph_tui.dialogs.pick import Choice, PickDialog, filtered
from mergegraph_tui.model.files import from_home, stamp, typed_path
from mergegraph_tui.model.loaded import LoadedRecord, load_record
from mergegraph_tui.model.measuring import Measurement, measure
from mergegraph_tui.model.records import measured_file, measured_folder, own_record, record_at, records
from mergegraph_tui.screens.base import PlaceScreen

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_ASCII_SPINNER = "|/-\\"
_TICK_SECONDS = 0.1


class StatsRecord(PlaceScreen):
    """`loaded` is shown, against `other` where two are compared."""

    class Loaded(Message):
        """A file was read, or not. `is_other`: to compare with."""

        def __init__(self, path: Path, found: LoadedRecord | Problem, *, is_other: bool) -> None:
            self.path, self.found, self.is_other = path, found, is_other
            super().__init__()

    def __init__(self) -> None:
        super().__init__()
        self.loaded: LoadedRecord | None = None
        self.other: LoadedRecord | None = None
        self._alone: tuple[LoadedRecord | None, Path | None] = (None, None)
        self.measurement: Measurement | None = None
        self._reading: Path | None = None
        self._refused: tuple[Path, object] | None = None
        self._ticks = 0
        self._timer: Timer | None = None

    def show_all(self) -> None:
        """Show the record; the screen knows how."""

    def show_busy(self) -> None:
        """Show that it is being measured."""

    def find_record(self) -> None:
        """See whether another record belongs to the recipe now, or the file has changed; read it then."""
        document, checked = self.workspace.document, self.workspace.checked
        if checked.text != document.text:
            return
        wanted = self.workspace.stats or own_record(document, checked)
        if wanted is None or self._reading == wanted or self._refused == (wanted, stamp(wanted)):
            return
        if self.loaded is None or self.loaded.path != wanted or self.loaded.stamp != stamp(wanted):
            self._read(wanted)

    def _read(self, path: Path, *, is_other: bool = False) -> None:
        if not is_other:
            self._reading = path

        def read() -> None:
            self.post_message(self.Loaded(path, load_record(path), is_other=is_other))

        self.run_worker(read, thread=True, group="other" if is_other else "record", exclusive=True, exit_on_error=False)

    def on_stats_record_loaded(self, event: Loaded) -> None:
        if not event.is_other:
            self._reading = None
        if isinstance(event.found, Problem):
            self._refused = event.path, stamp(event.path)
            self.mergegraph.say_problem(event.found)
        elif event.is_other:
            self.other, self._alone = event.found, (self.loaded, self.workspace.stats)
        else:
            self.loaded = self.workspace.record = event.found
        self.show_all()

    @property
    def is_of_this_text(self) -> bool:
        """Whether what is shown was not measured for another text of the recipe."""
        if self.loaded is None or self.loaded.path.parent != measured_folder():
            return True
        return self.loaded.path.stem.startswith(measured_file(self.workspace.document).stem)

    def bar_note(self) -> str:
        """What the bar says."""
        if self.loaded is None:
            return ""
        record = self.loaded.record
        shown = f"{record.result or 'models'} vs {record.base or 'nothing'}"
        if self.other is not None:
            return f"A {self.loaded.said}   B {self.other.said}"
        if self.is_of_this_text:
            return shown
        is_own = self.loaded.path.stem.startswith(measured_file(self.workspace.document).stem.rpartition("-")[0] + "-")
        return f"of {'an earlier text, r measures again' if is_own else 'another recipe'}: {shown}"

    def nothing_text(self) -> str:
        """What stands where there is no record."""
        if self.measurement is not None:
            return f"{self.busy_text()}\n\nThe models are read once; no model is written. You can go on editing."
        if self._reading is not None:
            return f"reading {self._reading}"
        return (
            "There are no statistics of this recipe yet.\n\n"
            "r   measure it: every model is read once, no model is written\n"
            "b   show the record of another output or file\n"
            "F3  run it with statistics: they are found in the pass that writes"
        )

    def busy_text(self) -> str:
        """That it is being measured, and for how long."""
        if self.measurement is None:
            return ""
        frames = _ASCII_SPINNER if self.workspace.ascii_only else _SPINNER
        return f"{frames[self._ticks % len(frames)]} measuring {self.measurement.seconds:.0f} s  "

    # Measuring

    def action_measure(self) -> None:
        """Begin, or stop what was begun."""
        if self.measurement is not None:
            self._end_measuring()
            self.notify("stopped measuring", timeout=2)
            self.show_all()
            return
        document = self.workspace.document
        if document.path is None or document.is_dirty:
            fix = "save it: ctrl+s, then r"
            self.mergegraph.say_problem(Problem("What is measured is the file, and this text is not saved.", fix=fix))
            return
        found = measure(document.path.absolute(), measured_file(document))
        if isinstance(found, Problem):
            self.mergegraph.say_problem(found)
            return
        self.measurement, self._ticks = found, 0
        self._timer = self.set_interval(_TICK_SECONDS, self._tick)
        self.show_all()

    def _tick(self) -> None:
        """Ten times a second while it is being measured."""
        if self.measurement is None:
            return
        self._ticks += 1
        ended = self.measurement.ended()
        if ended is None:
            self.show_busy()
            return
        self._end_measuring()
        if isinstance(ended, Problem):
            self.mergegraph.say_problem(ended)
        else:
            self.workspace.stats = None
            self.find_record()
        self.show_all()

    def _end_measuring(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        if self.measurement is not None:
            self.measurement.stop()
        self.measurement = self._timer = None

    def on_unmount(self) -> None:
        self._end_measuring()

    # Other records

    def action_record(self) -> None:
        """Show another one."""

        def choose(path: Path) -> None:
            self.other, self.workspace.stats = None, path
            self._refused = None
            self.find_record()
            self.show_all()

        self._ask("Show which record?", choose)

    def action_compare(self) -> None:
        """With another one; or back to one."""
        if self.other is not None:
            self.other = None
            self.loaded, self.workspace.stats = self._alone
            self.workspace.record = self.loaded
            self.show_all()
        elif self.loaded is not None:
            self._ask("Compare with which record?", lambda path: self._read(path, is_other=True))

    def action_swap(self) -> None:
        """A for B."""
        if self.other is not None and self.loaded is not None:
            self.loaded, self.other = self.other, self.loaded
            self.workspace.stats, self.workspace.record = self.loaded.path, self.loaded
            self.show_all()

    def _ask(self, title: str, then: Callable[[Path], None]) -> None:
        """One of the records that there are, or the path of one; then do something with it."""
        document = self.workspace.document
        listed = filtered([
            Choice(each.path, each.title, from_home(each.path), each.when)
            for each in records(document, self.workspace.checked, self.workspace.stats)
        ])  # fmt: skip

        def choices(typed: str) -> Sequence[Choice[Path]]:
            found = list(listed(typed))
            path = record_at(typed_path(typed, document.folder)) if typed.strip() else None
            if path is not None:
                found.insert(0, Choice(path, path.parent.name if path.name == STATS else path.name, str(path)))
            return found

        def chosen(path: Path | None) -> None:
            if path is not None:
                then(path)

        self.mergegraph.push_screen(
            PickDialog(
                title, choices, placeholder="type to filter, or the path of an output or a stats.json",
                empty="there is no such record; r measures the recipe", ascii_only=self.workspace.ascii_only,
            ),
            chosen,
        )  # fmt: skip
