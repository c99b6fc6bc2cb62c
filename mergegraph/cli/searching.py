"""`search`: a search is run or gone on with; a table fills from its ledger, the results go to stdout."""

from __future__ import annotations

import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mergegraph.cli.source import require_file
from mergegraph.cli.terminal import note, say, say_json
from mergegraph.errors import Location, MergegraphError, OutputError, Problem
from mergegraph.search.document import load_search
from mergegraph.search.driver import Tell
from mergegraph.search.ledger import Entry, read_ledger
from mergegraph.search.page import report
from mergegraph.search.picture import require_matplotlib, write_picture
from mergegraph.search.run import run_search
from mergegraph.search.summary import Row, Summary, summarise
from mergegraph.search.text import lines, numbers
from mergegraph.tensors.disk import replace_file

if TYPE_CHECKING:
    from rich.console import RenderableType

REPORT = "report.html"
_ROWS = 12


def show_search(
    file: Path, output: Path | None, png: Path | None, *, retry_rejected: bool, as_json: bool, quiet: bool
) -> None:
    """Run the search and say what it found. The report lies beside its ledger."""
    require_file(file, "search")
    loaded = load_search(file)
    if png is not None:
        require_matplotlib()
        if not png.absolute().parent.is_dir():
            raise OutputError(
                Problem(f"There is no folder {png.parent}.", Location("--png"), fix=f"mkdir {png.parent}")
            )
    place = loaded.place(output)
    try:
        with _stoppable(), _telling(as_json=as_json, quiet=quiet) as tell:
            result = run_search(loaded, output, tell, _silent if quiet else _warn, retry_rejected=retry_rejected)
    except MergegraphError:
        if read_ledger(place):
            _write_report(place)
        raise
    summary = _write_report(place)
    if png is not None:
        write_picture(summary, png)
    if not as_json and not quiet:
        say(*lines(summary))
        if result.recipe is not None:
            say(f"  recipe    {result.command}")
        say(f"  report    {place / REPORT}")


def _warn(problem: Problem) -> None:
    note(str(problem))


def _silent(problem: Problem) -> None:
    """`--quiet`: errors alone are said."""


def _write_report(place: Path) -> Summary:
    summary = summarise(read_ledger(place))
    replace_file(place / REPORT, report(summary).encode(), sync=False)
    return summary


@contextmanager
def _stoppable() -> Generator[None]:
    """SIGINT ends the search also where it was started with that ignored, as shells do to what they start with &."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def _telling(*, as_json: bool, quiet: bool) -> Generator[Tell]:
    """Who hears of the ledger's entries: nobody, a program, a terminal, or a log."""
    if as_json:
        yield lambda entry: say_json(dict(entry))
    elif quiet:
        yield lambda entry: None
    elif sys.stderr.isatty():
        with _live_table() as tell:
            yield tell
    else:
        yield _log


def _log(entry: Entry) -> None:
    if entry["event"] == "evaluated":
        note(f"{entry['split']}  {entry['label']}  {numbers(entry['metrics']) or 'rejected: ' + entry['reason']}")
    elif entry["event"] == "decided":
        note(f"{'accepted' if entry['accepted'] else 'left out'}  {entry['label']}: {entry['why']}")


@contextmanager
def _live_table() -> Generator[Tell]:
    from rich.console import Console
    from rich.live import Live

    entries: list[Entry] = []
    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:

        def tell(entry: Entry) -> None:
            entries.append(entry)
            live.update(table(summarise(entries)), refresh=True)

        yield tell


def table(summary: Summary) -> RenderableType:
    """The last candidates with their numbers, the best so far, and what is being evaluated."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=_title(summary), title_justify="left", box=None, pad_edge=False)
    for name in ("", "candidate", *summary.goals, ""):
        shown.add_column(Text(name), justify="right" if name in summary.goals else "left")
    rows = [*summary.rows[-_ROWS:]]
    if summary.best is not None and summary.best not in rows:
        rows.insert(0, summary.best)
    for row in rows:
        values = [f"{row.metrics[name]:.5g}" if name in row.metrics else "–" for name in summary.goals]
        mark = "*" if summary.best == row else ""
        shown.add_row(*map(Text, (mark, row.label, *values, _said(row))))
    if summary.evaluating:
        shown.add_row(*map(Text, ("", summary.evaluating, *("" for _ in summary.goals), "…")))
    return shown


def _title(summary: Summary) -> str:
    most = f" of {summary.most_evaluations}" if summary.most_evaluations is not None else ""
    return f"{summary.name}: {summary.evaluations}{most} evaluated"


def _said(row: Row) -> str:
    return f"rejected: {row.reason}" if row.reason else row.why
