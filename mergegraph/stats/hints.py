"""What practitioners do, held against the strengths of a recipe. Hints never block: they are habits, not findings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from statistics import median

from mergegraph.stats.metrics import METRICS, Missing, Subject, shown
from mergegraph.stats.record import Record, TensorRecord
from mergegraph.stats.summary import whole

Strengths = Mapping[str, Mapping[str, float | None]]
"""Source to kind to c_i, the strength of its change there; None where the merge is not linear in it."""

MOST_IN_AN_AVERAGE = 4
CONFLICT_ABOVE_MEDIAN = 0.02
"""Half of all pairs lie above their median; this far above it is more than the scatter."""


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
    if is_complete and len(values) > MOST_IN_AN_AVERAGE and _is_average(values):
        yield Hint(
            f"a plain average of {len(values)} models",
            "Beyond four models an average dilutes each of them; people choose by evaluation, or use task vectors.",
        )
    if is_complete and len(values) == 2 and all(math.isclose(value, 0.5, abs_tol=1e-6) for value in values):
        yield Hint(
            "two changes at 0.5 and 0.5",
            "A lone pair usually does better at 0.5 to 0.8 each.",
        )
    yield from _strong_embedding(strengths)


def _strong_embedding(strengths: Strengths) -> Iterator[Hint]:
    """One hint for all sources."""
    for kind in ("embedding", "head"):
        same = [
            name
            for name, by_kind in strengths.items()
            if by_kind.get(kind) and by_kind.get("mlp") is not None and by_kind[kind] == by_kind["mlp"]
        ]
        if same:
            yield Hint(
                f"the {kind} has the same strength as the mlp ({', '.join(same)})",
                f"The {kind} is shared by all tasks; many give it a lower strength, or keep the base's.",
            )


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
    for label, value, spread in found:
        if value - middle > max(CONFLICT_ABOVE_MEDIAN, 3 * spread):
            yield Hint(
                f"{label}: sign conflict {shown(value, 'share')}, the median of the pairs is {shown(middle, 'share')} "
                f"(noise ± {shown(spread, 'share')})",
                "Such a pair is merged last, or one of the two at a lower strength.",
            )


def _one_strength(by_kind: Mapping[str, float | None]) -> float | None:
    """The strength, where all kinds have the same."""
    distinct = set(by_kind.values())
    return distinct.pop() if len(distinct) == 1 else None


def _is_average(values: list[float]) -> bool:
    return all(math.isclose(value, 1.0 / len(values), rel_tol=1e-3) for value in values)
