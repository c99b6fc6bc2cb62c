"""The greedy soup: its guarantee for any scores, its order, and how it ends."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergegraph.search.candidates import Candidate
from mergegraph.search.greedy import greedy_soup
from mergegraph.search.outcome import Outcome
from mergegraph.search.scoring import Metric, Rule
from tests.search.scores import Table, soup, table

ACCURACY = {"accuracy": Metric(direction="max")}
NAMES = ("a", "b", "c", "d", "e")


def drawn(seed: int, candidate: Candidate, cheap: bool, values: int) -> Outcome:
    """A score out of `values`, the same for the same candidate; one in seven is rejected."""
    members = candidate.facts["members"]
    assert isinstance(members, list)
    digest = hashlib.sha256(f"{seed} {sorted(members)} {cheap}".encode()).digest()
    if digest[0] % 7 == 0:
        return Outcome(rejected="crashed")
    score = int.from_bytes(digest[1:5], "big") % values
    examples = [float(byte % 3) for byte in digest[5:15]]
    shift = score - sum(examples) / len(examples)
    return Outcome({"accuracy": float(score)}, {"accuracy": [value + shift for value in examples]})


@given(
    seed=st.integers(0, 10**6),
    values=st.sampled_from([2, 5, 1000]),  # few values make many ties
    noise=st.sampled_from([0.0, 1.0, 3.0]),
    strict=st.booleans(),
    refine=st.booleans(),
    most=st.one_of(st.none(), st.integers(1, 20)),
    sign=st.sampled_from(["max", "min"]),
)
def test_a_greedy_soup_is_never_below_its_best_single_model(
    seed: int, values: int, noise: float, strict: bool, refine: bool, most: int | None, sign: str
) -> None:
    """Whatever the evaluator says, whatever the running average made of it, wherever the limits cut it short."""
    rule = Rule({"accuracy": Metric.model_validate({"direction": sign})}, noise, strict)
    asking = Table(lambda candidate, cheap: drawn(seed, candidate, cheap, values), most)
    chosen = greedy_soup(NAMES, soup, asking, rule, refine=refine)
    singles = [drawn(seed, soup((name,)), False, values) for name in NAMES if (name, False) in asking.asked]
    scores = [rule.score(outcome) for outcome in singles if not outcome.rejected]
    if not scores:
        assert chosen.candidate is None
        return
    assert chosen.candidate is not None
    assert chosen.outcome is not None
    assert rule.score(chosen.outcome) >= max(scores)
    # What is promised is what the shipped recipe scored, not what the running average did.
    assert chosen.outcome == drawn(seed, chosen.candidate, False, values)
    assert (chosen.candidate.label, False) in asking.asked


def test_members_come_in_the_order_of_their_own_scores() -> None:
    asking = table({"a": 1, "b": 3, "c": 2, "b+c": 4, "b+c+a": 5})
    chosen = greedy_soup(("a", "b", "c"), soup, asking, Rule(ACCURACY))
    assert chosen.candidate is not None
    assert chosen.candidate.label == "b+c+a"
    assert asking.asked == [
        ("a", False), ("b", False), ("c", False), ("b+c", False), ("b+c+a", True), ("b+c+a", False),
    ]  # fmt: skip


@pytest.mark.parametrize(("strict", "label"), [(False, "b+a"), (True, "b")])
def test_an_equal_score_is_enough_unless_it_is_strict(strict: bool, label: str) -> None:
    asking = table({"a": 1, "b": 2, "b+a": 2})
    chosen = greedy_soup(("a", "b"), soup, asking, Rule(ACCURACY, strict=strict))
    assert chosen.candidate is not None
    assert chosen.candidate.label == label


def test_a_proposal_of_the_running_average_is_accepted_by_its_own_recipe_only() -> None:
    """The running average of three says 9, the bytes that would ship say 1."""

    def outcome_of(candidate: Candidate, cheap: bool) -> Outcome:
        scores = {"a": 4.0, "b": 3.0, "c": 2.0, "a+b": 5.0, "a+b+c": 9.0 if cheap else 1.0}
        return Outcome({"accuracy": scores[candidate.label]})

    asking = Table(outcome_of)
    chosen = greedy_soup(("a", "b", "c"), soup, asking, Rule(ACCURACY))
    assert chosen.candidate is not None
    assert chosen.candidate.label == "a+b"
    assert asking.decisions[-1].why == "worse by 4"


@pytest.mark.parametrize(
    ("without", "label", "reason"),
    [
        ({"a+b": 6, "a+c": 7, "b+c": 5}, "a+c", "the one whose loss helps most goes"),
        ({"a+b": 5, "a+c": 5, "b+c": 5}, "a+b+c", "an equal score is no reason to leave one out"),
        ({"a+b": "crashed", "a+c": "crashed", "b+c": 6}, "b+c", "what cannot be evaluated is not taken"),
    ],
)
def test_refining_leaves_members_out_as_long_as_the_score_grows(
    without: dict[str, float | str], label: str, reason: str
) -> None:
    scores: dict[str, float | str] = {"a": 3, "b": 2, "c": 1, "a+b+c": 5} | without
    first = dict(scores)
    first["a+b"] = 4  # while the soup grows
    asking = table(first if label != "a+b" else scores)
    asking.outcome_of = _growing(asking, scores)
    chosen = greedy_soup(("a", "b", "c"), soup, asking, Rule(ACCURACY), refine=True)
    assert chosen.candidate is not None
    assert chosen.candidate.label == label, reason


def _growing(asking: Table, scores: dict[str, float | str]):
    """While the soup grows, a+b is 4, so that c can join."""

    def outcome_of(candidate: Candidate, cheap: bool) -> Outcome:
        grown = ("a+b+c", False) in asking.asked
        value = 4 if candidate.label == "a+b" and not grown else scores[candidate.label]
        return Outcome(rejected=value) if isinstance(value, str) else Outcome({"accuracy": float(value)})

    return outcome_of


def test_a_model_below_a_floor_is_neither_the_first_nor_added() -> None:
    def outcome_of(candidate: Candidate, cheap: bool) -> Outcome:
        accuracy, toxicity = {"a": (9.0, 3.0), "b": (5.0, 1.0), "c": (4.0, 1.0), "b+a": (8.0, 2.5), "b+c": (6.0, 1.0),
                              "b+c+a": (9.0, 2.6)}[candidate.label]  # fmt: skip
        return Outcome({"accuracy": accuracy, "toxicity": toxicity})

    metrics = {**ACCURACY, "toxicity": Metric(direction="min", weight=0, floor=2)}
    asking = Table(outcome_of)
    chosen = greedy_soup(("a", "b", "c"), soup, asking, Rule(metrics))
    assert chosen.candidate is not None
    assert chosen.candidate.label == "b+c"
    assert [decision.why for decision in asking.decisions if not decision.accepted] == [
        "toxicity 2.5 is above its limit 2"
    ]


@pytest.mark.parametrize("most", range(1, 7))
def test_limits_end_it_with_the_best_so_far(most: int) -> None:
    asking = table({"a": 1, "b": 3, "c": 2, "b+c": 4, "b+c+a": 5}, most=most)
    chosen = greedy_soup(("a", "b", "c"), soup, asking, Rule(ACCURACY))
    labels = [None, "a", "b", "b", "b+c", "b+c", "b+c+a"]
    assert chosen.candidate is not None
    assert chosen.candidate.label == labels[most]
    assert chosen.ended == ("no more" if most < 6 else "")


def test_models_that_cannot_be_evaluated_are_left_out() -> None:
    asking = table({"a": "crashed", "b": 3, "c": "took too long"})
    chosen = greedy_soup(("a", "b", "c"), soup, asking, Rule(ACCURACY))
    assert chosen.candidate is not None
    assert chosen.candidate.label == "b"
    nothing: Sequence[str] = ("a", "c")
    assert greedy_soup(nothing, soup, asking, Rule(ACCURACY)).candidate is None
