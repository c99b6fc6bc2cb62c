"""Heat maps of a record on a terminal: layers down, kinds across. Where there is no colour, shades say as much."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mergegraph.cli.stats_text import dim, heading, words
from mergegraph.stats.metrics import (
    TIER_2,
    Metric,
    Missing,
    Subject,
    Value,
    left_out_words,
    shown,
    some_subjects,
    subjects,
    why_none,
)
from mergegraph.stats.record import Record
from mergegraph.stats.summary import OUTSIDE, Grid, by_kind, grid

MOST_MAPS = 6
"""Of one metric; the others are told of."""
WIDE = 110
"""From this width on a heat map splits attention and mlp into their parts."""

_SHADES = " ░▒▓█"
_COLOURS = ("#22304a", "#2d5070", "#3b7290", "#5b95a6", "#90b8b6", "#d3d9c4")
"""Dark to light, in even steps of lightness."""


def show_heat_map(console: Console, record: Record, metric: Metric, table: Grid | None = None) -> None:
    """One map for each source or pair; of a change the result's where there is one. `table`: the record's, where it is
    known."""
    table = table or grid(record)
    table_of, total = table if console.width >= WIDE else by_kind(table), table.total.all
    chosen, left_out = _chosen(metric, record)
    if not chosen:
        console.print()
        dim(console, f"{metric.label_in(record)}: {why_none(metric, record)}")
    for subject in chosen:
        label = metric.label_in(record)
        heading(console, f"{label}{f' of {subject.label}' if subject.label else ''}   {metric.formula}")
        values = {
            (row, column): metric.value(tensor, subject, total)
            for row in table_of.rows
            for column in table_of.columns
            if (cell := table_of.cells.get((row, column))) is not None and (tensor := cell.asked(metric)) is not None
        }
        numbers = [value for value in values.values() if not isinstance(value, Missing)]
        if not numbers:
            dim(console, f"no value: {_reason(list(values.values()))}")
            continue
        _print_map(console, table_of.rows, table_of.columns, values, metric)
        console.print(Text(f"{_legend(console, numbers, metric)}   {metric.reading}", "dim"))
        if metric.name in TIER_2 and console.width < WIDE:
            console.print(Text(f"Cells of several matrices have no value; from {WIDE} columns on each has one.", "dim"))
    if left_out:
        dim(console, f"{left_out_words(left_out)} without a map: --csv FILE has the values, tensor by tensor")


def _chosen(metric: Metric, record: Record) -> tuple[list[Subject], list[Subject]]:
    """What there is a map of, and what there is none of."""
    if record.result and metric.per == "change":
        every = subjects(metric, record)
        return every[-1:], every[:-1]
    return some_subjects(metric, record, MOST_MAPS)


def _print_map(
    console: Console,
    rows: Sequence[str],
    columns: Sequence[str],
    values: dict[tuple[str, str], Value],
    metric: Metric,
) -> None:
    shade = _steps([value for value in values.values() if not isinstance(value, Missing)], len(_COLOURS))
    table = Table(box=None, pad_edge=False, padding=0, collapse_padding=True)
    table.add_column("layer  ", justify="right", no_wrap=True)
    for column in columns:
        table.add_column(words(column), justify="right", min_width=max(8, len(column) + 1))
    for row in rows:
        cells = [_cell(console, values.get((row, column)), metric, shade) for column in columns]
        table.add_row(words(f"{'none' if row == OUTSIDE else row}  "), *cells)
    console.print(table)


def _cell(console: Console, value: Value | None, metric: Metric, shade: Callable[[float], int]) -> Text:
    if value is None:
        return Text("")
    text = shown(value, metric.unit)
    if isinstance(value, Missing):
        return Text(f"{text} ")
    step = shade(value)
    if console.color_system is None:
        return Text(f" {text}{_SHADES[step * (len(_SHADES) - 1) // (len(_COLOURS) - 1)]}")
    return Text(f" {text} ", f"{'white' if step < 3 else 'black'} on {_COLOURS[step]}")


def _steps(numbers: Sequence[float], steps: int) -> Callable[[float], int]:
    """Even steps from the lowest to the highest."""
    low, high = min(numbers), max(numbers)
    return lambda value: min(int((value - low) / (high - low) * steps), steps - 1) if high > low else 0


def _legend(console: Console, numbers: Sequence[float], metric: Metric) -> str:
    scale = "dark to light" if console.color_system is not None else "blank to █"
    return f"{scale}: {shown(min(numbers), metric.unit)} to {shown(max(numbers), metric.unit)}"


def _reason(values: Sequence[Value]) -> str:
    return next((value.reason for value in values if isinstance(value, Missing)), "no tensor was looked at")
