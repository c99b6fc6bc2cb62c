"""Inner products of a tensor, by index: 0 is W0, i the change of source i (from 1), k + 1 that of the result.

Everything linear follows from them. Also: least squares of one change by the others, where some may be parallel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from mergegraph.stats.record import TensorRecord

Numbers = npt.NDArray[Any]
"""float64, or bool."""
SINGULAR = 1e-6
"""Directions of the normalised Gram matrix with less than this share of the largest eigenvalue count as none. The sums
are of float32 products, and good to `ERROR`: coefficients along such a direction would be off by a tenth and more.
Changes this parallel (a cosine above 1 - 10⁻⁶, 0.1 degrees) are the same one."""
ERROR = 1e-7
"""What inner products are off by, against ‖a‖ ‖b‖: measured against float64, the worst of normal and skewed values."""


def source_count(tensor: TensorRecord) -> int:
    """k. A result has an outcome, and its change comes last."""
    return len(tensor.changes) - (tensor.outcome is not None)


def inner(tensor: TensorRecord, a: int, b: int) -> float:
    """⟨a, b⟩ by the indices above."""
    return tensor.gram[_places(len(tensor.changes) + 1)[a][b]]


def place(size: int, a: int, b: int) -> int:
    """Where ⟨a, b⟩ stands among the products of `size` vectors."""
    return _places(size)[a][b]


@cache
def _places(size: int) -> tuple[tuple[int, ...], ...]:
    """Where ⟨a, b⟩ stands: row a of the upper triangle begins after rows of size, size - 1, … numbers."""
    return tuple(
        [
            tuple([min(a, b) * size - min(a, b) * (min(a, b) + 1) // 2 + max(a, b) for b in range(size)])
            for a in range(size)
        ]
    )


def weights_inner(tensor: TensorRecord, a: int, b: int) -> float:
    """⟨W_a, W_b⟩ of the full weights W_a = W0 + τ_a."""
    products, places = tensor.gram, _places(len(tensor.changes) + 1)
    total = products[0]
    total += products[places[0][a]] if a else 0.0
    total += products[places[0][b]] if b else 0.0
    return total + (products[places[a][b]] if a and b else 0.0)


def cosine_of(ab: float, aa: float, bb: float) -> float:
    """From inner products; NaN where one of the two is zero. Rounding never leads out of [-1, 1]."""
    if aa <= 0.0 or bb <= 0.0:
        return math.nan
    return max(-1.0, min(1.0, ab / math.sqrt(aa) / math.sqrt(bb)))


def between_sources(tensor: TensorRecord) -> list[list[float]]:
    """G: the k × k inner products of the sources' changes."""
    k = source_count(tensor)
    gram = [[0.0] * k for _ in range(k)]
    for a in range(k):
        for b in range(a, k):
            gram[a][b] = gram[b][a] = inner(tensor, a + 1, b + 1)
    return gram


def least_squares(gram: Sequence[Sequence[float]], against: Sequence[float]) -> tuple[float, ...]:
    """c = G⁻¹g of smallest norm, after every change was scaled to length 1: parallel changes share what they explain.

    A change that is zero gets 0.
    """
    scale, values, vectors, kept = _decomposed(gram)
    inverse = np.divide(1.0, values, out=np.zeros_like(values), where=kept)
    solved = scale * (vectors @ (inverse * (vectors.T @ (scale * np.asarray(against)))))
    return tuple(float(each) for each in solved)


def inverse_diagonal(gram: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """The diagonal of G⁻¹ in the sense of `least_squares`: how unsure each coefficient is."""
    size = len(gram)
    unit = [[float(row == column) for column in range(size)] for row in range(size)]
    return tuple(least_squares(gram, unit[i])[i] for i in range(size))


def unsureness(
    gram: Sequence[Sequence[float]], against: Sequence[float], energy: float
) -> tuple[tuple[float, float], ...]:
    """Of each coefficient of `least_squares` for a vector with Σ x² = `energy`: how far it is off by the `ERROR` of the
    products, and how far it could be moved along directions that count as none, by as much as the others are long."""
    scale, values, vectors, kept = _decomposed(gram)
    inverse = np.divide(1.0, values, out=np.zeros_like(values), where=kept)
    solved = vectors @ (inverse * (vectors.T @ (scale * np.asarray(against))))
    length = float(np.sqrt((solved**2).sum()))
    of_sums = ERROR * math.sqrt(energy + length**2) * np.sqrt(((vectors * inverse) ** 2).sum(axis=1))
    along = np.sqrt(((vectors * ~kept) ** 2).sum(axis=1)) * length
    return tuple((float(a), float(b)) for a, b in zip(scale * of_sums, scale * along, strict=True))


def _decomposed(gram: Sequence[Sequence[float]]) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """(1 / lengths, eigenvalues and eigenvectors of the normalised matrix, which of them count)."""
    lengths = np.sqrt(np.diagonal(np.asarray(gram, dtype=np.float64)))
    scale = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    values, vectors = np.linalg.eigh(np.asarray(gram) * scale[:, None] * scale[None, :])
    return scale, values, vectors, values > SINGULAR * max(float(values[-1]), 0.0)
