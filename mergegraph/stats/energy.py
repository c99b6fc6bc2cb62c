"""How the energy Σ x² of a change is spread over its elements: which share the largest ones hold.

Known exactly where one power of two ends and the next begins; in between, bounds hold for any values there can be, and
the interpolation lies between the bounds. Against a sort it is within 0.004 of the density for normal and for Laplace
values; no sort is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mergegraph.stats.record import Change

NORMAL_90 = 0.445
"""The share of elements that holds 90 % of the energy of normally distributed values; NORMAL_99 of 99 %."""
NORMAL_99 = 0.735
_HALVINGS = 40


@dataclass(frozen=True, slots=True)
class Density:
    """The share of elements, the largest first, that holds a wanted share of the energy."""

    lowest: float
    interpolated: float
    highest: float


@dataclass(frozen=True, slots=True)
class _Bucket:
    """The elements of one exponent. `start`, `energy_start`: what larger elements take, as shares of the whole; `mean`:
    of (x / 2^e)², between 1 and 4."""

    start: float
    energy_start: float
    share: float
    energy: float
    mean: float


def curve(change: Change, elements: int) -> tuple[tuple[float, float], ...]:
    """(share of the elements, share of the energy) where an exponent ends, from (0, 0); exact."""
    points = [(0.0, 0.0)]
    points += [(b.start + b.share, b.energy_start + b.energy) for b in _buckets(change, elements)]
    return tuple(points)


def density(change: Change, elements: int, wanted: float) -> Density | None:
    """How many of the largest elements hold the share `wanted` of the energy; None where nothing changed."""
    for bucket in _buckets(change, elements):
        missing = wanted - bucket.energy_start
        if missing <= bucket.energy * (1 + 1e-12):
            part = min(max(missing / bucket.energy, 0.0), 1.0)
            inside = (_fewest(bucket.mean, part), _between(bucket.mean, part), part)
            return Density(*(bucket.start + bucket.share * each for each in inside))
    return None


def energy_kept(change: Change, elements: int, kept: float) -> float | None:
    """The share of the energy that the largest `kept` of the elements hold, what a trim leaves; interpolated."""
    last = None
    for bucket in _buckets(change, elements):
        last = bucket
        if kept <= bucket.start + bucket.share:
            within = (kept - bucket.start) / bucket.share
            return bucket.energy_start + bucket.energy * _inside(bucket.mean, within)
    return None if last is None else 1.0


def _buckets(change: Change, elements: int) -> Iterator[_Bucket]:
    """From the largest exponent downwards."""
    total = sum(energy for _, energy in change.exponents.values())
    if not total > 0.0 or not elements:
        return
    start = energy_start = 0.0
    for exponent in sorted(change.exponents, reverse=True):
        count, energy = change.exponents[exponent]
        # Squares below 2^-1074 are zero: such elements hold no energy, and end the curve.
        if count and energy > 0.0:
            mean = min(max(energy / count / 4.0**exponent, 1.0), 4.0) if exponent > -500 else 2.0
            yield _Bucket(start, energy_start, count / elements, energy / total, mean)
            start, energy_start = start + count / elements, energy_start + energy / total


def _inside(mean: float, u: float) -> float:
    """The share of a bucket's energy in the first u of its elements: the squares fall from 4 to 1 along a parabola that
    has the bucket's mean, kept between the bounds."""
    bend = 6.0 * (1.0 - 2.5 / mean)
    smooth = 4.0 / mean * u - 1.5 / mean * u * u + bend * (u * u / 2 - u * u * u / 3)
    return min(max(smooth, u), min(4.0 * u / mean, 1.0 - (1.0 - u) / mean))


def _fewest(mean: float, part: float) -> float:
    """The first elements are 4 each, the last 1 each: no values hold `part` of the energy in fewer."""
    return max(part * mean / 4.0, 1.0 - (1.0 - part) * mean, 0.0)


def _between(mean: float, part: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _inside(mean, middle) < part else (low, middle)
    return high
