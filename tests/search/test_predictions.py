"""Accuracy, loss, calibration error and ensembles, against plain float64 Python."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergegraph.search.predictions import BINS, averaged, direction, majority, read_predictions

Rows = list[list[float]]


@st.composite
def predicted(draw: st.DrawFn, members: int = 1) -> tuple[list[int], list[Rows]]:
    classes = draw(st.integers(2, 5))
    count = draw(st.integers(1, 20))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=count, max_size=count))
    row = st.lists(st.integers(1, 1000), min_size=classes, max_size=classes)
    raw = [draw(st.lists(row, min_size=count, max_size=count)) for _ in range(members)]
    return labels, [[[v / sum(each) for v in each] for each in rows] for rows in raw]


def calibration_by_hand(labels: list[int], rows: Rows) -> float:
    bins: dict[int, list[tuple[bool, float]]] = {}
    for label, row in zip(labels, rows, strict=True):
        confidence = max(row)
        at = next(b for b in range(BINS) if confidence <= (b + 1) / BINS or b == BINS - 1)
        bins.setdefault(at, []).append((row.index(confidence) == label, confidence))
    total = 0.0
    for members in bins.values():
        accuracy = sum(right for right, _ in members) / len(members)
        total += len(members) / len(labels) * abs(accuracy - sum(c for _, c in members) / len(members))
    return 100 * total


@given(predicted())
def test_metrics_are_those_of_plain_arithmetic(drawn: tuple[list[int], list[Rows]]) -> None:
    labels, (rows,) = drawn
    found = read_predictions({"labels": labels, "probabilities": rows}).metrics()
    right = [row.index(max(row)) == label for label, row in zip(labels, rows, strict=True)]
    losses = [-math.log(row[label]) for label, row in zip(labels, rows, strict=True)]
    assert found["accuracy"][0] == pytest.approx(100 * sum(right) / len(right), abs=1e-9)
    assert found["loss"][0] == pytest.approx(sum(losses) / len(losses), rel=1e-12)
    assert found["calibration_error"][0] == pytest.approx(calibration_by_hand(labels, rows), abs=1e-9)


@given(predicted(members=3))
def test_ensembles_average_probabilities_and_count_votes(drawn: tuple[list[int], list[Rows]]) -> None:
    labels, members = drawn
    read = [read_predictions({"labels": labels, "probabilities": rows}) for rows in members]
    for index in range(len(labels)):
        mean = [sum(rows[index][c] for rows in members) / 3 for c in range(len(members[0][index]))]
        assert averaged(read).probabilities[index].tolist() == pytest.approx(mean, abs=1e-12)
        votes = Counter(max(range(len(rows[index])), key=lambda c, row=rows[index]: row[c]) for rows in members)
        most = max(votes.values())
        assert votes[int(majority(read).probabilities[index].argmax())] == most


def test_members_of_other_examples_are_no_ensemble() -> None:
    one, other = (read_predictions({"labels": [label], "probabilities": [[0.5, 0.5]]}) for label in (0, 1))
    with pytest.raises(ValueError, match="different examples"):
        averaged([one, other])


@pytest.mark.parametrize(
    ("metric", "known", "sign"),
    [("loss", {}, -1), ("loss@legal", {}, -1), ("accuracy@x", {}, 1), ("bleu", {}, 0), ("bleu@fr", {"bleu": 1}, 1),
     ("loss@legal", {"loss@legal": 1}, 1), ("loss", {"loss": 1}, 1)],
)  # fmt: skip
def test_a_slice_has_the_direction_of_its_metric(metric: str, known: dict[str, int], sign: int) -> None:
    assert direction(metric, known) == sign
