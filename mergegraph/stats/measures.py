"""What is computed of one tensor's record: one function a metric, each from sums to a number.

A function takes an `At`, the tensor and which change or pair is meant, and raises `NoValue` with the reason where the
metric says nothing. The table of all metrics, with labels and formulas, is in `metrics`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from mergegraph.stats import energy, gram
from mergegraph.stats.record import Change, TensorRecord

_SPREADLESS = 1e-6
"""A variance below this share of the mean square is what rounding leaves of none: squares are counted to 3e-8 each."""
BASE = -1
"""Stands for W0 where a metric is about models, not changes."""


class NoValue(Exception):
    """Why a metric has no value here."""


class At(NamedTuple):
    """A tensor, and change `i` (from 0; k is the result), against `j` where two are meant.

    `whole`: all tensors as one, for what is a share of the whole.
    """

    tensor: TensorRecord
    i: int = 0
    j: int = 0
    whole: TensorRecord | None = None

    @property
    def k(self) -> int:
        return gram.source_count(self.tensor)

    @property
    def change(self) -> Change:
        return self.tensor.changes[self.i]

    @property
    def finite(self) -> int:
        return self.tensor.elements - self.change.nonfinite

    @property
    def sampled(self) -> float:
        """The share of the elements that counts were made of; sums of products are of all."""
        return min(self.tensor.counted / self.tensor.elements, 1.0) if self.tensor.counted else 1.0

    def energy(self, i: int) -> float:
        """‖τ_i‖²; of BASE ‖W0‖²."""
        return self.inner(i, i)

    def inner(self, i: int, j: int) -> float:
        value = gram.inner(self.tensor, i + 1, j + 1)
        if not math.isfinite(value):
            raise NoValue("the sums are too large for float64")
        return value

    def source_energies(self) -> list[float]:
        return [self.energy(i) for i in range(self.k)]


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
            changed(energy.total_energy(at.change), "the changes are too small to be counted by size, or lie outside "
                    "the sample")  # fmt: skip
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


# The result


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


# Conditions: the number, or NoValue


def some(count: int) -> int:
    if not count:
        raise NoValue("there are no elements")
    return count


def changed(amount: float, reason: str = "nothing changed") -> float:
    if not amount > 0.0:
        raise NoValue(reason)
    return amount


def base_energy(at: At) -> float:
    return changed(at.energy(BASE), "there is no base, or it is zero")


def both(at: At) -> int:
    """Elements where both changes are not zero; a pair with the result has no count, and takes the smaller one's."""
    pair = (at.tensor.pairs or {}).get((min(at.i, at.j), max(at.i, at.j)))
    if pair is not None:
        return some(pair.both)
    return some(min(at.tensor.elements - at.tensor.changes[i].zeros for i in (at.i, at.j)))


def several(at: At) -> None:
    if at.k < 2:
        raise NoValue("there is one source")


def result(at: At) -> int:
    if at.tensor.outcome is None:
        raise NoValue("nothing is made")
    return at.k


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
    """From power sums, of the elements that were counted. Changes below the least normal float32 are in no exponent:
    where there are only those the mean square is of all elements."""
    n, c = some(at.finite), at.change
    counted = energy.total_energy(c)
    m2 = (counted if counted > 0.0 or at.sampled < 1.0 else at.energy(at.i)) / n
    m1, m3, m4 = c.total / n, c.third / n, c.fourth / n
    fourth = m4 - 4 * m1 * m3 + 6 * m1 * m1 * m2 - 3 * m1**4
    return _Moments(m2, max(m2 - m1 * m1, 0.0), max(fourth, 0.0))
