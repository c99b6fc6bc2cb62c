"""Many tensors as one: whole models, layers, kinds. Sums add up, so every metric of a whole is exact, not a mean.

Where means over tensors are shown beside it, they are weighted, by parameters and by the energy of the change: a plain
mean would count a norm of 4,096 elements like a matrix of 16 million.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mergegraph.stats import gram
from mergegraph.stats.adding import added
from mergegraph.stats.metrics import Metric, Missing, Subject, Value
from mergegraph.stats.pooling import Sums, joined, pooled, sums
from mergegraph.stats.record import Record, TensorRecord
from mergegraph.units import format_count

OUTSIDE = "outside"
"""The row of tensors that are in no layer."""
NAMED = 3
"""Tensors that a line about many names."""
_NONE = "no tensor was looked at"


@dataclass(frozen=True, slots=True)
class Overview:
    """One metric of the whole model. `pooled` is the metric of all tensors as one; the means, lowest and highest are
    over the tensors that have a value, `counted` of `of` elements."""

    pooled: Value
    by_parameters: Value
    by_energy: Value
    lowest: Value
    highest: Value
    counted: int
    of: int


@dataclass(frozen=True, slots=True)
class Grid:
    """Tensors added up by row (layer) and column (kind), by row alone, and all; a cell without tensors is not there."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: Mapping[tuple[str, str], Sums]
    by_row: Mapping[str, Sums]
    total: Sums


def whole(record: Record) -> TensorRecord | None:
    """All tensors as one."""
    return pooled(record.tensors, name="whole model")


class Overviews:
    """Metrics over all tensors of a record, of which `total` is the sum; each value is found once."""

    def __init__(self, record: Record, total: Sums) -> None:
        self._tensors, self._total = record.tensors, total
        self._elements = [tensor.elements for tensor in record.tensors]
        self._energies: dict[object, list[float]] = {}
        self._values: dict[object, list[Value]] = {}

    def values(self, metric: Metric, subject: Subject) -> list[Value]:
        """Of every tensor of the record, in its order."""
        key = (metric.name, subject.i, subject.j)
        if key not in self._values:
            whole_of = self._total.all
            self._values[key] = [metric.value(tensor, subject, whole_of) for tensor in self._tensors]
        return self._values[key]

    def extremes(self, metric: Metric, subject: Subject) -> tuple[Value, Value]:
        """The lowest and the highest value."""
        found = self.values(metric, subject)
        values = [value for value in found if not isinstance(value, Missing)]
        return (min(values), max(values)) if values else (self._reason(found), self._reason(found))

    def pooled(self, metric: Metric, subject: Subject) -> Value:
        """All tensors as one."""
        own = self._total.asked(metric)
        return Missing(_NONE) if own is None else metric.value(own, subject, self._total.all)

    def of(self, metric: Metric, subject: Subject) -> Overview:
        found = self.values(metric, subject)
        having = [number for number, value in enumerate(found) if not isinstance(value, Missing)]
        values = [value for value in found if not isinstance(value, Missing)]
        energy = self._energy(metric, subject)
        elements, energies = [self._elements[n] for n in having], [energy[n] for n in having]
        return Overview(
            self.pooled(metric, subject),
            weighted(values, elements) if values else self._reason(found),
            weighted(values, energies) if values else self._reason(found),
            *self.extremes(metric, subject),
            sum(elements),
            sum(self._elements),
        )

    def _reason(self, found: Sequence[Value]) -> Missing:
        return next((value for value in found if isinstance(value, Missing)), Missing(_NONE))

    def _energy(self, metric: Metric, subject: Subject) -> list[float]:
        """`energy_of` for each tensor, once for all metrics that weigh tensors alike."""
        key = (metric.per, subject.i, subject.j)
        if key not in self._energies:
            self._energies[key] = [0.0 if t.skipped else energy_of(metric, t, subject) for t in self._tensors]
        return self._energies[key]


def coverage(record: Record) -> Iterator[str]:
    """What was looked at and what was not, and of how much."""
    counted = [t for t in record.tensors if not t.skipped]
    parameters, of = sum(t.elements for t in counted), sum(t.elements for t in record.tensors)
    yield f"{len(counted):,} of {format_count(len(record.tensors), 'tensor')}, {parameters:,} of {of:,} parameters"
    share = counted_share(counted)
    if share < 1.0:
        yield f"norms and cosines of all of them; counts of a sample of {share:.1%}, scaled up"
    yield from _not_looked_at(record)
    yield from _spectra_coverage(counted)
    yield from record.problems


