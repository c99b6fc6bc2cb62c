"""Metrics of changes: of one, of two, and of all sources of a tensor.

Each is a function from an `At`, the tensor and which change or pair is meant, to a number. The table of all metrics,
with labels and formulas, is in `metric_table`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from mergegraph.stats import energy, gram
from mergegraph.stats.at import BASE, At, NoValue, base_energy, both, changed, several, some

_SPREADLESS = 1e-6
"""A variance below this share of the mean square is what rounding leaves of none: squares are counted to 3e-8 each."""


# One change


def norm(at: At) -> float:
    return math.sqrt(at.energy(at.i))


def rms(at: At) -> float:
    return math.sqrt(at.energy(at.i) / some(at.finite))


def largest(at: At) -> float:
    return at.change.largest


def relative(at: At) -> float:
    return math.sqrt(at.energy(at.i) / base_energy(at))


def share_of_change(at: At) -> float:
    whole = At(at.whole or at.tensor, at.i)
    return at.energy(at.i) / changed(whole.energy(at.i))


def mean(at: At) -> float:
    return at.change.total / some(at.finite)


def std(at: At) -> float:
    return math.sqrt(_moments(at).variance)


def kurtosis(at: At) -> float:
    changed(at.energy(at.i))
    if some(at.finite) == 1:
        raise NoValue("one element has no spread")
    found = _moments(at)
    if found.variance <= _SPREADLESS * found.mean_square:
        raise NoValue("all elements changed by the same amount")
    return found.fourth / found.variance**2


def zeros(at: At) -> float:
    return at.change.zeros / some(at.tensor.elements)


def nonfinite(at: At) -> float:
    return float(at.change.nonfinite)


def density_holding(wanted: float) -> Callable[[At], float]:
    def density(at: At) -> float:
        found = energy.density(at.change, at.tensor.elements, wanted)
        if found is None:
            changed(at.energy(at.i))
            changed(energy.total_energy(at.change), "no element of the sample changed")
            raise NoValue("the sums are too large for float64")
        return found.interpolated

    return density


# Two changes


def cosine(at: At) -> float:
    return _cosine(at.inner(at.i, at.j), at.energy(at.i), at.energy(at.j))


def z_score(at: At) -> float:
    return cosine(at) * math.sqrt(both(at))


def projection(at: At) -> float:
    return at.inner(at.i, at.j) / changed(at.energy(at.j))


def sign_conflict(at: At) -> float:
    pair = (at.tensor.pairs or {}).get((min(at.i, at.j), max(at.i, at.j)))
    if pair is None:
        raise NoValue("the pair was not counted")
    if not pair.both:
        raise NoValue("no element changed in both")
    return pair.opposite / pair.both


def weight_cosine(at: At) -> float:
    if len(at.tensor.shape) < 2:
        raise NoValue("not a matrix")
    if at.i == BASE:
        base_energy(at)
    a, b = at.i + 1, at.j + 1
    products = [gram.weights_inner(at.tensor, *pair) for pair in ((a, b), (a, a), (b, b))]
    return _cosine(*products, zero="a weight is zero everywhere")


# All sources of a tensor


def asymmetry(at: At) -> float:
    several(at)
    energies = at.source_energies()
    return math.sqrt(max(energies) / changed(min(energies), "a source did not change"))


def mass_conflict(at: At) -> float:
    several(at)
    if at.tensor.together is None:
        raise NoValue("the sources were not counted together")
    sources = sum(change.absolute for change in at.tensor.changes[: at.k])
    return 1.0 - at.tensor.together.absolute_of_sum / changed(sources)


def winner_share(at: At) -> float:
    several(at)
    if at.tensor.together is None:
        raise NoValue("the sources were not counted together")
    return at.tensor.together.winners[at.i] / some(at.tensor.elements)


def _cosine(ab: float, aa: float, bb: float, zero: str = "nothing changed") -> float:
    found = gram.cosine_of(ab, aa, bb)
    if math.isnan(found):
        raise NoValue(zero)
    return found


class _Moments(NamedTuple):
    """`variance` and `fourth` are about the mean, `mean_square` is about zero."""

    mean_square: float
    variance: float
    fourth: float


def _moments(at: At) -> _Moments:
    """From power sums, of the elements that were counted."""
    n, c = some(at.finite), at.change
    m2 = energy.total_energy(c) / n
    m1, m3, m4 = c.total / n, c.third / n, c.fourth / n
    fourth = m4 - 4 * m1 * m3 + 6 * m1 * m1 * m2 - 3 * m1**4
    return _Moments(m2, max(m2 - m1 * m1, 0.0), max(fourth, 0.0))
