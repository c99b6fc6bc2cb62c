"""Randomised singular values against torch's full decomposition in float64, for spectra of every kind."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mergegraph.execute.singular import leading, overlap
from mergegraph.stats.spectral import DIRECTIONS


def with_values(rows: int, columns: int, values: Tensor, seed: int = 3) -> Tensor:
    """A float32 matrix with these singular values."""
    generator = torch.Generator().manual_seed(seed)
    u, v = (
        torch.linalg.qr(torch.randn(n, len(values), generator=generator, dtype=torch.float64))[0]
        for n in (rows, columns)
    )
    return ((u * values) @ v.T).float()


def normal(rows: int, columns: int, seed: int = 5) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def counted(count: int) -> Tensor:
    return torch.arange(1, count + 1, dtype=torch.float64)


def low_rank_and_noise(rows: int, columns: int) -> Tensor:
    return with_values(rows, columns, 10.0 / counted(5)) + 1e-4 * normal(rows, columns)


MATRICES: list[tuple[str, Callable[[], Tensor], float, float, str]] = [
    ("low rank", lambda: with_values(211, 307, counted(5).flip(0)), 1e-6, 1e-6, "the range is found at once"),
    ("low rank and noise", lambda: low_rank_and_noise(307, 211), 0.06, 0.03, "of the noise as in flat"),
    ("decaying", lambda: with_values(307, 211, 0.7 ** counted(211)), 1e-6, 1e-6, "32 directions hold nearly all"),
    ("slowly decaying", lambda: with_values(211, 307, counted(211) ** -0.5), 0.02, 0.01, "gaps are small"),
    ("flat", lambda: normal(307, 211), 0.06, 0.03, "no direction leads"),
    ("equal", lambda: with_values(211, 211, torch.ones(211, dtype=torch.float64)), 1e-5, 1e-5, "any basis does"),
    ("short", lambda: normal(500, 17), 1e-6, 1e-5, "fewer columns than are looked for: exact"),
    ("one row", lambda: normal(1, 70), 1e-6, 1e-5, "a vector"),
    ("tiny numbers", lambda: 1e-36 * normal(40, 30), 1e-6, 1e-5, "their squares vanish in float32"),
    ("huge numbers", lambda: 1e37 * normal(40, 30), 1e-6, 1e-5, "their squares are beyond float32"),
]


@pytest.mark.parametrize(("name", "make", "near", "outside", "why"), MATRICES, ids=[each[0] for each in MATRICES])
def test_singular_values_are_those_of_the_full_decomposition(
    name: str, make: Callable[[], Tensor], near: float, outside: float, why: str
) -> None:
    matrix = make()
    exact = torch.linalg.svdvals(matrix.double())
    found = leading(matrix.clone())
    assert found is not None
    values, kept = torch.tensor(found.values, dtype=torch.float64), min(DIRECTIONS, *matrix.shape)
    assert len(values) == kept
    assert (values <= exact[:kept] * (1 + 1e-9) + 1e-7 * exact[0]).all(), "never more than there is"
    assert (exact[:kept] - values <= near * exact[:kept] + 1e-7 * exact[0]).all(), why
    rest, energy = float((exact[kept:] ** 2).sum()), float((exact**2).sum())
    assert found.outside == pytest.approx(rest, rel=outside, abs=1e-12 * energy)


def test_leading_directions_are_those_of_the_full_decomposition() -> None:
    matrix = low_rank_and_noise(307, 211)
    u, _, vh = torch.linalg.svd(matrix.double(), full_matrices=False)
    found = leading(matrix.clone())
    assert found is not None
    assert overlap(found.left, u.float(), 5) == pytest.approx(1.0, abs=1e-5)
    assert overlap(found.right, vh.T.float(), 5) == pytest.approx(1.0, abs=1e-5)


def test_strong_directions_are_found_beside_much_energy_elsewhere() -> None:
    """Three directions just above the largest of normal noise, which has 98 % of the energy."""
    rows, columns = 400, 300
    noise = normal(rows, columns)
    matrix = noise + with_values(rows, columns, torch.tensor([90.0, 80.0, 70.0], dtype=torch.float64))
    exact, found = torch.linalg.svdvals(matrix.double())[:3].tolist(), leading(matrix.clone())
    assert found is not None
    assert found.values[:3] == pytest.approx(exact, rel=1e-5)


def test_overlap_of_known_subspaces() -> None:
    basis = torch.eye(12)
    assert overlap(basis[:, :4], basis[:, [0, 1, 8, 9]], 4) == 0.5
    assert overlap(basis[:, :4], basis[:, [3, 2, 1, 0]], 4) == 1.0


def test_zeros_have_no_energy_and_what_is_not_finite_has_no_values() -> None:
    zeros = leading(torch.zeros(60, 50))
    assert zeros is not None
    assert (set(zeros.values), zeros.outside) == ({0.0}, 0.0)
    for odd in (math.nan, math.inf):
        matrix = normal(9, 7)
        matrix[3, 2] = odd
        assert leading(matrix) is None
