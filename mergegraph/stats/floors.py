"""What pure noise would give, for the metrics where that is known: no number below its floor says anything."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from mergegraph.stats import energy, gram
from mergegraph.stats.at import At, NoValue, base_energy, both, changed, result, some
from mergegraph.stats.measures import std
from mergegraph.stats.outcomes import residual

ROUNDING = {
    name: 2.0**-digits / math.sqrt(12.0) / 1.36
    for name, digits in (("float64", 52), ("float32", 23), ("float16", 10), ("bfloat16", 7))
}
"""Torch's name of a dtype to the root mean square of rounding to it, against that of the values. A step is 2^-digits of
the power of two below and errors are even in it (1/√12). The root mean square of normal values is 1.36 times that of
those powers."""


@dataclass(frozen=True, slots=True)
class Floor:
    """What pure noise gives: `expected`, give or take `spread` (one standard deviation)."""

    expected: float
    spread: float


def cosine_floor(at: At) -> Floor:
    return Floor(0.0, 1.0 / math.sqrt(both(at)))


def projection_floor(at: At) -> Floor:
    ratio = math.sqrt(at.energy(at.i) / changed(at.energy(at.j)))
    return Floor(0.0, ratio / math.sqrt(both(at)))


def z_floor(at: At) -> Floor:
    return Floor(0.0, 1.0)


def conflict_floor(at: At) -> Floor:
    return Floor(0.5, 0.5 / math.sqrt(both(at) * at.sampled))


def weight_cosine_floor(at: At) -> Floor:
    return Floor(0.0, 1.0 / math.sqrt(some(at.tensor.elements)))


def relative_floor(at: At) -> Floor:
    """Weights that were only rounded once differ by this much."""
    base_energy(at)
    return Floor(0.0, _rounding(at))


def _rounding(at: At) -> float:
    """Of the dtypes in which what a change was taken from is stored, the coarser one; of a result, of all."""
    if not at.tensor.stored:
        return _known(at.tensor.dtype)
    base, *sources = at.tensor.stored
    own = sources if at.i == at.k else [sources[at.i]]
    if not any(own):
        raise NoValue("a change that is stored as such is not a difference of rounded weights")
    return max([_known(dtype) for dtype in (base, *own) if dtype])


def _known(dtype: str) -> float:
    if dtype not in ROUNDING:
        raise NoValue("rounding to this dtype has no known size")
    return ROUNDING[dtype]


def mean_floor(at: At) -> Floor:
    return Floor(0.0, std(at) / math.sqrt(some(at.finite) * at.sampled))


def kurtosis_floor(at: At) -> Floor:
    return Floor(3.0, math.sqrt(24.0 / (some(at.finite) * at.sampled)))


def winner_floor(at: At) -> Floor:
    return Floor(1.0 / at.k, math.sqrt((at.k - 1) / (some(at.tensor.elements) * at.sampled)) / at.k)


def mass_conflict_floor(at: At) -> Floor:
    """Independent normal changes of these lengths: E|Σ τ_i| = √(2/π) √Σ‖τ_i‖²."""
    energies = at.source_energies()
    together = math.sqrt(sum(energies)) / changed(sum(map(math.sqrt, energies)))
    return Floor(1.0 - together, 1.0 / math.sqrt(some(at.tensor.elements) * at.sampled))


def retention_floor(at: At) -> Floor:
    ratio = math.sqrt(at.energy(result(at)) / changed(at.energy(at.i)))
    return Floor(0.0, ratio / math.sqrt(some(at.finite)))


def attribution_floor(at: At) -> Floor:
    """The standard error of the least squares, what the error of the inner products makes of it, and where changes are
    parallel what these could have in place of one another."""
    merged = result(at)
    unexplained = residual(At(at.tensor)) * at.energy(merged)
    between = gram.between_sources(at.tensor)
    against = [at.inner(merged, i) for i in range(at.k)]
    unsure = gram.inverse_diagonal(between)[at.i]
    of_noise = max(unexplained * unsure, 0.0) / some(at.finite)
    of_sums, of_parallel = gram.unsureness(between, against, at.energy(merged))[at.i]
    return Floor(0.0, math.sqrt(of_noise + of_sums**2 + of_parallel**2))


def cast_floor(at: At) -> Floor:
    """What rounding to the dtype costs the weights, against the size of the change."""
    merged = result(at)
    weights = gram.weights_inner(at.tensor, merged + 1, merged + 1)
    total = changed(at.energy(merged), "the result is the base")
    return Floor(_known(at.tensor.dtype) * math.sqrt(max(weights, 0.0) / total), 0.0)


def normal_density_floor(expected: float) -> Callable[[At], Floor]:
    """Normal values; the spread is how far the histogram leaves it open (half the distance of its bounds)."""
    wanted = {energy.NORMAL_90: 0.9, energy.NORMAL_99: 0.99}[expected]

    def floor(at: At) -> Floor:
        found = energy.density(at.change, at.tensor.elements, wanted)
        if found is None:
            raise NoValue("there is no density")
        return Floor(expected, (found.highest - found.lowest) / 2)

    return floor
