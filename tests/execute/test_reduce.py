"""Statistics are exact and do not depend on how, or in which order, elements come."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mergegraph.execute.quantile import Quantile
from mergegraph.execute.reduce import Accumulator, Scratch, Sum, feed_in_runs
from mergegraph.expr import Value
from mergegraph.statistic import CHUNK_ELEMENTS, Found, Threshold

SCRATCH = Scratch()


def found(into: Accumulator, tensors: Sequence[torch.Tensor], passes: int) -> Found:
    result: Found | None = None
    for _ in range(passes):
        assert result is None
        for tensor in tensors:
            feed_in_runs([(into, (tensor,))], 0, CHUNK_ELEMENTS, SCRATCH)
        result = into.end_pass()
    assert result is not None
    return result


def by_sorting(values: list[float], wanted: int) -> Threshold:
    sizes = sorted((abs(value) for value in values), reverse=True)
    value = sizes[wanted - 1]
    return Threshold(value, sum(size > value for size in sizes), sizes.count(value), wanted)


numbers = st.floats(width=32, allow_nan=False)


@given(st.lists(st.lists(numbers, max_size=40), min_size=1, max_size=4), st.floats(0.001, 1))
def test_a_float32_quantile_is_what_sorting_gives(parts: list[list[float]], share: float) -> None:
    values = [value for part in parts for value in part]
    if not values:
        return
    tensors = [torch.tensor(part, dtype=torch.float32) for part in parts]
    wanted = max(1, int(share * len(values)))
    assert found(Quantile({"rank": "largest", "share": share}), tensors, 2) == by_sorting(values, wanted)


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=60), st.floats(0.001, 1))
def test_a_float64_quantile_takes_four_passes(values: list[float], share: float) -> None:
    tensor = torch.tensor(values, dtype=torch.float64)
    wanted = max(1, int(share * len(values)))
    assert found(Quantile({"rank": "largest", "share": share}), [tensor], 4) == by_sorting(values, wanted)


def test_thresholds_tell_neighbours_apart() -> None:
    """Two numbers that differ in the last bit only."""
    tensor = torch.tensor([1.0, 1.0 + 2**-23, -1.0, 0.5])
    assert found(Quantile({"rank": "largest", "share": 0.5}), [tensor], 2) == Threshold(1.0, 1, 2, 2)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"rank": "largest", "share": 0.0}, "nothing wanted"),
        ({"rank": "largest_nonzero", "share": 0.5}, "all are zero"),
    ],
)
def test_no_rank_gives_an_infinite_threshold(settings: dict[str, Value], why: str) -> None:
    assert found(Quantile(settings), [torch.zeros(5)], 1) == Threshold(math.inf, 0, 0, 0), why


@pytest.mark.parametrize(("kind", "passes"), [("sum", 1), ("abs_sum", 1), ("dot", 1), ("count", 1)])
def test_sums_do_not_depend_on_order_or_cut(kind: str, passes: int) -> None:
    tensor = torch.randn(5 * CHUNK_ELEMENTS + 17, generator=torch.Generator().manual_seed(1))
    runs = [(start, tensor[start : start + CHUNK_ELEMENTS]) for start in range(0, len(tensor), CHUNK_ELEMENTS)]
    in_order, shuffled = Sum(kind), Sum(kind)
    feed_in_runs([(in_order, (tensor, tensor) if kind == "dot" else (tensor,))], 0, CHUNK_ELEMENTS, SCRATCH)
    random.Random(3).shuffle(runs)
    for start, run in runs:
        SCRATCH.forget()
        shuffled.feed(start, (run, run) if kind == "dot" else (run,), SCRATCH)
    assert in_order.end_pass() == shuffled.end_pass()


def test_a_dot_is_accurate_where_float32_squares_overflow() -> None:
    tensor = torch.tensor([1e30, -2e30, 3e-30])
    exact = sum(Fraction(float(value)) ** 2 for value in tensor)
    into = Sum("dot")
    into.feed(0, (tensor, tensor), SCRATCH)
    assert into.end_pass() == pytest.approx(float(exact), rel=1e-15)


def test_leaves_are_cut_where_they_begin() -> None:
    """A leaf of 100,000 elements is two runs, and the next begins after it, not at a multiple of 65,536."""
    starts: list[tuple[int, int]] = []

    class Noted(Sum):
        def feed(self, start: int, tiles: tuple[torch.Tensor, ...], scratch: Scratch) -> None:
            starts.append((start, tiles[0].numel()))

    feed_in_runs([(Noted("sum"), (torch.zeros(200_000),))], 300_000, 100_000, SCRATCH)
    rest = 100_000 - CHUNK_ELEMENTS
    assert starts == [
        (300_000, CHUNK_ELEMENTS),
        (300_000 + CHUNK_ELEMENTS, rest),
        (400_000, CHUNK_ELEMENTS),
        (400_000 + CHUNK_ELEMENTS, rest),
    ]


def test_sums_that_are_not_finite_stay_so() -> None:
    into = Sum("sum")
    for value in (math.inf, -math.inf):
        into.feed(0, (torch.tensor([value]),), SCRATCH)
    result = into.end_pass()
    assert isinstance(result, float)
    assert math.isnan(result)
