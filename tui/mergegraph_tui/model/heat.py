"""What the heat map shows: a metric of a record, or the difference of two, in the cells of layers and kinds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from mergegraph.stats.compare import same_subject
from mergegraph.stats.html.series import cell_keys, series_of
from mergegraph.stats.metrics import METRICS, Metric, Missing, Subject, Unit, Value, shown, subjects
from mergegraph.stats.summary import OUTSIDE, Sums
from mergegraph_tui.model.loaded import Cell, LoadedRecord

FIRST = ("relative", "retention", "sign_conflict", "asymmetry", "cast_loss")
"""Metrics in the order that the switch goes through them; the others follow as they are in their table."""


REST = "rest"
"""What the row of tensors in no layer is called."""


@dataclass(frozen=True, slots=True)
class HeatCell:
    """`step`: 0 to 10 of the colours, -1 where there is no value."""

    text: str
    step: int


@dataclass(frozen=True, slots=True)
class HeatPicture:
    """`low` and `high`: what the ends of the colours stand for; `has_two_sides`: the middle is where nothing is."""

    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    cells: Mapping[Cell, HeatCell] = field(default_factory=dict[Cell, HeatCell])
    low: str = ""
    high: str = ""
    has_two_sides: bool = False

    @property
    def row_names(self) -> tuple[str, ...]:
        """Short names of the rows: the number, behind what tells its tower from the others where there are several."""
        towers = [row.rpartition(" ")[0].split(".") for row in self.rows]
        distinct = {tuple(tower) for tower in towers if tower != [""]}
        start = next((i for i, each in enumerate(zip(*distinct, strict=False)) if len(set(each)) > 1), 0)
        return tuple(
            REST if row == OUTSIDE else f"{'.'.join(tower[start : start + 1])} {row.rpartition(' ')[2]}".strip()
            for row, tower in zip(self.rows, towers, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """A metric and what it is about."""

    metric: Metric
    subject: Subject

    @property
    def title(self) -> str:
        return f"{self.metric.label} · {self.subject.label}" if self.subject.label else self.metric.label


@lru_cache(maxsize=4)
def choices(loaded: LoadedRecord) -> tuple[Choice, ...]:
    """All that can be shown of a record; of a metric of changes the result's comes first."""
    record = loaded.record
    order = [*FIRST, *(name for name in METRICS if name not in FIRST)]
    found: list[Choice] = []
    for name in order:
        about = subjects(METRICS[name], record)
        if about and METRICS[name].per == "change" and record.result:
            about = [about[-1], *about[:-1]]
        found += [Choice(METRICS[name], subject) for subject in about]
    return tuple(found)


def of(value_of: Metric, subject: Subject, sums: Sums | None, total: Sums) -> Value:
    """A metric of tensors that were added up."""
    asked = sums.asked(value_of) if sums is not None else None
    return Missing("no tensor") if asked is None else value_of.value(asked, subject, total.all)


@lru_cache(maxsize=8)
def picture(loaded: LoadedRecord, choice: Choice, other: LoadedRecord | None = None) -> HeatPicture:
    """The cells of a record; with `other` by how much they are above that one's."""
    table = loaded.grid
    found = series_of(choice.metric, choice.subject, table, loaded.total, other=_taken(loaded, choice, other))
    if found is None:
        return HeatPicture(table.rows, table.columns)
    keys, unit, is_signed = cell_keys(table), choice.metric.unit, other is not None
    cells = {
        key: HeatCell(text_of(value, unit, signed=is_signed), step)
        for key, value, step in zip(keys, found.values, found.steps, strict=True)
    }
    low, high = (text_of(end, unit, signed=is_signed) for end in (found.low, found.high))
    return HeatPicture(table.rows, table.columns, cells, low, high, is_signed or found.has_two_sides)


def text_of(value: Value, unit: Unit, *, signed: bool = False) -> str:
    """The value as a narrow cell has it; a difference always with its sign."""
    if isinstance(value, Missing):
        return ""
    text = shown(value, unit).replace(" %", "%")
    if unit == "number" and 0.00995 <= abs(value) < 0.9995:
        text = f"{value:.3f}"
    elif unit == "number" and 1e-3 <= abs(value) < 0.00995:
        text = f"{value:.4f}".replace("0.", ".", 1)
    return f"+{text}" if signed and value > 0 else text


def _taken(loaded: LoadedRecord, choice: Choice, other: LoadedRecord | None) -> tuple[Value, ...] | None:
    """What the other record has in the cells of this one."""
    if other is None:
        return None
    subject = same_subject(choice.metric, loaded.record, choice.subject, other.record)
    if subject is None:
        return tuple(Missing("the other record has no such value") for _ in cell_keys(loaded.grid))
    shared = {key: other.grid.cells.get(key) for key in cell_keys(loaded.grid) if loaded.shares(other, *key)}
    return tuple(of(choice.metric, subject, shared.get(key), other.total) for key in cell_keys(loaded.grid))
