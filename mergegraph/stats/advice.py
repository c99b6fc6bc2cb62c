"""What the numbers give reason to think about, each with its number, what noise would give, and what people do.

Evidence, never a score and never a reason to refuse: statistics of weights say where to look, not how good a model is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mergegraph.stats import gram
from mergegraph.stats.energy import NORMAL_90, energy_kept
from mergegraph.stats.metrics import METRICS, Missing, Subject, shown, subjects
from mergegraph.stats.pooling import Sums
from mergegraph.stats.predict import Predicted, equal_contributions, matched_norms, predict_whole
from mergegraph.stats.record import Record, TensorRecord
from mergegraph.stats.standing_out import UNRELATED
from mergegraph.stats.summary import OUTSIDE, Grid, Overviews, grid
from mergegraph.units import format_count

ASYMMETRY = 3.0
"""With norms 3 to 1 an average of two unrelated changes has 90 % of its energy from one of them."""
MORE_THAN_CHANCE = 0.02
"""Sign conflict this far above one half is more than the shift of a few layers."""
SAME_CHANGE = 0.95
"""Changes with this cosine share 90 % of their energy (cos²): a second one adds little to the first."""
CONCENTRATED = NORMAL_90 / 2
"""Half the density that normal values need."""
CAST_LOSS = 0.25
"""Rounding takes a quarter of the change's length, 6 % of its energy."""
ROUNDED_AWAY = 0.25
MOST_MOVED = 3


@dataclass(frozen=True, slots=True)
class Evidence:
    """`topic` in a few words; `says` with the number; `noise` what chance would give; `people` what is done about it;
    `details` a line each."""

    topic: str
    says: str
    noise: str
    people: str
    details: tuple[str, ...] = ()


def advice(record: Record, table: Grid | None = None, overviews: Overviews | None = None) -> list[Evidence]:
    """All there is evidence for, the weightiest first; often nothing. `table` and `overviews`: of the record, where
    they are known."""
    table = table or grid(record)
    overviews = overviews or Overviews(record, table.total)
    total = table.total.all
    if total is None:
        return []
    return [
        *_different_bases(record, table.total, overviews),
        *_asymmetry(record, total),
        *_conflict(record, total),
        *_same_change(record, total),
        *_concentrated(record, overviews),
        *_cast(record, total),
        *_moved_most(record, table, total),
    ]


def _different_bases(record: Record, both: Sums, overviews: Overviews) -> Iterator[Evidence]:
    metric, matrices = METRICS["weight_cosine"], both.matrices
    if matrices is None:
        return
    found = [(_number(metric.value(matrices, subject)), subject) for subject in subjects(metric, record)]
    low = [(value, subject) for value, subject in found if abs(value) < UNRELATED]
    if low:
        subject = min(low, key=lambda each: abs(each[0]))[1]
        shows, floor = overviews.of(metric, subject), metric.floor(matrices, subject)
        yield Evidence(
            "near-orthogonal weights",
            f"{subject.label}: cosine of full weights {shown(shows.pooled)} over all matrices "
            f"(from {shown(shows.lowest)} to {shown(shows.highest)})",
            f"chance gives 0 ± {shown(floor.spread) if floor else '–'}; relatives have above 0.9",
            "Nobody averages models of two initialisations: choose sources with one base, or align them first.",
            tuple(f"{each.label}: {shown(value)}" for value, each in low),
        )


def _asymmetry(record: Record, total: TensorRecord) -> Iterator[Evidence]:
    metric = METRICS["asymmetry"]
    value = metric.value(total, Subject(""))
    if isinstance(value, Missing) or value <= ASYMMETRY:
        return
    above = [t for t in record.tensors if _number(metric.value(t, Subject(""))) > ASYMMETRY]
    k = len(record.sources)
    smallest = min(range(k), key=lambda i: gram.inner(total, i + 1, i + 1))
    average = [1.0 / k] * k
    before = predict_whole(record.tensors, lambda _: average)
    after = predict_whole(record.tensors, lambda t: matched_norms(t, average, smallest))
    assert before is not None
    assert after is not None
    equal = zip(record.sources, equal_contributions(total), strict=True)
    strengths = ", ".join(f"{name} {shown(strength)}" for name, strength in equal)
    yield Evidence(
        "asymmetry of size",
        f"the largest change is {shown(value)} times as long as the smallest; above {ASYMMETRY:g} in "
        f"{format_count(len(above), 'tensor')} of {len(record.tensors):,}",
        "equal sizes give 1; above 3 a plain average is mostly one model",
        f"`match_norm` to {record.sources[smallest]}, tensor by tensor, or strengths that fall as the norms "
        f"grow: {strengths} push equally hard.",
        tuple(_before_and_after(record.sources, before, after)),
    )


def _before_and_after(names: Sequence[str], before: Predicted, after: Predicted) -> Iterator[str]:
    for name, old, new in zip(names, before.cosines, after.cosines, strict=True):
        yield f"cosine of the average with {name}: {_or_none(old)}, with match_norm {_or_none(new)}"
    yield f"norm of the average: {shown(before.norm)}, with match_norm {shown(after.norm)}"


