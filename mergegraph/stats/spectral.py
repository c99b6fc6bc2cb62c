"""Metrics of singular values: what one spectrum says, how far two changes share directions, and what chance gives.

A spectrum has the leading singular values of one matrix and the energy of the rest, so what would need more of them
has no value. Many tensors together have none: singular values are of a matrix.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from mergegraph.stats.at import At, NoValue, changed, some
from mergegraph.stats.floors import Floor
from mergegraph.stats.measures import rms
from mergegraph.stats.record import Overlap, Spectral, Spectrum, TensorRecord

DIRECTIONS = 32
"""Singular values and vectors that are found."""
SKETCH = 48
"""Directions that are looked for: with 16 more than are kept the last of these are nearly as good as the first."""
UNDERSHOOT = 0.05
"""Of a flat spectrum σ₁ is found up to so much too small where the short side is above `SKETCH`: measured 3 % for
normal values in 2,048 rows and columns, 4 % in 5,632 by 2,048."""
NOT_ASKED = "tier 2 was not asked for"
ROUNDING_MARGIN = 1.5
"""Energy within this factor of what rounding to the stored dtype gives is taken for rounding: how much it is depends on
where in their powers of two the weights lie, by up to a fifth."""
LORA_SHARE = 4
"""A rank is small when it is at most the short side over this."""
_TRACY_WIDOM_MEAN, _TRACY_WIDOM_STD = -1.2065, 1.2680
"""Of the law of the largest eigenvalue of real Wishart matrices (Tracy and Widom 1996)."""


def spectral(tensor: TensorRecord) -> Spectral:
    """What was found of a tensor; NoValue with the reason where nothing was."""
    if tensor.spectral is None:
        raise NoValue(NOT_ASKED)
    if tensor.spectral.skipped:
        raise NoValue(tensor.spectral.skipped)
    return tensor.spectral


def spectrum(at: At) -> Spectrum:
    changes = spectral(at.tensor).changes
    if at.i >= len(changes):
        raise NoValue("the singular values of the result were not found")
    changed(changes[at.i].energy)
    return changes[at.i]


def spectral_norm(at: At) -> float:
    return spectrum(at).values[0]


def stable_rank(at: At) -> float:
    found = spectrum(at)
    return found.energy / found.values[0] ** 2


def effective_rank(at: At) -> float:
    """e to the entropy of p_i = σ_i / Σ σ over the leading values (Roy and Vetterli 2007, there over all)."""
    values = [value for value in spectrum(at).values if value > 0.0]
    total = math.fsum(values)
    return math.exp(-math.fsum(value / total * math.log(value / total) for value in values))


def leading_energy(at: At) -> float:
    found = spectrum(at)
    return 1.0 - found.outside / found.energy


def rank_90(at: At) -> float:
    found = spectrum(at)
    held, wanted = 0.0, 0.9 * found.energy
    for rank, value in enumerate(found.values, 1):
        held += value * value
        if held >= wanted:
            return float(rank)
    raise NoValue(f"more than {len(found.values)}: they hold {held / found.energy:.1%} of the energy")


def rank_above_rounding(at: At) -> float:
    found = spectrum(at)
    if found.rounding is None:
        raise NoValue("rounding to the stored dtype has no known size")
    rank = significant(found)
    if rank is None:
        raise NoValue(f"more than {len(found.values)}: what they leave is above rounding")
    return float(rank)


def significant(found: Spectrum) -> int | None:
    """The fewest leading directions that leave no more energy than rounding gives; None where all of them leave more,
    or where that is not known."""
    if found.rounding is None:
        return None
    left, limit = found.outside, ROUNDING_MARGIN * found.rounding
    if left > limit:
        return None
    rank = len(found.values)
    for value in reversed(found.values):
        left += value * value
        if left > limit:
            return rank
        rank -= 1
    return 0


def lora_rank(tensor: TensorRecord, source: int) -> int | None:
    """The rank of a LoRA that would leave what this source's change is, but for rounding; None where none would."""
    found = tensor.spectral
    if found is None or found.skipped:
        return None
    rank = significant(found.sources[source])
    return rank if rank and rank * LORA_SHARE <= min(tensor.shape) else None


def lora_words(tensor: TensorRecord, source: int) -> str:
    """Whether a source's change looks like a LoRA, for people."""
    rank = lora_rank(tensor, source)
    if rank is not None:
        return f"it looks like a LoRA of rank {rank}: what is left is no more than rounding to the stored dtype"
    found = tensor.spectral.sources[source] if tensor.spectral else None
    if found is None or found.rounding is None:
        return "whether it is a LoRA cannot be told: rounding to the stored dtype has no known size"
    if significant(found) == 0:
        return "the change is no more than rounding to the stored dtype"
    return "it does not look like a LoRA of small rank"


def shared_directions(one: Spectrum, other: Spectrum, short: int) -> int:
    """How many leading directions of two changes are compared: those above rounding in both, at most a quarter of the
    short side; 0 where a change is nothing."""
    if not (one.energy > 0.0 and other.energy > 0.0):
        return 0
    ranks = [len(each.values) if (rank := significant(each)) is None else rank for each in (one, other)]
    return min(*ranks, max(1, short // LORA_SHARE))


def overlap(side: str) -> Callable[[At], float]:
    return lambda at: _overlap(at).left if side == "left" else _overlap(at).right


def overlap_floor(side: str) -> Callable[[At], Floor]:
    """Two random subspaces of k of m dimensions: mean k/m, and the variance of tr(PQ) of two random projections."""

    def floor(at: At) -> Floor:
        k, m = _overlap(at).directions, at.tensor.shape[0 if side == "left" else 1]
        if m < 2:
            return Floor(1.0, 0.0)
        return Floor(k / m, math.sqrt(2.0 / ((m - 1) * (m + 2))) * (m - k) / m)

    return floor


def spectral_norm_floor(at: At) -> Floor:
    """A matrix of independent normal values of the same root mean square (Johnstone 2001)."""
    spectrum(at)
    expected, spread = _largest_of_normal(at)
    return Floor(rms(at) * expected, rms(at) * spread)


def stable_rank_floor(at: At) -> Floor:
    """Of independent normal values."""
    spectrum(at)
    expected, spread = _largest_of_normal(at)
    rank = some(at.tensor.elements) / expected**2
    return Floor(rank, 2.0 * rank * spread / expected)


def _largest_of_normal(at: At) -> tuple[float, float]:
    """The largest singular value of independent standard normal values, and how far from it one may be found."""
    rows, columns = at.tensor.shape
    one, other = math.sqrt(max(max(rows, columns) - 1, 1)), math.sqrt(min(rows, columns))
    scale = (one + other) * (1.0 / one + 1.0 / other) ** (1.0 / 3.0)
    largest = math.sqrt(max((one + other) ** 2 + scale * _TRACY_WIDOM_MEAN, 1.0))
    spread = scale * _TRACY_WIDOM_STD / (2.0 * largest)
    return largest, math.hypot(spread, UNDERSHOOT * largest) if min(rows, columns) > SKETCH else spread


def _overlap(at: At) -> Overlap:
    found = spectral(at.tensor).overlaps.get((min(at.i, at.j), max(at.i, at.j)))
    if found is None:
        raise NoValue("a change is nothing, or no more than rounding")
    return found
