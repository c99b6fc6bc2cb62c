"""Metrics of the result: what is left of each source in it, and what rounding took."""

from __future__ import annotations

import math
from functools import lru_cache

from mergegraph.stats import gram
from mergegraph.stats.at import At, NoValue, changed, result, some


def retention(at: At) -> float:
    return at.inner(result(at), at.i) / changed(at.energy(at.i))


def attribution(at: At) -> float:
    return coefficients(at)[at.i]


def coefficients(at: At) -> tuple[float, ...]:
    """c = G⁻¹g for all sources."""
    merged = result(at)
    if not any(at.source_energies()):
        raise NoValue("no source changed")
    at.inner(merged, merged)
    return _solved(at.tensor.gram, at.k)


@lru_cache(maxsize=1 << 16)
def _solved(products: tuple[float, ...], k: int) -> tuple[float, ...]:
    """Asked for source by source, and for what all of them leave."""
    between = [[products[gram.place(k + 2, a, b)] for b in range(1, k + 1)] for a in range(1, k + 2)]
    return gram.least_squares(between[:k], between[k])


def residual(at: At) -> float:
    merged = result(at)
    total = changed(at.energy(merged), "the result is the base")
    if not any(at.source_energies()):
        return 1.0
    explained = sum(c * at.inner(merged, i) for i, c in enumerate(coefficients(at)))
    return min(max(1.0 - explained / total, 0.0), 1.0)


def shrinkage(at: At) -> float:
    lengths = [math.sqrt(each) for each in at.source_energies()]
    return math.sqrt(at.energy(result(at))) / changed(sum(lengths) / len(lengths))


def outside_hull(at: At) -> float:
    result(at)
    assert at.tensor.outcome is not None
    return at.tensor.outcome.outside / some(at.tensor.elements)


def cast_loss(at: At) -> float:
    merged = result(at)
    assert at.tensor.outcome is not None
    total = changed(at.energy(merged), "the result is the base")
    return math.sqrt(at.tensor.outcome.cast_error / total)


def rounded_away(at: At) -> float:
    merged = result(at)
    assert at.tensor.outcome is not None
    moved = at.tensor.elements - at.tensor.changes[merged].zeros
    return at.tensor.outcome.rounded_away / changed(moved, "the result is the base")


def overflowed(at: At) -> float:
    result(at)
    assert at.tensor.outcome is not None
    return float(at.tensor.outcome.overflowed)
