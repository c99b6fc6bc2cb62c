"""Two records side by side: metric by metric for the whole, and the tensors where they differ most.

Sources are matched by name, results with each other. The records may be of other recipes, strengths or models.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from mergegraph.stats.metrics import METRICS, Metric, Missing, Subject, Value, has_spectra, subjects
from mergegraph.stats.pooling import Sums, sums
from mergegraph.stats.record import Record, TensorRecord
from mergegraph.stats.summary import counted_share


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of one subject, of a tensor or (`tensor` "") of the whole model."""

    metric: Metric
    subject: str
    tensor: str
    a: Value
    b: Value
    noise: float | None = None
    """One standard deviation of the difference by noise alone; None where that is not known."""

    @property
    def difference(self) -> float | None:
        """b - a; None where one has no value."""
        return None if isinstance(self.a, Missing) or isinstance(self.b, Missing) else self.b - self.a


@dataclass(frozen=True)
class Comparison:
    """Two records. `whole`: every metric that both have, of the whole model."""

    a: Record
    b: Record
    sums_a: Sums
    sums_b: Sums
    whole: tuple[Difference, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    notes: tuple[str, ...]

    def tensors(self, metric: Metric) -> list[Difference]:
        """Of every subject of `metric` the tensors that differ, the largest differences first."""
        found = [
            self._difference(metric, subject, other, *both)
            for subject, other in _subjects(metric, self.a, self.b)
            for both in self._both
        ]
        return sorted([each for each in found if each.difference], key=_size)

    @cached_property
    def _both(self) -> list[tuple[TensorRecord, TensorRecord]]:
        theirs = {tensor.name: tensor for tensor in self.b.tensors}
        return [(tensor, theirs[tensor.name]) for tensor in self.a.tensors if tensor.name in theirs]

    def _difference(
        self, metric: Metric, subject: Subject, other: Subject, ours: TensorRecord, theirs: TensorRecord
    ) -> Difference:
        values = metric.value(ours, subject, self.sums_a.all), metric.value(theirs, other, self.sums_b.all)
        return Difference(metric, subject.label, ours.name, *values, _noise(metric, subject, ours, other, theirs))


def compare(a: Record, b: Record) -> Comparison:
    """Every metric that both records have."""
    ours, theirs = ({t.name: t for t in record.tensors} for record in (a, b))
    sums_a, sums_b = sums(a.tensors), sums(b.tensors)
    wholes = [
        _difference_of_wholes(metric, subject, other, sums_a, sums_b)
        for metric in METRICS.values()
        for subject, other in _subjects(metric, a, b)
    ]
    return Comparison(
        a,
        b,
        sums_a,
        sums_b,
        tuple(wholes),
        tuple(name for name in ours if name not in theirs),
        tuple(name for name in theirs if name not in ours),
        tuple(_notes(a, b, ours, theirs)),
    )


def same_subject(metric: Metric, a: Record, subject: Subject, b: Record) -> Subject | None:
    """What `metric` is about in `b`, where it is about `subject` in `a`; None where `b` has no such thing."""
    wanted = _key(metric, a, subject)
    return next((each for each in subjects(metric, b) if _key(metric, b, each) == wanted), None)


def _subjects(metric: Metric, a: Record, b: Record) -> Iterator[tuple[Subject, Subject]]:
    """What a metric is about in both records."""
    in_b = {_key(metric, b, subject): subject for subject in subjects(metric, b)}
    for subject in subjects(metric, a):
        other = in_b.get(_key(metric, a, subject))
        if other is not None:
            yield subject, other


def _difference_of_wholes(metric: Metric, subject: Subject, other: Subject, a: Sums, b: Sums) -> Difference:
    values = _of_whole(metric, subject, a), _of_whole(metric, other, b)
    return Difference(
        metric, subject.label, "", *values, _noise(metric, subject, a.asked(metric), other, b.asked(metric))
    )


def _noise(
    metric: Metric, subject: Subject, ours: TensorRecord | None, other: Subject, theirs: TensorRecord | None
) -> float | None:
    if ours is None or theirs is None:
        return None
    floors = metric.floor(ours, subject), metric.floor(theirs, other)
    return None if floors[0] is None or floors[1] is None else math.hypot(floors[0].spread, floors[1].spread)


def _of_whole(metric: Metric, subject: Subject, total: Sums) -> Value:
    asked = total.asked(metric)
    return Missing("no tensor was looked at") if asked is None else metric.value(asked, subject, total.all)


def _size(each: Difference) -> float:
    """The larger, the further in front."""
    return -abs(each.difference or 0.0)


def _key(metric: Metric, record: Record, subject: Subject) -> object:
    """By what a subject is found in the other record: the names of sources, whatever their order, "" the result."""
    if metric.per == "tensor":
        return None
    names = (*record.sources, "")
    own = None if subject.i < 0 else names[subject.i]
    if metric.per in ("source", "change"):
        return own
    both = own, names[subject.j]
    return both if metric.per == "ordered pair" else frozenset(both)


def _notes(a: Record, b: Record, ours: Mapping[str, TensorRecord], theirs: Mapping[str, TensorRecord]) -> list[str]:
    notes: list[str] = []
    if a.base != b.base:
        notes.append(f"the bases are called {a.base or '(none)'} and {b.base or '(none)'}")
    for mine, other, which in ((a, b, "first"), (b, a, "second")):
        alone = [name for name in mine.sources if name not in other.sources]
        if alone:
            notes.append(f"only the {which} has {', '.join(alone)}")
    shapes = [name for name, t in ours.items() if name in theirs and theirs[name].shape != t.shape]
    if shapes:
        notes.append(f"{len(shapes)} tensors have other shapes: {', '.join(shapes[:3])}")
    if (a.result and not b.result) or (b.result and not a.result):
        notes.append(f"only the {'first' if a.result else 'second'} has a result")
    shares = [counted_share(ours.values()), counted_share(theirs.values())]
    if shares[0] != shares[1]:
        words = [f"{share:.1%} of the elements" if share < 1.0 else "all elements" for share in shares]
        notes.append(f"counts are of {words[0]} in the first and of {words[1]} in the second (--exact counts all)")
    if has_spectra(a) != has_spectra(b):
        notes.append(f"only the {'first' if has_spectra(a) else 'second'} has singular values (--tier 2)")
    return notes
