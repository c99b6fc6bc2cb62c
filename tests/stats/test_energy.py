"""Energy curves from a histogram of exponents against a sort of all elements."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mergegraph.stats import energy
from mergegraph.stats.record import Change
from tests.stats import made

N = 60_000


def values(name: str) -> Tensor:
    torch.manual_seed(3)
    return {
        "normal": torch.randn(N),
        "laplace": torch.distributions.Laplace(0.0, 1.0).sample((N,)),
        "uniform": torch.rand(N) - 0.5,
        "sparse": torch.randn(N) * (torch.rand(N) < 0.1),
        "one size": torch.full((N,), 3.0),
        "four sizes": torch.tensor([4.0, 2.0, 1.0, 0.5]).repeat(N // 4),
    }[name].double()


@pytest.mark.parametrize("name", ["normal", "laplace", "uniform", "sparse", "one size", "four sizes"])
@pytest.mark.parametrize("scale", [1.0, 1.3, 1.7])
def test_a_density_lies_within_its_bounds_and_near_that_of_a_sort(name: str, scale: float) -> None:
    x = values(name) * scale
    change = made.change(x)
    share = (x**2).sort(descending=True).values.cumsum(0) / (x**2).sum()
    for wanted in (0.5, 0.9, 0.99):
        exact = (int((share < wanted * (1 - 1e-12)).sum()) + 1) / N
        found = energy.density(change, N, wanted)
        assert found is not None
        assert found.lowest - 2 / N <= exact <= found.highest + 2 / N
        assert found.lowest <= found.interpolated + 1e-12
        assert found.interpolated <= found.highest + 1e-12
        if name == "four sizes":  # of which the histogram knows nothing: only the bounds hold
            continue
        assert found.interpolated == pytest.approx(exact, abs=0.003)
    for kept in () if name == "four sizes" else (0.01, 0.1, 0.3):
        assert energy.energy_kept(change, N, kept) == pytest.approx(float(share[int(kept * N) - 1]), abs=0.01)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0.01, 4.0), min_size=1, max_size=6))
def test_all_elements_hold_all_energy_and_fewer_no_more(numbers: list[float]) -> None:
    """Also where a bucket ends at a share that no float says exactly: 1.494 and 1.493 beside 0.4987."""
    change = made.change(torch.tensor([*numbers, 1.494, 1.493, 0.4987], dtype=torch.float64))
    kept = [energy.energy_kept(change, len(numbers) + 3, share / 12) for share in range(13)]
    assert kept[-1] == pytest.approx(1.0)
    assert all(a is not None and b is not None and a <= b + 1e-9 for a, b in pairwise(kept))


def test_the_curve_is_exact_where_an_exponent_ends() -> None:
    x = torch.tensor([3.0, 2.5, 1.5, 0.75, 0.0]).double()
    total = 9 + 6.25 + 2.25 + 0.5625
    shares, energies = zip(*energy.curve(made.change(x), 5), strict=True)
    assert shares == pytest.approx((0.0, 0.4, 0.6, 0.8))
    assert energies == pytest.approx((0.0, 15.25 / total, 17.5 / total, 1.0))


def test_the_smooth_curve_rises_and_never_bends_upwards() -> None:
    points = energy.smooth_curve(made.change(values("normal")), N)
    slopes = [(b - y) / (a - x) for (x, y), (a, b) in pairwise(points) if a - x > 1e-4]
    assert all(later <= earlier * 1.001 for earlier, later in pairwise(slopes))


def test_nothing_changed_has_no_density() -> None:
    assert energy.density(made.change(torch.zeros(7).double()), 7, 0.9) is None


@pytest.mark.parametrize("energy_there", [1.0, 1e308, math.inf], ids=["a wrong one", "large", "beyond float64"])
def test_values_as_large_as_a_float_can_hold_end_no_computation(energy_there: float) -> None:
    change = Change(0.0, 0.0, 0.0, 0.0, 1e300, 0, 0, {1000: (3, energy_there), 511: (2, 1e307)})
    found = energy.density(change, 5, 0.9)
    assert (found is None) is math.isinf(energy_there)


def test_values_as_small_as_a_float_can_hold_end_no_computation() -> None:
    x = torch.tensor([1e-300, 1e-200, 5e-324, 1.0]).double()
    found = energy.density(made.change(x), 4, 0.99)
    assert found is not None
    assert found.highest <= 0.25 + 1e-12
