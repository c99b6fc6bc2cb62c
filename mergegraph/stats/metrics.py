"""Every metric by its name, and what it is about in a record: sources, pairs, the result.

Which metrics there are is in `metric_table`, what one is in `metric`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, permutations

from mergegraph.stats.at import BASE
from mergegraph.stats.metric import Metric, Missing, Per, Subject, Unit, Value, shown
from mergegraph.stats.metric_table import TABLE
from mergegraph.stats.record import Record
from mergegraph.stats.spectral import NOT_ASKED

__all__ = [
    "METRICS", "SUMMARY", "TAKEN", "TIER_2", "Metric", "Missing", "Per", "Subject", "Unit", "Value", "has_spectra",
    "left_out_words", "shown", "some_subjects", "subjects", "takes",
    "why_none",
]  # fmt: skip

METRICS: dict[str, Metric] = {metric.name: metric for metric in TABLE}

AFTER = frozenset(
    ("retention", "attribution", "residual", "shrinkage", "outside_hull", "cast_loss", "rounded_away", "overflowed")
)
"""Metrics of a result."""
BASED = frozenset(("relative", "base_norm"))
"""Metrics of a base."""
SEVERAL = frozenset(("asymmetry", "mass_conflict", "winner_share"))
"""Metrics of two sources or more, though not of a pair."""

TAKEN = {"trim_loss": "trim", "election_loss": "election", "drop_variance": "drop", "drop_error": "drop"}
"""Metrics of what the recipe takes from its sources, and what each is of (`record.Thinned`)."""

SUMMARY = (
    "relative", "cosine", "sign_conflict", "weight_cosine", "asymmetry", "mass_conflict", "density_90", "trim_loss",
    "election_loss", "drop_variance", "drop_error", "retention",
    "attribution", "residual", "shrinkage", "outside_hull", "cast_loss", "rounded_away", "stable_rank",
    "leading_energy", "rank_above_rounding", "overlap_left", "overlap_right",
)  # fmt: skip
"""The metrics of a summary, in this order."""

TIER_2 = frozenset(
    ("spectral_norm", "stable_rank", "effective_rank", "leading_energy", "rank_90", "rank_above_rounding",
     "overlap_left", "overlap_right")
)  # fmt: skip
"""Metrics of singular values, which are only there where they were asked for."""


def subjects(metric: Metric, record: Record) -> list[Subject]:
    """What `metric` has a value for each of, in this record; empty where it needs a result, a base, two sources or
    singular values that are not there."""
    return list(_subjects(metric, record))


def some_subjects(metric: Metric, record: Record, most: int) -> tuple[list[Subject], list[Subject]]:
    """The first ones and, where there is one, the result, `most` in all; and those that are left out."""
    every = subjects(metric, record)
    if len(every) <= most:
        return every, []
    last = most - 1 if metric.per == "change" and record.result else most
    return [*every[:last], *every[len(every) - (most - last) :]], every[last : len(every) - (most - last)]


def left_out_words(left_out: Sequence[Subject]) -> str:
    """`and 4 more (s6, s7, s8, …)`; empty where nothing is."""
    names = ", ".join(subject.label for subject in left_out[:3]) + (", …" if len(left_out) > 3 else "")
    return f"and {len(left_out)} more ({names})" if left_out else ""


def _subjects(metric: Metric, record: Record) -> Iterator[Subject]:
    names = record.sources
    if metric.name in AFTER and not record.result:
        return
    if metric.name in TIER_2 and not has_spectra(record):
        return
    if metric.name in TAKEN and not takes(record, metric):
        return
    if (metric.name in BASED and not record.base) or (metric.name in SEVERAL and len(names) < 2):
        return
    if metric.per == "tensor":
        yield Subject("")
    elif metric.per in ("source", "change"):
        yield from (Subject(name, i) for i, name in enumerate(names))
        if metric.per == "change" and record.result:
            yield Subject(record.result, len(names))
    else:
        if metric.per == "models" and record.base:
            yield from (Subject(f"{record.base} and {name}", BASE, i) for i, name in enumerate(names))
        indices = range(len(names))
        ordered = metric.per == "ordered pair"
        for i, j in permutations(indices, 2) if ordered else combinations(indices, 2):
            yield Subject(f"{names[i]} {'on' if ordered else 'and'} {names[j]}", i, j)


def has_spectra(record: Record) -> bool:
    """Whether singular values were asked for: all tensors that were looked at have them then, or the reason why not."""
    looked = next((tensor for tensor in record.tensors if not tensor.skipped), None)
    return looked is not None and looked.spectral is not None


def takes(record: Record, metric: Metric) -> bool:
    """Whether the recipe trims, elects or drops in any tensor, whichever `metric` of `TAKEN` is about."""
    step = TAKEN[metric.name]
    return any([getattr(each, step) is not None for tensor in record.tensors for each in tensor.thinned])


def why_none(metric: Metric, record: Record) -> str:
    """Why a metric has nothing to be about in this record."""
    if metric.name in TIER_2 and not has_spectra(record):
        return f"no value: {NOT_ASKED}, `--tier 2` finds it"
    if metric.name in TAKEN and not takes(record, metric):
        return f"no value: the recipe has no {TAKEN[metric.name]}"
    if len(record.sources) < 2 and metric.per not in ("change", "source"):
        return "no value: it needs two sources" if record.result else "no value: it needs a result or two sources"
    return "no value: it needs a base" if not record.base else "no value: nothing is made"
