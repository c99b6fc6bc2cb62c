"""Many tensors as one: whole models, layers, kinds. Sums add up, so every metric of a whole is exact, not a mean.

Where means over tensors are shown beside it, they are weighted, by parameters and by the energy of the change: a plain
mean would count a norm of 4,096 elements like a matrix of 16 million.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mergegraph.stats import gram
from mergegraph.stats.metrics import Metric, Missing, Subject, Value
from mergegraph.stats.record import Change, Outcome, Pair, Record, Spectral, TensorRecord, Together
from mergegraph.units import format_count

OUTSIDE = "outside"
"""The row of tensors that are in no layer."""
_NO_MATRIX = "singular values are of one matrix, not of several"


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
class Sums:
    """Tensors added up: all of them, and the matrices among them; None where there is none."""

    all: TensorRecord | None
    matrices: TensorRecord | None

    def asked(self, metric: Metric) -> TensorRecord | None:
        """The one that `metric` is to be asked of."""
        return self.matrices if metric.matrices_only else self.all


@dataclass(frozen=True, slots=True)
class Grid:
    """Tensors added up by row (layer) and column (kind), and by row alone; a cell without tensors is not there."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: Mapping[tuple[str, str], Sums]
    by_row: Mapping[str, Sums]


def pooled(tensors: Iterable[TensorRecord], *, matrices_only: bool = False, name: str = "") -> TensorRecord | None:
    """All that were looked at, as one tensor of as many elements; None where there is none."""
    parts = [t for t in tensors if not t.skipped and (not matrices_only or len(t.shape) >= 2)]
    if not parts:
        return None
    if len(parts) == 1:
        return parts[0]
    elements = sum(part.elements for part in parts)
    dtypes = {part.dtype for part in parts}
    return TensorRecord(
        name,
        dtypes.pop() if len(dtypes) == 1 else "mixed",
        # Matrices together are a matrix still: only those have a cosine of full weights.
        (elements, 1) if all(len(part.shape) >= 2 for part in parts) else (elements,),
        tuple(math.fsum(column) for column in zip(*(part.gram for part in parts), strict=True)),
        tuple(_changes(column) for column in zip(*(part.changes for part in parts), strict=True)),
        _pairs([part.pairs for part in parts if part.pairs is not None]),
        _together([part.together for part in parts if part.together is not None]),
        _outcome([part.outcome for part in parts if part.outcome is not None]),
        counted=sum(part.counted for part in parts),
        spectral=Spectral(skipped=_NO_MATRIX) if any(part.spectral is not None for part in parts) else None,
    )


def sums(tensors: Iterable[TensorRecord], name: str = "") -> Sums:
    """Of a record's tensors, once for all metrics."""
    every = list(tensors)
    return Sums(pooled(every, name=name), pooled(every, matrices_only=True, name=name))


def whole(record: Record) -> TensorRecord | None:
    """All tensors as one."""
    return pooled(record.tensors, name="whole model")


def overview(record: Record, total: Sums, metric: Metric, subject: Subject) -> Overview:
    """`metric` over all tensors, of which `total` is the sum."""
    own = total.asked(metric)
    none = Missing("no tensor was looked at")
    found = [(t, metric.value(t, subject, total.all)) for t in record.tensors]
    having = [(t, value) for t, value in found if not isinstance(value, Missing)]
    values = [value for _, value in having]
    reason = next((value for _, value in found if isinstance(value, Missing)), none)
    return Overview(
        none if own is None else metric.value(own, subject, total.all),
        weighted(values, [t.elements for t, _ in having]) if values else reason,
        weighted(values, [energy_of(metric, t, subject) for t, _ in having]) if values else reason,
        min(values) if values else reason,
        max(values) if values else reason,
        sum(t.elements for t, _ in having),
        sum(t.elements for t in record.tensors),
    )


def coverage(record: Record) -> Iterator[str]:
    """What was looked at and what was not, and of how much."""
    counted = [t for t in record.tensors if not t.skipped]
    parameters, of = sum(t.elements for t in counted), sum(t.elements for t in record.tensors)
    yield f"{len(counted):,} of {format_count(len(record.tensors), 'tensor')}, {parameters:,} of {of:,} parameters"
    sampled = sum(min(t.counted or t.elements, t.elements) for t in counted)
    if sampled < parameters:
        yield f"norms and cosines of all of them; counts of a sample of {sampled / parameters:.1%}, scaled up"
    reasons = dict.fromkeys(t.skipped for t in record.tensors if t.skipped)
    yield from (f"not looked at: {reason}" for reason in reasons)
    yield from _spectra_coverage(counted)
    yield from record.problems


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
    total = math.fsum(weights)
    if not total > 0.0:
        return Missing("nothing changed")
    return math.fsum(value * weight for value, weight in zip(values, weights, strict=True)) / total


