"""What a heat map can show: for each metric and what it is about, the value of every cell, its text and its step.

A step is one of 11, even between the lowest and the highest value; where a metric has a centre, even on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mergegraph.stats.metrics import METRICS, Metric, Missing, Subject, Value, shown, some_subjects, subjects
from mergegraph.stats.pooling import Sums
from mergegraph.stats.record import Record
from mergegraph.stats.summary import OUTSIDE, Grid

STEPS = 11
MOST_SUBJECTS = 12
"""Of one metric; with ten sources there are 45 pairs, and a file has to stay small."""
HIDDEN = frozenset(("base_norm", "z", "nonfinite"))
"""Metrics that make no picture."""


@dataclass(frozen=True, slots=True)
class Series:
    """`key` is what the page calls it; `steps` has -1 where a cell has no value."""

    key: str
    metric: Metric
    subject: Subject
    values: tuple[Value, ...]
    steps: tuple[int, ...]
    low: float
    high: float

    @property
    def has_two_sides(self) -> bool:
        return self.metric.centre is not None


def cell_keys(table: Grid) -> list[tuple[str, str]]:
    """(row, column) of every cell, in the order of `Series.values`: column by column of the table, down its layers."""
    return [(row, column) for column in table.columns for row in table.rows if (row, column) in table.cells]


def all_series(record: Record, table: Grid, total: Sums) -> list[Series]:
    """Those that have a value anywhere."""
    return list(_series(record, table, total))


def line(one: Series, table: Grid, total: Sums) -> tuple[tuple[str, Value], ...]:
    """The metric by layer, all tensors of a layer as one."""
    rows = [row for row in table.rows if row != OUTSIDE]
    return tuple((row, _value(one.metric, one.subject, table.by_row[row], total)) for row in rows)


def left_out(record: Record) -> bool:
    return any(len(subjects(metric, record)) > MOST_SUBJECTS for metric in METRICS.values())


def series_of(
    metric: Metric, subject: Subject, table: Grid, total: Sums, key: str = "", other: Sequence[Value] | None = None
) -> Series | None:
    """One metric of one subject; None where no cell has a value. Of two records the differences, `other` being what
    is taken from the values."""
    values = tuple(_value(metric, subject, table.cells[each], total) for each in cell_keys(table))
    if other is not None:
        values = tuple(map(difference, values, other))
    having = [value for value in values if not isinstance(value, Missing)]
    if not having:
        return None
    low, high = _range(having, metric.centre if other is None else 0.0)
    steps = tuple(-1 if isinstance(v, Missing) else _step(v, low, high) for v in values)
    return Series(key, metric, subject, values, steps, low, high)


def difference(value: Value, other: Value) -> Value:
    """value − other; Missing where either is."""
    if isinstance(value, Missing):
        return value
    return other if isinstance(other, Missing) else value - other


def _series(record: Record, table: Grid, total: Sums) -> Iterator[Series]:
    for metric in METRICS.values():
        if metric.name in HIDDEN:
            continue
        for number, subject in enumerate(some_subjects(metric, record, MOST_SUBJECTS)[0]):
            one = series_of(metric, subject, table, total, f"{metric.name}.{number}")
            if one is not None:
                yield one


def _value(metric: Metric, subject: Subject, sums: Sums, total: Sums) -> Value:
    asked = sums.asked(metric)
    return Missing("no matrix") if asked is None else metric.value(asked, subject, total.all)


def _range(values: Sequence[float], centre: float | None) -> tuple[float, float]:
    if centre is None:
        return min(values), max(values)
    reach = max(abs(value - centre) for value in values)
    return centre - reach, centre + reach


def _step(value: float, low: float, high: float) -> int:
    return min(int((value - low) / (high - low) * STEPS), STEPS - 1) if high > low else STEPS // 2


def words(value: Value, metric: Metric) -> str:
    """The value, or why there is none."""
    return f"no value: {value.reason}" if isinstance(value, Missing) else shown(value, metric.unit)
