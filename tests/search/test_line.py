"""Barriers, against the formula in plain float64."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergegraph.search.candidates import Candidate
from mergegraph.search.line import Point, along, barrier
from mergegraph.search.outcome import Outcome
from mergegraph.search.scoring import Metric, Rule
from tests.search.scores import NO_RECIPE, Table

LOSS = Rule({"loss": Metric(direction="min")})


def points(values: list[float], metric: str = "loss") -> list[Point]:
    steps = len(values) - 1
    return [Point(i / steps, Outcome({metric: value})) for i, value in enumerate(values)]


@given(st.lists(st.floats(-50, 50), min_size=3, max_size=21), st.sampled_from([1, -1]))
def test_a_barrier_is_the_highest_point_above_the_chord(values: list[float], sign: int) -> None:
    found = barrier(points(values), "loss", sign)
    steps = len(values) - 1
    above = [-sign * (v - ((1 - i / steps) * values[0] + i / steps * values[-1])) for i, v in enumerate(values)]
    assert found is not None
    assert found.height == pytest.approx(max(above), abs=1e-12)
    assert found.height >= -1e-12


@pytest.mark.parametrize(
    ("values", "sign", "height", "share", "reason"),
    [
        ([1.0, 0.5, 2.0], -1, 0.0, 0.0, "below the chord everywhere: only the ends are on it"),
        ([1.0, 4.0, 2.0], -1, 2.5, 0.5, "the mean of the ends is 1.5"),
        ([90.0, 10.0, 70.0], 1, 70.0, 0.5, "of an accuracy, less is the barrier"),
    ],
)
def test_barriers_by_hand(values: list[float], sign: int, height: float, share: float, reason: str) -> None:
    found = barrier(points(values), "loss", sign)
    assert found is not None, reason
    assert (found.height, found.share) == (height, share), reason


def test_a_barrier_has_the_standard_error_of_its_examples() -> None:
    examples = [[1.0, 3.0], [4.0, 8.0], [2.0, 2.0]]
    row = [Point(i / 2, Outcome({"loss": sum(e) / 2}, {"loss": e})) for i, e in enumerate(examples)]
    found = barrier(row, "loss", -1)
    assert found is not None
    assert found.height == 4.0  # 6 above the mean of 2 and 2
    assert found.error == pytest.approx(1.5)  # of 2.5 and 5.5: sd 2.1213, over the root of two


def test_there_is_no_barrier_without_both_ends() -> None:
    row = points([1.0, 5.0, 2.0])
    crashed = Point(0.5, Outcome(rejected="crashed"))
    known = barrier([*row, crashed], "loss", -1)
    assert known is not None
    assert known.missing == 1, "it may be higher there"
    assert barrier(row[1:], "loss", -1) is None
    assert barrier([row[0], row[1], Point(1.0, Outcome(rejected="crashed"))], "loss", -1) is None


def test_a_line_is_evaluated_from_its_ends_and_told_in_order() -> None:
    row = [(i / 4, Candidate(f"{i}", NO_RECIPE, facts={"share": i / 4})) for i in range(5)]
    asking = Table(lambda candidate, cheap: Outcome({"loss": float(candidate.label)}), most=3)
    chosen = along(("a", "b"), row, asking, LOSS)
    assert [label for label, _ in asking.asked] == ["0", "4", "1"]
    assert chosen.ended
    line = chosen.findings["line"]
    assert isinstance(line, dict)
    assert [point["share"] for point in line["points"]] == [0.0, 0.25, 1.0]
    assert line["barriers"]["loss"]["height"] == 0.0
    assert chosen.candidate is not None
    assert chosen.candidate.label == "0"
