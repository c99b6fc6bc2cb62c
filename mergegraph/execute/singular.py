"""The leading singular values and vectors of one matrix, by randomised subspace iteration.

N. Halko, P. G. Martinsson, J. A. Tropp, "Finding structure with randomness", SIAM Review 53 (2011), algorithms 4.4 and
5.1. The matrix meets a fixed random one, its range is sharpened by multiplying with the matrix and its transpose, and
the small matrix that is left is factorised. The random numbers are hashes of their places, so that results repeat.

Products that only turn the range are in float32; the last, from which values and what is outside them come, in float64:
by then the range is good to float32, which is good to its square in the values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mergegraph.execute.noise import fill_uniform
from mergegraph.plan.spectra import BLOCK_ELEMENTS
from mergegraph.stats.spectral import DIRECTIONS, SKETCH

POWERS = 4
"""Times that the range is multiplied by the matrix and its transpose. Of normal values, whose spectrum is flat, in
2,048 rows and columns σ₁ is then 2.7 % too small, with three times 4.0 %, with one 11 %."""
_KEY = 0x5EC7_4A11
_FACTORISE: Any = torch.linalg
"""Untyped in torch."""
_LARGEST_EXPONENT = 120
_DIGITS = 10
"""Of a value that are kept: more would tell one machine from another."""


@dataclass(frozen=True, slots=True)
class Leading:
    """`values`: the leading singular values, largest first; `outside`: Σ σ² of the others; `left` [rows, k] and `right`
    [columns, k]: the singular vectors in float32, as columns."""

    values: tuple[float, ...]
    outside: float
    left: Tensor
    right: Tensor


def leading(matrix: Tensor, pause: Callable[[], None] = lambda: None) -> Leading | None:
    """Of a float32 matrix, which is scaled by a power of two in place; None where it is not finite. `pause` is called
    between products, and may raise."""
    low, high = torch.aminmax(matrix)
    largest = max(-float(low), float(high))
    if not math.isfinite(largest):
        return None
    # No square in float32 overflows or vanishes then, and no bit changes.
    exponent = min(max(math.frexp(largest)[1], -_LARGEST_EXPONENT), _LARGEST_EXPONENT)
    matrix.mul_(math.ldexp(1.0, -exponent))
    basis = _range(matrix, pause)
    pause()
    small, energy = _projected(matrix, basis)
    values, left, right = _factorised(basis, small)
    held = math.fsum(value * value for value in values)
    kept = min(DIRECTIONS, len(values))
    outside = max(energy - held, 0.0) + math.fsum(value * value for value in values[kept:])
    scale = math.ldexp(1.0, exponent)
    return Leading(
        tuple([_rounded(value * scale) for value in values[:kept]]),
        _rounded(outside * scale * scale),
        left[:, :kept].to(torch.float32),
        right[:, :kept].to(torch.float32),
    )


def _range(matrix: Tensor, pause: Callable[[], None]) -> Tensor:
    """Orthonormal columns in float64 that hold the leading left singular vectors."""
    columns, width = matrix.shape[1], min(SKETCH, *matrix.shape)
    product = matrix @ _test_matrix(columns, width)
    for _ in range(POWERS):
        pause()
        product = matrix.T @ _orthonormal(product)
        pause()
        product = matrix @ _orthonormal(product)
    return _orthonormal(product.to(torch.float64))


def _test_matrix(rows: int, columns: int) -> Tensor:
    """Numbers in [-1, 1) that depend on nothing but their place."""
    made, scratch = torch.empty(rows * columns), torch.empty(rows * columns)
    fill_uniform(made, _KEY, 0, scratch)
    return made.mul_(2.0).sub_(1.0).view(rows, columns)


def _orthonormal(columns: Tensor) -> Tensor:
    made: Tensor = _FACTORISE.qr(columns)[0]
    return made


def _projected(matrix: Tensor, basis: Tensor) -> tuple[Tensor, float]:
    """(basisᵀ matrix, ‖matrix‖²), in float64 and by blocks of rows."""
    small = torch.zeros(basis.shape[1], matrix.shape[1], dtype=torch.float64)
    energies: list[float] = []
    rows = max(1, BLOCK_ELEMENTS // matrix.shape[1])
    for first in range(0, matrix.shape[0], rows):
        block = matrix[first : first + rows].to(torch.float64)
        small.addmm_(basis[first : first + rows].T, block)
        flat = block.view(-1)
        energies.append(float(torch.dot(flat, flat)))
    return small, math.fsum(energies)


def _factorised(basis: Tensor, small: Tensor) -> tuple[list[float], Tensor, Tensor]:
    """Singular values and vectors of basis · small. A QR of the long side first: what is left is small both ways."""
    turned, triangle = _FACTORISE.qr(small.T)
    left, values, right = _FACTORISE.svd(triangle.T)
    found: list[float] = values.tolist()
    return found, basis @ left, turned @ right.T


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else value


def overlap(one: Tensor, other: Tensor, directions: int) -> float:
    """‖Aᵀ B‖² / k of the first k columns."""
    product = one[:, :directions].T @ other[:, :directions]
    return _rounded(min(float(product.to(torch.float64).square().sum()) / directions, 1.0))


def warm_up() -> None:
    """Factorise a small matrix: the first one takes in the libraries for it."""
    leading(_test_matrix(256, 128))
