"""Scores, floors and the noise rule, against plain arithmetic."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergegraph.search.outcome import BadResult, Outcome, read_outcome
from mergegraph.search.scoring import Metric, Rule, standard_error

NUMBERS = st.lists(st.floats(-100, 100), min_size=2, max_size=40)


def test_metrics_are_weighed_and_turned_so_that_more_is_better() -> None:
    rule = Rule({"accuracy": Metric(direction="max", weight=2), "loss": Metric(direction="min", weight=0.5),
                 "shown": Metric(direction="min", weight=0)})  # fmt: skip
    assert rule.score(Outcome({"accuracy": 7, "loss": 3, "shown": 99})) == 2 * 7 - 0.5 * 3


@given(NUMBERS)
def test_the_standard_error_is_that_of_the_mean(values: list[float]) -> None:
    error = standard_error(values)
    assert error is not None
    assert math.isclose(error, statistics.stdev(values) / math.sqrt(len(values)), rel_tol=1e-9, abs_tol=1e-12)


@pytest.mark.parametrize(
    ("noise", "strict", "new", "accepted", "reason"),
    [
        (0, False, [1.0, 3.0], True, "a gain is a gain"),
        (0, False, [1.0, 2.0], True, "the same is not worse"),
        (0, True, [1.0, 2.0], False, "the same is no gain"),
        (0, False, [1.0, 1.0], False, "a loss"),
        (1, False, [1.0, 3.0], True, "gain 0.5, standard error 0.5: just enough"),
        (1.01, False, [1.0, 3.0], False, "not enough"),
        (1, True, [1.0, 3.0], False, "strict: more than just enough"),
        (9, False, [2.0, 3.0], True, "every example gains the same, so there is no noise"),
    ],
)
def test_a_gain_must_stand_out_of_the_noise(
    noise: float, strict: bool, new: list[float], accepted: bool, reason: str
) -> None:
    rule = Rule({"m": Metric(direction="max")}, noise, strict)
    old = Outcome({"m": 1.5}, {"m": [1.0, 2.0]})
    verdict = rule.compare(Outcome({"m": sum(new) / 2}, {"m": new}), old)
    assert verdict.accepted is accepted, reason


def test_without_results_for_every_example_outcomes_are_compared_plainly() -> None:
    rule = Rule({"m": Metric(direction="max"), "n": Metric(direction="max")}, noise=100)
    old = Outcome({"m": 1, "n": 1}, {"m": [1, 1]})
    verdict = rule.compare(Outcome({"m": 2, "n": 1}, {"m": [0, 4]}), old)
    assert verdict.accepted
    assert verdict.error is None


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"accuracy": {"not_finite": "nan"}}, '"accuracy" is nan'),
        ({"accuracy": float("inf")}, '"accuracy" is inf'),
        ({"accuracy": "97"}, "is text, not a number"),
        ({"accuracy": True}, "is a truth value"),
        ([1, 2], "no JSON object but a list"),
        (None, "no JSON object but nothing"),
        ({"accuracy": 97, "examples": {"accuracy": [1, 0]}}, "the mean of its examples is 0.5"),
        ({"accuracy": 10**400}, "a whole number of 401 digits"),
        ({"accuracy": 1e300}, "more than 1e+100 cannot be counted with"),
        ({"accuracy": 1, "examples": {"loss": [1]}}, 'examples of "loss"'),
        ({"accuracy": 1, "examples": {"accuracy": []}}, "not a list of numbers"),
        ({"accuracy": 1, "examples": 3}, '"examples" is a number'),
        ({"accuracy": 1, "predictions": {"": {"labels": [0]}}}, "`labels` and `probabilities`"),
        ({"predictions": {"": {"labels": [2], "probabilities": [[0.5, 0.5]]}}}, "whole numbers from 0 to 1"),
        ({"predictions": {"": {"labels": [0], "probabilities": [[0.5, 0.6]]}}}, "do not add up to 1"),
        ({"predictions": {"": {"labels": [0, 1], "probabilities": [[0.5, 0.5]]}}}, "shapes [1, 2]"),
        ({"predictions": {"": {"labels": [0], "probabilities": [[1.5, -0.5]]}}}, "negative"),
    ],
)
def test_a_result_that_breaks_the_contract_is_refused_with_the_reason(answer: object, says: str) -> None:
    with pytest.raises(BadResult) as refused:
        read_outcome(answer)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("answer", "says"), [({"acuracy": 1}, 'no "accuracy"; Did you mean acuracy?'), ({}, 'no "accuracy"')]
)
def test_a_result_without_a_metric_that_counts_is_rejected(answer: dict[str, float], says: str) -> None:
    rule = Rule({"accuracy": Metric(direction="max")})
    assert says in rule.judged(read_outcome(answer)).rejected
    assert not rule.judged(read_outcome({"accuracy": 1, **answer})).rejected


def test_what_the_evaluator_says_counts_more_than_what_follows_from_its_predictions() -> None:
    answer = {"accuracy": 12.0, "predictions": {"": {"labels": [0], "probabilities": [[0.75, 0.25]]}}}
    outcome = read_outcome(answer)
    assert outcome.metrics["accuracy"] == 12.0
    assert outcome.metrics["loss"] == pytest.approx(-math.log(0.75))
    assert outcome.examples["loss"] == pytest.approx([-math.log(0.75)])
