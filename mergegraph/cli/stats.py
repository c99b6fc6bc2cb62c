"""`stats`: a record is counted, or read, and shown; files are written where they are asked for."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console

from mergegraph.cli.checking import show_warnings
from mergegraph.cli.stats_plan import Asked, plan_of
from mergegraph.cli.stats_tables import show_comparison
from mergegraph.cli.stats_text import known
from mergegraph.cli.stats_views import show_record
from mergegraph.cli.terminal import has_colour, say, say_styled, say_text
from mergegraph.cli.verifying import progress_line
from mergegraph.errors import InputError, OutputError, Problem, RecipeError
from mergegraph.pipeline import collector_paused, look
from mergegraph.plan.plan import Plan
from mergegraph.plan.strengths import strengths_in
from mergegraph.plan.survey import Survey
from mergegraph.stats.compare import compare
from mergegraph.stats.csv_file import to_csv
from mergegraph.stats.differing import comparison_csv, comparison_json
from mergegraph.stats.files import is_record, load, to_json
from mergegraph.stats.hints import Strengths
from mergegraph.stats.html import report
from mergegraph.stats.metrics import METRICS
from mergegraph.stats.record import Record
from mergegraph.stats.strengths import strengths_of
from mergegraph.stats.summary import Grid, grid
from mergegraph.tensors.disk import replace_file
from mergegraph.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from mergegraph.execute.events import Publisher
    from mergegraph.execute.surveying import Surveyed


_WIDTH: Final = 100
"""Of what no terminal shows."""


_Told = Callable[[Grid], Strengths | None]
"""The strengths of a record, whose tensors are added up already."""


@dataclass(frozen=True)
class Shown:
    """What is shown of a record: a heat map of `metric`; only one tensor; only the table sorted by a metric, of at most
    `limit` rows."""

    metric: str = ""
    tensor: str = ""
    sort: str = ""
    limit: int = 20


@dataclass(frozen=True)
class Files:
    """What is written beside what is shown; of several records, with the name of the save before the suffix. A
    comparison is a table or JSON, and no report."""

    html: Path | None = None
    json: Path | None = None
    csv: Path | None = None


def show_stats(asked: Asked, files: Files, shown: Shown, *, quiet: bool) -> None:
    """Raises what finding, planning and measuring raise."""
    _refuse_bad_files(asked, files)
    for metric in filter(None, (shown.metric, shown.sort)):
        known(metric, METRICS, "metric", "metrics")
    if _are_records(asked):
        records = [load(path) for path in asked.sources]
        if len(records) == 2:
            with collector_paused():
                _compare(records[0], records[1], files, shown, quiet=quiet)
            return
        _require_tensor(shown.tensor, [tensor.name for tensor in records[0].tensors])
        strengths: list[_Told] = [partial(strengths_of, record) for record in records]
    else:
        records, strengths = _counted(asked, shown, quiet=quiet)
    # A record of many tensors is millions of objects, which the collector would look at again and again.
    with collector_paused():
        _write(records, strengths, files)
        for record, own in zip(records, strengths, strict=True) if not quiet else ():
            _show(record, own, shown)


def _counted(asked: Asked, shown: Shown, *, quiet: bool) -> tuple[list[Record], list[_Told]]:
    """The records, and what the recipe says of strengths."""
    planned = plan_of(asked)
    show_warnings(planned.warnings)
    planned.validate()
    _require_tensor(shown.tensor, [tensor.name for survey in planned.surveys for tensor in survey.tensors])
    surveyed = _measured(planned, asked, shown=not quiet)
    if not quiet:
        _show_cost(surveyed)
    return list(surveyed.records), [partial(_of_recipe, survey) for survey in planned.surveys]


def _of_recipe(survey: Survey, table: Grid) -> Strengths | None:
    """What its own numbers say; the inner products, which `table` has, are not asked."""
    return strengths_in(survey)


def _require_tensor(name: str, names: Sequence[str]) -> None:
    """Where one is asked for."""
    if name:
        known(name, dict.fromkeys(names), "tensor", "tensors")


def _are_records(asked: Asked) -> bool:
    """Whether records are only shown or compared; a model that has one is measured where something else is asked."""
    kept = [is_record(path) for path in asked.sources]
    measuring = _of_measuring(asked)
    files = [path for path in asked.sources if path.suffix == ".json" and path.is_file()]
    if files and measuring:
        fix = f"name the recipe or the models in its place, or leave {measuring} out"
        raise RecipeError(Problem(f"{files[0]} is a record: {measuring} needs a recipe or models.", fix=fix))
    if measuring or not all(kept):
        return False
    if len(kept) > 2:
        raise RecipeError(Problem(f"{len(kept)} records were named; two are compared.", fix="name one or two"))
    return True


def _of_measuring(asked: Asked) -> str:
    """The option that only goes with counting, where there is one."""
    asks = {"--exact": asked.exact, "--base": asked.base is not None, "--tier 2": asked.tier > 1, "--set": asked.sets}
    return next((option for option, is_asked in asks.items() if is_asked), "")


def _compare(a: Record, b: Record, files: Files, shown: Shown, *, quiet: bool) -> None:
    if files.html is not None:
        fix = "--csv FILE or --json FILE writes the comparison; a report of one of them: name it alone"
        raise RecipeError(Problem("--html is a report of one record, and two were named.", fix=fix))
    if shown.tensor or shown.sort:
        option = "--tensor" if shown.tensor else "--sort"
        fix = "name one record, or --metric for the tensors that differ most in it"
        raise RecipeError(Problem(f"{option} is about one record, and two were named.", fix=fix))
    comparison = compare(a, b)
    if files.json is not None:
        replace_file(files.json, comparison_json(comparison, shown.metric), sync=False)
    if files.csv is not None:
        replace_file(files.csv, comparison_csv(comparison, shown.metric).encode(), sync=False)
    if not quiet:
        _draw(lambda console: show_comparison(console, comparison, metric=shown.metric, limit=shown.limit))


def _measured(planned: Plan, asked: Asked, *, shown: bool) -> Surveyed:
    with progress_line(shown=shown) as tick:

        def told(publisher: Publisher) -> None:
            tick(publisher.progress.bytes_done, publisher.progress.bytes_total)

        return look(planned, every_element=asked.exact, tier=asked.tier, on_tick=told)


def _refuse_bad_files(asked: Asked, files: Files) -> None:
    """Before anything is read."""
    problems = [
        Problem(f"{path} cannot be written: {why}.", fix="name a file in a folder that exists")
        for path in (files.html, files.json, files.csv)
        if path is not None
        and (why := "it is a folder" if path.is_dir() else "" if path.parent.is_dir() else f"there is no {path.parent}")
    ]
    if problems:
        raise OutputError(*problems)
    missing = [path for path in asked.sources if path.suffix == ".json" and not path.exists()]
    if missing:
        why = "a record is written by `run --stats`, and by `stats --json`"
        raise InputError(
            *[Problem(f"There is no record {path}.", why=why, fix=f"mergegraph stats RECIPE --json {path}")
              for path in missing]
        )  # fmt: skip


def _write(records: Sequence[Record], strengths: Sequence[_Told], files: Files) -> None:
    for record, own in zip(records, strengths, strict=True):
        name = record.result if len(records) > 1 else ""
        if files.json is not None:
            replace_file(_beside(files.json, name), to_json(record), sync=False)
        if files.csv is not None:
            replace_file(_beside(files.csv, name), to_csv(record).encode(), sync=False)
        if files.html is not None:
            table = grid(record)
            replace_file(_beside(files.html, name), report(record, own(table), table).encode(), sync=False)


def _beside(path: Path, name: str) -> Path:
    return path.with_name(f"{path.stem}-{name}{path.suffix}") if name else path


def _show_cost(surveyed: Surveyed) -> None:
    say_text(
        f"read {format_bytes(surveyed.read_bytes)} in {format_seconds(surveyed.seconds)}; memory "
        f"{format_bytes(surveyed.measured_bytes)} measured, of {format_bytes(surveyed.reserved_bytes)} reserved + "
        f"{format_bytes(surveyed.budget_bytes)} budget"
    )


def _show(record: Record, strengths: _Told, shown: Shown) -> None:
    if shown.tensor and all(tensor.name != shown.tensor for tensor in record.tensors):
        return
    if shown.tensor or shown.sort:
        for problem in record.problems:
            say(problem)
    table = None if shown.tensor or shown.sort else grid(record)
    known_strengths = None if table is None else strengths(table)
    _draw(
        lambda console: show_record(
            console, record, metric=shown.metric, tensor=shown.tensor, sort=shown.sort, limit=shown.limit,
            strengths=known_strengths, table=table,
        )
    )  # fmt: skip


def _draw(draws: Callable[[Console], None]) -> None:
    """In colour on a terminal, in shades elsewhere; a reader that goes away ends nothing."""
    drawn = io.StringIO()
    is_coloured = has_colour(sys.stdout)
    width = shutil.get_terminal_size((_WIDTH, 24)).columns if sys.stdout.isatty() else _WIDTH
    draws(Console(file=drawn, force_terminal=is_coloured, no_color=not is_coloured, width=width, highlight=False,
                  color_system="auto" if is_coloured else None))  # fmt: skip
    say_styled(drawn.getvalue().rstrip("\n"))
