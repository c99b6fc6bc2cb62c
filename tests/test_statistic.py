"""Ranks and thresholds: which element a quantile means, before anything is computed."""

from __future__ import annotations

import pytest

from mergegraph.expr import Value
from mergegraph.statistic import Threshold, rank

# Columns: rule, parameters, elements, of them not zero, the rank from the largest, why.
RANKED: list[tuple[str, dict[str, Value], int, int, int, str]] = [
    ("largest", {"share": 0.5}, 7, 7, 3, "truncated, not rounded"),
    ("largest", {"share": 0.29}, 100, 100, 28, "0.29 · 100 is 28.999999999999996 in float64, as in mergekit"),
    ("largest", {"share": 1e-9}, 7, 7, 1, "at least one"),
    ("largest", {"share": 0.0}, 7, 7, 0, "nothing is wanted"),
    ("largest", {"share": 2.0}, 7, 7, 7, "never more than there are"),
    ("largest", {"share": 0.5}, 0, 0, 0, "an empty tensor"),
    ("largest_nonzero", {"share": 0.5}, 100, 9, 4, "of those above zero"),
    ("largest_nonzero", {"share": 0.5}, 100, 1, 0, "may be none"),
    ("top_dropped", {"density": 0.6, "gamma": 0.05}, 100, 100, 5, "the outliers"),
    ("top_dropped", {"density": 0.6, "gamma": 0.9}, 100, 100, 40, "no more than are not kept"),
    ("top_and_kept", {"density": 0.6, "gamma": 0.05}, 100, 100, 65, "outliers and what is kept"),
    ("ascending", {"q": 0.5}, 5, 5, 3, "the median of five is third from either end"),
    ("ascending", {"q": 0.5}, 4, 4, 3, "the lower of the two middle ones: no interpolation"),
    ("ascending", {"q": 0.0}, 5, 5, 5, "the smallest"),
    ("ascending", {"q": 1.0}, 5, 5, 1, "the largest"),
    ("ascending", {"q": 0.5}, 0, 0, 0, "an empty tensor"),
]


@pytest.mark.parametrize(("rule", "numbers", "count", "nonzero", "wanted", "why"), RANKED)
def test_a_rank(rule: str, numbers: dict[str, Value], count: int, nonzero: int, wanted: int, why: str) -> None:
    assert rank(count, nonzero, {"rank": rule, **numbers}) == wanted, why


def test_the_share_of_equals_that_is_wanted() -> None:
    assert Threshold(1.0, above=3, equal=4, wanted=4).share_of_equal == 0.25
    assert Threshold(1.0, above=3, equal=4, wanted=7).share_of_equal == 1.0
    assert Threshold(1.0, above=0, equal=0, wanted=0).share_of_equal == 0.0
