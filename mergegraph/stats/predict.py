"""What a linear merge would do, from the Gram matrix alone: no weight is read again, and nothing is estimated.

τ* = Σ c_i τ_i, with coefficients of its own for each tensor. Norms, cosines, retention and attribution follow exactly;
what needs single elements (sign conflict, hull) does not, and of the cast loss there is what is expected.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mergegraph.stats import gram
from mergegraph.stats.adding import added
from mergegraph.stats.floors import ROUNDING
from mergegraph.stats.record import TensorRecord

Coefficients = Callable[[TensorRecord], Sequence[float]]
"""c_1 … c_k of a tensor."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """A result that was not made, of one tensor or of several together. `cosines`, `retention` and `attribution` are by
    source, None where a source did not change (a cosine also where nothing is left of the result)."""

    norm: float
    relative: float | None
    """‖τ*‖ / ‖W0‖; None without a base."""
    cosines: tuple[float | None, ...]
    retention: tuple[float | None, ...]
    attribution: tuple[float | None, ...]
    shrinkage: float | None


@dataclass(slots=True)
class _Sums:
    """Inner products of tensors, added up."""

    base: float
    result: float
    with_result: list[float]
    between: list[list[float]]


def predict_whole(tensors: Sequence[TensorRecord], coefficients: Coefficients) -> Predicted | None:
    """All tensors together, each with coefficients of its own; None where none was looked at."""
    counted = [tensor for tensor in tensors if not tensor.skipped]
    if not counted:
        return None
    sums = _nothing(gram.source_count(counted[0]))
    for tensor in counted:
        _add(sums, tensor, coefficients(tensor))
    return _predicted(sums)


def expected_cast_loss(tensors: Sequence[TensorRecord], coefficients: Coefficients) -> float | None:
    """What rounding to the dtype is expected to cost the change of all tensors together: ‖W*‖ follows exactly, rounding
    is taken to be even. Where it is more than the change all of it is rounded away, and no more than that is lost.
    None where nothing would change, or the rounding of a dtype has no known size."""
    lost = changed = 0.0
    for tensor in tensors:
        if tensor.skipped:
            continue
        if tensor.dtype not in ROUNDING:
            return None
        c = coefficients(tensor)
        with_base = added(c[i] * gram.inner(tensor, 0, i + 1) for i in range(len(c)))
        own = _nothing(len(c))
        _add(own, tensor, c)
        weights = max(own.base + 2.0 * with_base + own.result, 0.0)
        lost += min(ROUNDING[tensor.dtype] ** 2 * weights, own.result)
        changed += own.result
    return math.sqrt(lost / changed) if changed > 0 else None


def matched_norms(tensor: TensorRecord, strengths: Sequence[float], reference: int) -> tuple[float, ...]:
    """What `match_norm` to source `reference` makes of the strengths: every change gets the norm that it has there."""
    energies = [gram.inner(tensor, i, i) for i in range(1, gram.source_count(tensor) + 1)]
    wanted = energies[reference]
    return tuple(
        c * math.sqrt(wanted / energy) if energy > 0 else 0.0 for c, energy in zip(strengths, energies, strict=True)
    )


def equal_contributions(tensor: TensorRecord, strength: float = 1.0) -> tuple[float, ...]:
    """Coefficients with equal c_i ‖τ_i‖ that add up to `strength`; a source that did not change gets 0."""
    energies = [gram.inner(tensor, i, i) for i in range(1, gram.source_count(tensor) + 1)]
    inverse = [1.0 / math.sqrt(energy) if energy > 0 else 0.0 for energy in energies]
    total = added(inverse)
    return tuple(strength * each / total if total else 0.0 for each in inverse)


def constant(strengths: Sequence[float]) -> Coefficients:
    """The same coefficients for every tensor."""
    return lambda _: strengths


def _nothing(k: int) -> _Sums:
    return _Sums(0.0, 0.0, [0.0] * k, [[0.0] * k for _ in range(k)])


def _add(sums: _Sums, tensor: TensorRecord, c: Sequence[float]) -> None:
    between = gram.between_sources(tensor)
    with_result = [added(c[j] * row[j] for j in range(len(c))) for row in between]
    sums.base += gram.inner(tensor, 0, 0)
    sums.result += max(added(c[i] * with_result[i] for i in range(len(c))), 0.0)
    for i, row in enumerate(between):
        sums.with_result[i] += with_result[i]
        for j, value in enumerate(row):
            sums.between[i][j] += value


def _predicted(sums: _Sums) -> Predicted:
    energies = [sums.between[i][i] for i in range(len(sums.between))]
    cosines = [gram.cosine_of(g, sums.result, own) for g, own in zip(sums.with_result, energies, strict=True)]
    solved = gram.least_squares(sums.between, sums.with_result)
    norm, lengths = math.sqrt(sums.result), added(map(math.sqrt, energies))
    return Predicted(
        norm,
        norm / math.sqrt(sums.base) if sums.base > 0 else None,
        tuple(None if math.isnan(cosine) else cosine for cosine in cosines),
        tuple(g / own if own > 0 else None for g, own in zip(sums.with_result, energies, strict=True)),
        tuple(c if own > 0 else None for c, own in zip(solved, energies, strict=True)),
        norm / (lengths / len(energies)) if lengths > 0 else None,
    )