def _conflict(record: Record, total: TensorRecord) -> Iterator[Evidence]:
    metric = METRICS["sign_conflict"]
    found = [(s, metric.value(total, s), metric.floor(total, s)) for s in subjects(metric, record)]
    high = [
        (s, _number(value), floor)
        for s, value, floor in found
        if floor and _number(value) > 0.5 + max(MORE_THAN_CHANCE, 3 * floor.spread)
    ]
    if high:
        subject, value, floor = max(high, key=lambda each: each[1])
        mass = METRICS["mass_conflict"].value(total, Subject(""))
        yield Evidence(
            "sign conflict",
            f"{subject.label}: {shown(value, 'share')} of the signs oppose each other; "
            f"{shown(mass, 'share')} of all movement cancels",
            f"chance gives 50 % ± {shown(floor.spread, 'share')}",
            "`ties` or `elect` keep one sign for each element; a lower strength for one of the two does less harm too.",
            tuple(f"{s.label}: {shown(v, 'share')}" for s, v, _ in high),
        )


def _same_change(record: Record, total: TensorRecord) -> Iterator[Evidence]:
    metric = METRICS["cosine"]
    for subject in subjects(metric, record) if record.base else ():
        value, floor = metric.value(total, subject), metric.floor(total, subject)
        if not isinstance(value, Missing) and value > SAME_CHANGE and floor is not None:
            yield Evidence(
                "nearly the same change",
                f"{subject.label}: cosine {shown(value)}; they share {shown(value * value, 'share')} of their energy",
                f"chance gives 0 ± {shown(floor.spread)}",
                "Their strengths add up as if for one model: leave one out, or halve both.",
            )


def _concentrated(record: Record, overviews: Overviews) -> Iterator[Evidence]:
    """A trim ranks the elements of each tensor by themselves, so what counts is what the single tensors need: in a
    model where one tensor moved far, few elements of all hold its energy, and most of every tensor is needed still."""
    metric = METRICS["density_90"]
    for i, name in enumerate(record.sources if record.base else ()):
        value = overviews.of(metric, Subject(name, i)).by_energy
        if not isinstance(value, Missing) and value < CONCENTRATED:
            density = max(math.ceil(value * 100) / 100, 0.01)
            yield Evidence(
                "redundancy",
                f"{name}: {shown(value, 'share')} of the elements of a tensor hold 90 % of the energy of its change "
                "(the mean over tensors by energy)",
                f"normal values need {shown(NORMAL_90, 'share')}",
                f"`trim` to a density of {density:g} keeps {shown(_energy_kept(record, i, density), 'share')} of the "
                "energy, tensor by tensor, and meets fewer others.",
            )


def _energy_kept(record: Record, i: int, density: float) -> float:
    """The share of the energy of a change that its largest elements hold, so many of every tensor."""
    kept = every = 0.0
    for tensor in record.tensors:
        if not tensor.skipped and 0.0 < (energy := gram.inner(tensor, i + 1, i + 1)) < math.inf:
            every += energy
            kept += energy * (energy_kept(tensor.changes[i], tensor.elements, density) or 0.0)
    return kept / every


def _cast(record: Record, total: TensorRecord) -> Iterator[Evidence]:
    lost, away = (METRICS[name].value(total, Subject("")) for name in ("cast_loss", "rounded_away"))
    if _number(lost) > CAST_LOSS or _number(away) > ROUNDED_AWAY:
        floor = METRICS["cast_loss"].floor(total, Subject(""))
        yield Evidence(
            "cast loss",
            f"rounding costs {shown(lost, 'share')} of the change; {shown(away, 'share')} of the moved elements are "
            "back at the base",
            f"rounding of these weights costs {shown(floor.expected, 'share')} of such a change"
            if floor
            else "not known for mixed dtypes",
            "Save in a wider dtype (`dtype: fp32` on the save node), or merge at once instead of in steps.",
        )


def _moved_most(record: Record, table: Grid, total: TensorRecord) -> Iterator[Evidence]:
    """Of the result, else of the source that moved most."""
    if not record.base or len(table.rows) < 2:
        return
    k = len(record.sources)
    moved = k if record.result else max(range(k), key=lambda i: gram.inner(total, i + 1, i + 1))
    name = record.result or record.sources[moved]
    share = METRICS["share"]
    rows = [(row, table.by_row[row].all) for row in table.rows]
    shares = [(_number(share.value(t, Subject(name, moved), total)), row, t) for row, t in rows if t is not None]
    shares.sort(key=lambda each: -each[0])
    if not shares or not shares[0][0] > 0:
        return
    words = [
        f"{_row_words(row)}: {shown(part, 'share')} of the change, {shown(t.elements / total.elements, 'share')} of "
        "the parameters"
        for part, row, t in shares[:MOST_MOVED]
    ]
    yield Evidence(
        "layers that move most",
        f"{name}: {words[0]}",
        "a change spread evenly has the share of the parameters",
        "A schedule over the layers tones the strongest down, or `select` leaves them out.",
        tuple(words[1:]),
    )


def _row_words(row: str) -> str:
    return "tensors in no layer" if row == OUTSIDE else f"layer {row}"


def _number(value: object) -> float:
    """NaN for what is missing: it is above and below nothing."""
    return value if isinstance(value, float) else float("nan")


def _or_none(value: float | None) -> str:
    return "–" if value is None else shown(value)
