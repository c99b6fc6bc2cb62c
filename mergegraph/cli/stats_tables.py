"""Tables of a record's tensors on a terminal, by one metric, and of what two records differ in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table

from mergegraph.cli.stats_text import add, columns, dim, heading, known
from mergegraph.stats.compare import Comparison, Difference
from mergegraph.stats.differing import differing
from mergegraph.stats.metrics import (
    METRICS,
    SUMMARY,
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
from mergegraph.stats.record import Record, TensorRecord
from mergegraph.stats.summary import whole
from mergegraph.units import format_count

MOST_COLUMNS = 5
"""Sources or pairs beside each other; rows are ordered by all of them."""


def show_table(console: Console, record: Record, metric: Metric, limit: int) -> None:
    """Tensors by `metric`, the highest first, with what it has values for beside each other, and what noise gives where
    the highest is."""
    total, every = whole(record), subjects(metric, record)
    chosen, left_out = some_subjects(metric, record, MOST_COLUMNS)
    if not every:
        dim(console, f"{metric.label_in(record)}: {why_none(metric, record)}")
        return
    rows = [(t, [metric.value(t, subject, total) for subject in every]) for t in record.tensors]
    rows.sort(key=lambda row: -_highest(row[1])[0])
    heading(console, f"{metric.label_in(record)}   {metric.formula}")
    table = columns(("tensor", *(subject.label or "value" for subject in chosen), "by noise"))
    for tensor, values in rows[:limit]:
        _row(table, metric, tensor, dict(zip(every, values, strict=True)), chosen)
    console.print(table)
    if left_out:
        dim(console, f"{left_out_words(left_out)} have no column; rows are ordered by the highest of all")
    dim(console, f"and {len(rows) - limit} more" if len(rows) > limit else "")


def _row(
    table: Table, metric: Metric, tensor: TensorRecord, values: dict[Subject, Value], chosen: list[Subject]
) -> None:
    cells = [shown(values[subject], metric.unit) for subject in chosen]
    highest = list(values)[_highest(list(values.values()))[1]]
    add(table, tensor.name, *cells, metric.noise_words(tensor, highest))


def _highest(values: Sequence[Value]) -> tuple[float, int]:
    """The highest value and its place; minus infinity where there is none."""
    numbers = [float("-inf") if isinstance(value, Missing) else value for value in values]
    return max(numbers), numbers.index(max(numbers))


def show_comparison(console: Console, comparison: Comparison, *, metric: str = "", limit: int = 20) -> None:
    """The whole model metric by metric, then the tensors that differ most, by `metric` where one is asked for."""
    for line in _notes(comparison):
        dim(console, line)
    wanted = [known(metric, METRICS, "metric", "metrics")] if metric else list(SUMMARY)
    heading(console, "Whole model")
    console.print(_differences([d for d in comparison.whole if d.metric.name in wanted]))
    tensors = differing(comparison, metric)
    if tensors:
        heading(console, f"Tensors that differ most in {tensors[0].metric.label_in(comparison.a)}")
        console.print(_differences(tensors[:limit]))
        dim(console, f"and {len(tensors) - limit} more" if len(tensors) > limit else "")


def _differences(differences: Sequence[Difference]) -> Table:
    table = columns(("what", "of", "first", "second", "difference", "by noise"))
    for each in differences:
        unit, moved = each.metric.unit, each.difference
        moved_text = "–" if moved is None else ("+" if moved > 0 else "") + shown(moved, unit)
        noise = "" if each.noise is None else f"± {shown(each.noise, unit)}"
        what = each.tensor or each.metric.label
        add(table, what, each.subject, shown(each.a, unit), shown(each.b, unit), moved_text, noise)
    return table


def _notes(comparison: Comparison) -> Iterator[str]:
    yield from comparison.notes
    for names, which in ((comparison.only_a, "first"), (comparison.only_b, "second")):
        if names:
            shown_names = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
            yield f"only in the {which}: {format_count(len(names), 'tensor')} ({shown_names})"