def counted_share(tensors: Iterable[TensorRecord]) -> float:
    """Of how many of the elements that were looked at counts are: 1 where nothing is a sample."""
    looked = [t for t in tensors if not t.skipped]
    elements = sum(t.elements for t in looked)
    return sum(min(t.counted or t.elements, t.elements) for t in looked) / elements if elements else 1.0


def _not_looked_at(record: Record) -> Iterator[str]:
    """A line for each reason, with the first few names."""
    reasons: dict[str, list[str]] = {}
    for tensor in record.tensors:
        if tensor.skipped:
            reasons.setdefault(tensor.skipped, []).append(tensor.name)
    for reason, names in reasons.items():
        more = ", …" if len(names) > NAMED else ""
        yield f"not looked at: {format_count(len(names), 'tensor')} ({', '.join(names[:NAMED])}{more}): {reason}"


def _spectra_coverage(counted: Sequence[TensorRecord]) -> Iterator[str]:
    """Of what there are singular values, and of what there are none; nothing where none were asked for."""
    asked = [t.spectral for t in counted if t.spectral is not None]
    if asked:
        having = sum(not each.skipped for each in asked)
        yield f"singular values of {having:,} of {format_count(len(counted), 'tensor')}"
        reasons = Counter(each.skipped for each in asked if each.skipped)
        yield from (f"no singular values of {count:,}: {reason}" for reason, count in reasons.items())


def weighted(values: Sequence[float], weights: Sequence[float]) -> Value:
    """Σ w x / Σ w."""
    most = max(weights, default=0.0)
    if not most > 0.0:
        return Missing("nothing changed")
    # Against the largest, so that energies near the end of float64 add up.
    shares = [weight / most for weight in weights]
    mean = added(value * share for value, share in zip(values, shares, strict=True)) / added(shares)
    return mean if math.isfinite(mean) else Missing("too large for float64")


def energy_of(metric: Metric, tensor: TensorRecord, subject: Subject) -> float:
    """What a tensor weighs in a mean by energy: ‖τ_i‖², ‖τ_i‖ ‖τ_j‖ of a pair, Σ_i ‖τ_i‖² of all sources."""
    if metric.per == "tensor":
        return added(gram.inner(tensor, i, i) for i in range(1, gram.source_count(tensor) + 1))
    own = gram.inner(tensor, subject.i + 1, subject.i + 1)
    if metric.per in ("source", "change"):
        return own
    return math.sqrt(own * gram.inner(tensor, subject.j + 1, subject.j + 1))


def grid(record: Record) -> Grid:
    """By layer and kind; attention and mlp are split into what their tensors are for (q, k, v, …)."""
    cells: dict[tuple[str, str], list[TensorRecord]] = {}
    where = places(record)
    for tensor in record.tensors:
        cells.setdefault(where[tensor.name], []).append(tensor)
    order = {where[t.name][0]: (t.role.tower, t.role.layer) for t in record.tensors if t.role.layer is not None}
    rows = sorted(order, key=order.__getitem__)
    rows += [OUTSIDE] if any(row == OUTSIDE for row, _ in cells) else []
    columns = sorted({column for _, column in cells}, key=_column_order)
    found = {key: sums(tensors) for key, tensors in cells.items()}
    lines: dict[str, list[Sums]] = {name: [] for name in rows}
    for (row, _), each in found.items():
        lines[row].append(each)
    by_row = {name: joined(parts) for name, parts in lines.items()}
    return Grid(tuple(rows), tuple(columns), found, by_row, joined(by_row.values(), "whole model"))


def by_kind(table: Grid) -> Grid:
    """The same without the parts of attention and mlp."""
    cells: dict[tuple[str, str], list[Sums]] = {}
    for (row, column), each in table.cells.items():
        cells.setdefault((row, column.partition(" ")[0]), []).append(each)
    columns = dict.fromkeys(column.partition(" ")[0] for column in table.columns)
    return replace(table, columns=tuple(columns), cells={key: joined(parts) for key, parts in cells.items()})


def places(record: Record) -> dict[str, tuple[str, str]]:
    """The row and the column of every tensor in the grid, by name."""
    towers = {t.role.tower for t in record.tensors if t.role.layer is not None}
    found: dict[str, tuple[str, str]] = {}
    for tensor in record.tensors:
        named = tensor.role
        row = OUTSIDE
        if named.layer is not None:
            row = str(named.layer) if len(towers) == 1 else f"{named.tower} {named.layer}"
        found[tensor.name] = row, f"{named.kind} {named.part}" if named.part else named.kind
    return found


_KINDS = ("embedding", "norm", "attention", "mlp", "expert", "other", "head")
_PARTS = ("q", "k", "v", "o", "gate", "up", "down", "")


def _column_order(column: str) -> tuple[int, int]:
    kind, _, part = column.partition(" ")
    return _KINDS.index(kind), _PARTS.index(part)
