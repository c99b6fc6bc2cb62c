"""Medians, ratios and lines: what a table of timings claims."""

from __future__ import annotations

import pytest

from benchmarks.spread import Spread, line, net, ratio, spread


def test_a_spread_is_the_median_between_the_extremes() -> None:
    assert spread([5.0, 2.0, 11.0, 3.0, 7.0]) == Spread(5.0, 2.0, 11.0)
    assert spread([5.0, 2.0]).text() == "3.50 (2.00–5.00)"


def test_a_ratio_is_of_medians_and_its_range_is_within_rounds() -> None:
    # Medians 20 and 5; a slow second round hits both and leaves its ratio alone.
    assert ratio([20.0, 60.0, 14.0], [5.0, 15.0, 2.0]) == Spread(4.0, 4.0, 7.0)


@pytest.mark.parametrize("under", [[0.0, 1.0, 2.0], [-0.5, 1.0, 2.0]], ids=["nothing", "less than its start-up"])
def test_there_is_no_ratio_to_what_is_smaller_than_its_noise(under: list[float]) -> None:
    assert ratio([1.0, 2.0, 3.0], under) is None


def test_net_takes_the_median_start_up_off_every_value() -> None:
    assert net([7.0, 9.0], [3.0, 2.0, 90.0]) == [4.0, 6.0]


def test_a_line_through_points_that_lie_on_one() -> None:
    fit = line([1.0, 3.0, 7.0], [5.0, 9.0, 17.0])
    assert (fit.intercept, fit.slope, fit.deviation) == pytest.approx((3.0, 2.0, 0.0))


def test_the_deviation_of_a_line_is_a_share_of_the_largest_value() -> None:
    # Least squares through 0, 3, 0 is the level 1, which the middle misses by 2 of 3.
    fit = line([0.0, 1.0, 2.0], [0.0, 3.0, 0.0])
    assert (fit.intercept, fit.slope, fit.deviation) == pytest.approx((1.0, 0.0, 2 / 3))