def energy_of(metric: Metric, tensor: TensorRecord, subject: Subject) -> float:
    """What a tensor weighs in a mean by energy: ‖τ_i‖², ‖τ_i‖ ‖τ_j‖ of a pair, Σ_i ‖τ_i‖² of all sources."""
    if metric.per == "tensor":
        return math.fsum(gram.inner(tensor, i, i) for i in range(1, gram.source_count(tensor) + 1))
    own = gram.inner(tensor, subject.i + 1, subject.i + 1)
    if metric.per in ("source", "change"):
        return own
    return math.sqrt(own * gram.inner(tensor, subject.j + 1, subject.j + 1))


def grid(record: Record, *, parts: bool = True) -> Grid:
    """By layer and kind; with `parts` attention and mlp are split into what their tensors are for (q, k, v, …)."""
    cells: dict[tuple[str, str], list[TensorRecord]] = {}
    where = places(record, parts=parts)
    for tensor in record.tensors:
        cells.setdefault(where[tensor.name], []).append(tensor)
    order = {where[t.name][0]: (t.role.tower, t.role.layer) for t in record.tensors if t.role.layer is not None}
    rows = sorted(order, key=order.__getitem__)
    rows += [OUTSIDE] if any(row == OUTSIDE for row, _ in cells) else []
    columns = sorted({column for _, column in cells}, key=_column_order)
    lines = {name: sums(t for (row, _), tensors in cells.items() if row == name for t in tensors) for name in rows}
    return Grid(tuple(rows), tuple(columns), {key: sums(tensors) for key, tensors in cells.items()}, lines)


def places(record: Record, *, parts: bool = True) -> dict[str, tuple[str, str]]:
    """The row and the column of every tensor in the grid, by name."""
    towers = {t.role.tower for t in record.tensors if t.role.layer is not None}
    found: dict[str, tuple[str, str]] = {}
    for tensor in record.tensors:
        named = tensor.role
        row = OUTSIDE
        if named.layer is not None:
            row = str(named.layer) if len(towers) == 1 else f"{named.tower} {named.layer}"
        found[tensor.name] = row, f"{named.kind} {named.part}" if parts and named.part else named.kind
    return found


_KINDS = ("embedding", "norm", "attention", "mlp", "expert", "other", "head")
_PARTS = ("q", "k", "v", "o", "gate", "up", "down", "")


def _column_order(column: str) -> tuple[int, int]:
    kind, _, part = column.partition(" ")
    return _KINDS.index(kind), _PARTS.index(part)


def _changes(changes: Sequence[Change]) -> Change:
    exponents: dict[int, tuple[int, float]] = {}
    for change in changes:
        for exponent, (count, energy) in change.exponents.items():
            before = exponents.get(exponent, (0, 0.0))
            exponents[exponent] = before[0] + count, before[1] + energy
    return Change(
        math.fsum(c.total for c in changes),
        math.fsum(c.absolute for c in changes),
        math.fsum(c.third for c in changes),
        math.fsum(c.fourth for c in changes),
        max(c.largest for c in changes),
        sum(c.zeros for c in changes),
        sum(c.nonfinite for c in changes),
        exponents,
    )


def _pairs(all_pairs: Sequence[Mapping[tuple[int, int], Pair]]) -> dict[tuple[int, int], Pair] | None:
    if not all_pairs:
        return None
    added: dict[tuple[int, int], Pair] = {}
    for pairs in all_pairs:
        for key, pair in pairs.items():
            before = added.get(key, Pair(0, 0))
            added[key] = Pair(before.both + pair.both, before.opposite + pair.opposite)
    return added


def _together(parts: Sequence[Together]) -> Together | None:
    if not parts:
        return None
    winners = tuple(map(sum, zip(*(part.winners for part in parts), strict=True)))
    return Together(math.fsum(part.absolute_of_sum for part in parts), winners)


def _outcome(parts: Sequence[Outcome]) -> Outcome | None:
    if not parts:
        return None
    return Outcome(
        sum(part.outside for part in parts),
        math.fsum(part.cast_error for part in parts),
        sum(part.rounded_away for part in parts),
    )
