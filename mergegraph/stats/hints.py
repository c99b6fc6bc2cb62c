"""What practitioners do, held against the strengths of a recipe. Hints never block: they are habits, not findings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

from mergegraph.stats.metrics import METRICS, Missing, Subject, shown
from mergegraph.stats.record import Record, TensorRecord
from mergegraph.stats.summary import whole

Strengths = Mapping[str, Mapping[str, float | None]]
"""Source to kind to c_i, the strength of its change there; None where the merge is not linear in it."""

MOST_IN_AN_AVERAGE = 4
ALIKE = 1e-3
"""Strengths read off inner products are this good; those of a plan are exact."""
_AVERAGE = 0.01
"""Relative: who writes 0.167 for a sixth means an average."""
CONFLICT_ABOVE_MEDIAN = 0.02
"""Half of all pairs lie above their median; this far above it is more than the scatter."""
WORST = 3
"""Pairs, or sources, that a hint names; of the others it has the number."""


@dataclass(frozen=True, slots=True)
class Hint:
    """`says` what is so here, `habit` what people do."""

    says: str
    habit: str


def hints(record: Record, strengths: Strengths | None = None, total: TensorRecord | None = None) -> list[Hint]:
    """`strengths` of the recipe, and `total`, all tensors as one, where they are known."""
    return [*_of_recipe(record, strengths or {}), *_conflicting_pairs(record, total or whole(record))]


def _of_recipe(record: Record, strengths: Strengths) -> Iterator[Hint]:
    alike = {name: _one_strength(by_kind) for name, by_kind in strengths.items()}
    values = [value for value in alike.values() if value is not None]
    is_complete = len(values) == len(strengths) == len(record.sources)
    averaged = _averaged(record, values) if is_complete and len(values) > MOST_IN_AN_AVERAGE else ""
    if averaged:
        yield Hint(
            f"a plain average of {averaged}",
            "Beyond four models an average dilutes each of them; people choose by evaluation, or use task vectors.",
        )
    if not record.base:
        return
    if is_complete and len(values) == 2 and all(abs(value - 0.5) <= ALIKE for value in values):
        yield Hint(
            "two changes at 0.5 and 0.5",
            "A lone pair usually does better at 0.5 to 0.8 each.",
        )
    yield from _strong_embedding(strengths)


def _strong_embedding(strengths: Strengths) -> Iterator[Hint]:
    """One hint for all sources."""
    for kind in ("embedding", "head"):
        same = [name for name, by_kind in strengths.items() if _are_equal(by_kind.get(kind), by_kind.get("mlp"))]
        if same:
            yield Hint(
                f"the {kind} has the same strength as the mlp ({_listed(same)})",
                f"The {kind} is shared by all tasks; many give it a lower strength, or keep the base's.",
            )


def _are_equal(a: float | None, b: float | None) -> bool:
    """Of strengths that are some."""
    return a is not None and b is not None and abs(a) > ALIKE and abs(a - b) <= ALIKE


def _conflicting_pairs(record: Record, total: TensorRecord | None) -> Iterator[Hint]:
    metric = METRICS["sign_conflict"]
    if len(record.sources) < 3 or total is None:
        return
    found: list[tuple[str, float, float]] = []
    for i, j in combinations(range(len(record.sources)), 2):
        subject = Subject(f"{record.sources[i]} and {record.sources[j]}", i, j)
        value, floor = metric.value(total, subject), metric.floor(total, subject)
        if not isinstance(value, Missing) and floor is not None:
            found.append((subject.label, value, floor.spread))
    if len(found) < 3:
        return
    middle = median(value for _, value, _ in found)
    above = [each for each in found if each[1] - middle > max(CONFLICT_ABOVE_MEDIAN, 3 * each[2])]
    if not above:
        return
    worst = sorted(above, key=lambda each: -each[1])[:WORST]
    named = "; ".join(f"{label} {shown(value, 'share')}" for label, value, _ in worst)
    noise = max(spread for *_, spread in worst)
    more = f" and {len(above) - len(worst)} more" if len(above) > len(worst) else ""
    yield Hint(
        f"sign conflict of {named}{more}; the "
        f"median of {len(found)} pairs is {shown(middle, 'share')} (noise ± {shown(noise, 'share')})",
        "Such a pair is merged last, or one of the two at a lower strength.",
    )


def _listed(names: Sequence[str]) -> str:
    """The first few."""
    return ", ".join(names[:WORST]) + (f" and {len(names) - WORST} more" if len(names) > WORST else "")


def _one_strength(by_kind: Mapping[str, float | None]) -> float | None:
    """The strength, where all kinds have the same."""
    values = list(by_kind.values())
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values) or max(known) - min(known) > ALIKE:
        return None
    return sum(known) / len(known)


def _averaged(record: Record, values: Sequence[float]) -> str:
    """What a plain average is of; empty where it is none. With 1/(k + 1) for each of k changes the base has as much."""
    k = len(values)
    if all(math.isclose(value, 1.0 / k, rel_tol=_AVERAGE) for value in values):
        return f"{k} models"
    if record.base and all(math.isclose(value, 1.0 / (k + 1), rel_tol=_AVERAGE) for value in values):
        return f"{k + 1} models, {record.base} among them"
    return ""
