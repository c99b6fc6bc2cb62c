"""Tensors that stand out, each with the rule that fired and its numbers. Evidence of where to look, not of a fault.

Fixed rules are for what is odd in any model. Robust ones compare a tensor with the others of its kind in this record:
median and MAD, which a few odd tensors do not move.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from mergegraph.stats import gram
from mergegraph.stats.metrics import METRICS, Missing, Subject, shown, subjects
from mergegraph.stats.pooling import Sums
from mergegraph.stats.record import Record, TensorRecord
from mergegraph.stats.summary import Overviews
from mergegraph.units import format_count

FEWEST_OF_A_KIND = 8
"""Below this the MAD itself is a guess: of 4 normal values it is off by a half as often as not."""
DEVIATIONS = 6.0
"""Robust standard deviations. 3.5 is usual for a single look; here there are thousands, and tails are heavy."""
MAD_TO_DEVIATION = 1.4826
"""The standard deviation of normal values with MAD 1."""

ROUNDED_AWAY = 0.5
"""More than half of the moved elements fell back to the base: the output mostly did not change."""
CAST_LOSS = 0.5
"""Rounding cost half the length of the change. Where all of it is rounded away the loss is 1, not more."""
UNRELATED = 0.5
"""Full weights of relatives have cosines above 0.9, of two initialisations about 0, whatever they were trained on."""
UNRELATED_ELEMENTS = 256
"""Below this, chance alone gives cosines up to 4/√256 = 0.25."""
NEARLY_ZERO = 0.05
"""Cosines below this are not told apart when tensors are ordered."""
SMALL_CHANGE = 4.0
"""A change within this many times the rounding of its dtype is left out of the cast rules. It is about one step of the
dtype, and no fraction of a step survives rounding, in any merge."""


@dataclass(frozen=True, slots=True)
class StandingOut:
    """`rule` names what fired, `says` what was found with its numbers, `why` what that means. `severity` orders: how
    many times the threshold was exceeded."""

    tensor: TensorRecord
    rule: str
    says: str
    why: str
    severity: float


@dataclass(frozen=True, slots=True)
class _Robust:
    """A metric compared within a kind. `least`: a smaller difference from the median means nothing, however narrow the
    others lie; as a factor where `as_ratio`."""

    metric: str
    least: float
    as_ratio: bool
    why: str


_ROBUST = (
    _Robust("relative", 3.0, True, "it moved much more or less than the others of its kind"),
    _Robust("cosine", 0.3, False, "the sources agree here more or less than in the others of its kind"),
    _Robust("sign_conflict", 0.15, False, "signs oppose each other here more or less often than in its kind"),
    _Robust("retention", 0.3, False, "the merge kept more or less of this source than in the others of its kind"),
    _Robust("residual", 0.2, False, "less of it follows from the sources than in the others of its kind"),
    _Robust("kurtosis", 5.0, True, "a few elements carry the change, unlike in the others of its kind"),
    _Robust("cast_loss", 3.0, True, "rounding costs more or less of the change than in the others of its kind"),
)


_Looked = Sequence[tuple[int, TensorRecord]]
"""The tensors that were looked at, with their places in the record."""


def standing_out(record: Record, overviews: Overviews | None = None) -> list[StandingOut]:
    """All of them, the strongest first. `overviews` of the record, where there are any."""
    overviews = overviews or Overviews(record, Sums(None, None))
    looked = [(number, tensor) for number, tensor in enumerate(record.tensors) if not tensor.skipped]
    fired = [each for rule in _FIXED for each in rule(record, looked, overviews)]
    kinds: dict[_Alike, list[int]] = {}
    for number, tensor in looked:
        kinds.setdefault(_alike(tensor), []).append(number)
    for rule in _ROBUST:
        fired += _unlike_its_kind(record, kinds, rule, overviews)
    return sorted(fired, key=lambda each: (-each.severity, each.tensor.name, each.rule))


def _nonfinite(record: Record, looked: _Looked, overviews: Overviews) -> Iterator[StandingOut]:
    every = subjects(METRICS["nonfinite"], record)
    for _, tensor in looked:
        for subject in every:
            if count := tensor.changes[subject.i].nonfinite:
                says = f"{subject.label}: {format_count(count, 'value')} of {tensor.elements:,} not finite"
                yield StandingOut(tensor, "not finite", says, "NaN or ∞ spreads to whatever it meets", math.inf)


def _overflowed(record: Record, looked: _Looked, overviews: Overviews) -> Iterator[StandingOut]:
    for _, tensor in looked:
        if tensor.outcome is not None and (count := tensor.outcome.overflowed):
            says = f"{record.result}: {format_count(count, 'value')} of {tensor.elements:,} beyond {tensor.dtype}"
            yield StandingOut(
                tensor, "beyond the dtype", says, "a wider dtype holds them, or a lower strength", math.inf
            )


def _unchanged(record: Record, looked: _Looked, overviews: Overviews) -> Iterator[StandingOut]:
    if not record.base:
        return
    moves = [any(gram.inner(t, i, i) > 0 for i in range(1, gram.source_count(t) + 1)) for _, t in looked]
    for (_, tensor), moved in zip(looked, moves if any(moves) else (), strict=False):
        k = gram.source_count(tensor)
        if not moved and not any(change.nonfinite for change in tensor.changes[:k]):
            says = f"all {k} sources have the values of {record.base}"
            yield StandingOut(tensor, "all identical", says, "it was frozen, or not saved, in every one of them", 1.0)


def _cast(record: Record, looked: _Looked, overviews: Overviews) -> Iterator[StandingOut]:
    for name, limit in (("rounded_away", ROUNDED_AWAY), ("cast_loss", CAST_LOSS)) if record.result else ():
        metric = METRICS[name]
        values = overviews.values(metric, Subject(""))
        for number, tensor in looked:
            value = values[number]
            if not isinstance(value, Missing) and value > limit and not _within_rounding(record, tensor):
                says = f"{metric.label} {shown(value, metric.unit)}, above {shown(limit, metric.unit)}"
                why = f"most of the merge is lost in {tensor.dtype}; a wider dtype keeps it"
                yield StandingOut(tensor, metric.label, says, why, value / limit)


def _unrelated(record: Record, looked: _Looked, overviews: Overviews) -> Iterator[StandingOut]:
    metric = METRICS["weight_cosine"]
    columns = [(overviews.values(metric, subject), subject) for subject in subjects(metric, record)]
    for number, tensor in looked:
        values = [(values[number], subject) for values, subject in columns]
        low = [(abs(v), v, subject) for v, subject in values if not isinstance(v, Missing) and abs(v) < UNRELATED]
        if low and tensor.elements >= UNRELATED_ELEMENTS:
            _, value, subject = min(low, key=lambda each: each[0])
            spread = 1.0 / math.sqrt(tensor.elements)
            of = f" ({len(low)} of {len(values)} pairs)" if len(values) > 1 else ""
            says = f"{subject.label}: cosine of full weights {shown(value)}{of}; chance 0 ± {shown(spread)}"
            why = "two initialisations have no common basis; averaging them mixes unrelated directions"
            yield StandingOut(tensor, "near-orthogonal weights", says, why, UNRELATED / max(abs(value), NEARLY_ZERO))


_FIXED = (_nonfinite, _overflowed, _unchanged, _cast, _unrelated)


def _within_rounding(record: Record, tensor: TensorRecord) -> bool:
    """Whether the largest change of a source is no more than rounding: nothing was there to lose."""
    metric = METRICS["relative"]
    for i, name in enumerate(record.sources):
        subject = Subject(name, i)
        value, floor = metric.value(tensor, subject), metric.floor(tensor, subject)
        if not isinstance(value, Missing) and (floor is None or value > SMALL_CHANGE * floor.spread):
            return False
    return bool(record.base)


_Alike = tuple[str, bool, bool]


def _unlike_its_kind(
    record: Record, kinds: Mapping[_Alike, Sequence[int]], rule: _Robust, overviews: Overviews
) -> Iterator[StandingOut]:
    metric = METRICS[rule.metric]
    for subject in subjects(metric, record):
        values = overviews.values(metric, subject)
        for (kind, *_), numbers in kinds.items():
            members = [
                (record.tensors[number], value)
                for number in numbers
                if not isinstance(value := values[number], Missing) and (value > 0 or not rule.as_ratio)
            ]
            if len(members) >= FEWEST_OF_A_KIND:
                yield from _outliers(rule, subject, kind, members)


def _alike(tensor: TensorRecord) -> _Alike:
    """A bias is not compared with matrices, nor the norm after all layers with those inside."""
    named = tensor.role
    return named.kind, len(tensor.shape) >= 2, named.layer is None


def _outliers(
    rule: _Robust, subject: Subject, kind: str, members: Sequence[tuple[TensorRecord, float]]
) -> Iterator[StandingOut]:
    """Ratios are compared by their logarithms: a third is as far as three times."""
    metric = METRICS[rule.metric]
    scale: Callable[[float], float] = math.log if rule.as_ratio else float
    least = math.log(rule.least) if rule.as_ratio else rule.least
    middle = median([value for _, value in members])
    centre = scale(middle)
    distances = [abs(scale(value) - centre) for _, value in members]
    spread = MAD_TO_DEVIATION * median(distances)
    for (tensor, value), away in zip(members, distances, strict=True):
        limit = max(DEVIATIONS * spread, least)
        if away > limit:
            of = f"{subject.label}: " if subject.label else ""
            says = (
                f"{of}{metric.label} {shown(value, metric.unit)}; median of {len(members)} {kind} tensors "
                f"{shown(middle, metric.unit)}" + (f", {away / spread:.0f} deviations away" if spread > 0 else "")
            )
            yield StandingOut(tensor, metric.label, says, rule.why, away / limit)
