"""The segment between two models: every metric along it, and how high a barrier lies between them.

    barrier = max over α of L(αB + (1-α)A) - (α L(B) + (1-α) L(A))

A metric of which more is better is negated first, so a barrier is always a loss: 0 where the metric is nowhere worse
than between its ends. Two models without a barrier are linearly connected (Frankle et al., "Linear Mode Connectivity
and the Lottery Ticket Hypothesis", ICML 2020, arXiv 1912.05671).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from mergegraph.search.candidates import Asking, Candidate, Chosen, Spent
from mergegraph.search.grid import Best
from mergegraph.search.outcome import Outcome
from mergegraph.search.predictions import direction
from mergegraph.search.scoring import Rule, standard_error


@dataclass(frozen=True, slots=True)
class Barrier:
    """`share`: where on the line it is highest. `error`: its standard error over the examples, where they are known.
    `missing`: how many points have no number; there it may be higher."""

    height: float
    share: float
    error: float | None
    missing: int = 0


@dataclass(frozen=True, slots=True)
class Point:
    """A place on the line: `share` of the second model."""

    share: float
    outcome: Outcome


def barrier(points: Sequence[Point], metric: str, sign: int) -> Barrier | None:
    """How high it is in one metric; `sign` is 1 where more is better. None where an end has no number."""
    known = [point for point in points if not point.outcome.rejected and metric in point.outcome.metrics]
    ends = {point.share: point for point in known if point.share in (0.0, 1.0)}
    if len(ends) < 2:
        return None
    first, last = ends[0.0], ends[1.0]

    def above(point: Point) -> float:
        value, a, b = (each.outcome.metrics[metric] for each in (point, first, last))
        return 0.0 - sign * (value - ((1 - point.share) * a + point.share * b))  # 0, not -0, at the ends

    highest = max(known, key=above)
    error = standard_error(_differences(highest, first, last, metric))
    return Barrier(above(highest), highest.share, error, len(points) - len(known))


def _differences(point: Point, first: Point, last: Point, metric: str) -> list[float] | None:
    values = [each.outcome.examples.get(metric) for each in (point, first, last)]
    here, a, b = values
    if here is None or a is None or b is None or not len(here) == len(a) == len(b):
        return None
    share = point.share
    return [v - (1 - share) * x - share * y for v, x, y in zip(here, a, b, strict=True)]


def along(ends: tuple[str, str], candidates: Sequence[tuple[float, Candidate]], asking: Asking, rule: Rule) -> Chosen:
    """Every point of the line, the ends first, so that a search which is cut short knows them."""
    best, ended = Best(asking, rule), ""
    points: list[Point] = []
    try:
        for share, candidate in sorted(candidates, key=lambda each: each[0] not in (0.0, 1.0)):
            points.append(Point(share, best.consider(candidate)))
    except Spent as spent:
        ended = str(spent)
    points.sort(key=lambda point: point.share)
    return Chosen(best.candidate, best.outcome, ended, findings={"line": findings(ends, points, rule)})


def findings(ends: tuple[str, str], points: Sequence[Point], rule: Rule) -> Mapping[str, object]:
    """The line as plain values: every metric at every point, and the barrier in each that has a direction."""
    names = dict.fromkeys(name for point in points for name in point.outcome.metrics)
    barriers = {
        name: asdict(found)
        for name in names
        if (sign := direction(name, rule.directions)) and (found := barrier(points, name, sign)) is not None
    }
    rows = [{"share": point.share, "metrics": dict(point.outcome.metrics)} for point in points]
    return {"ends": list(ends), "points": rows, "barriers": barriers}
