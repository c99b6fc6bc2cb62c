"""Rules fire on what they are for, and on nothing in a healthy merge."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mergegraph.stats.advice import advice
from mergegraph.stats.hints import hints
from mergegraph.stats.record import Record
from mergegraph.stats.standing_out import standing_out
from tests.stats import made
from tests.stats.shown import healthy, unrelated

ODD = "model.layers.5.mlp.up_proj.weight"
Models = tuple[dict[str, Tensor], list[dict[str, Tensor]]]


def ordinary(dtype: torch.dtype = torch.float32) -> Models:
    """Twelve layers, two fine-tunes, alike everywhere."""
    torch.manual_seed(13)
    base = {f"model.layers.{i}.mlp.up_proj.weight": torch.randn(31, 17).to(dtype) for i in range(12)}
    return base, [{n: (w + 0.1 * torch.randn(31, 17)).to(dtype) for n, w in base.items()} for _ in range(2)]


def record(models: Models, strengths: tuple[float, float] = (0.5, 0.5)) -> Record:
    base, sources = models
    return made.record(dict(zip("ab", sources, strict=True)), base, made.combined(base, sources, strengths))


def poisoned(base: dict[str, Tensor], sources: list[dict[str, Tensor]]) -> None:
    sources[1][ODD][3, 4] = math.nan


def frozen(base: dict[str, Tensor], sources: list[dict[str, Tensor]]) -> None:
    for source in sources:
        source[ODD] = base[ODD].clone()


def another(base: dict[str, Tensor], sources: list[dict[str, Tensor]]) -> None:
    sources[0][ODD] = torch.randn(31, 17)


def moved_far(base: dict[str, Tensor], sources: list[dict[str, Tensor]]) -> None:
    sources[0][ODD] = base[ODD] + 5 * (sources[0][ODD] - base[ODD])


def agreeing(base: dict[str, Tensor], sources: list[dict[str, Tensor]]) -> None:
    sources[0][ODD] = sources[1][ODD] + 0.01 * torch.randn(31, 17)


def one_spike(base: dict[str, Tensor], sources: list[dict[str, Tensor]]) -> None:
    sources[0][ODD][2, 2] += 2.0


CASES = [
    (poisoned, "not finite", "one NaN is damage"),
    (frozen, "all identical", "no source has moved it"),
    (another, "near-orthogonal weights", "drawn anew: no common basis"),
    (moved_far, "relative change ρ", "five times as far as its kind"),
    (agreeing, "cosine of two changes", "nearly one change, elsewhere unrelated"),
    (agreeing, "sign conflict", "the same, by signs"),
    (one_spike, "kurtosis", "one element carries the change"),
]


@pytest.mark.parametrize(("damage", "rule", "why"), CASES, ids=[f"{c[0].__name__}-{c[1]}" for c in CASES])
def test_the_rule_fires_on_the_odd_tensor_alone(
    damage: Callable[[dict[str, Tensor], list[dict[str, Tensor]]], None], rule: str, why: str
) -> None:
    models = ordinary()
    damage(*models)
    assert {each.tensor.name for each in standing_out(record(models)) if each.rule == rule} == {ODD}, why


def test_nothing_stands_out_among_tensors_that_are_alike() -> None:
    assert standing_out(record(ordinary())) == []


def test_a_merge_that_rounding_undoes_stands_out() -> None:
    """A strength of 0.004 moves most weights by less than half a step of bfloat16."""
    found = standing_out(record(ordinary(torch.bfloat16), (0.004, 0.004)))
    assert {"rounded away", "cast loss"} <= {each.rule for each in found}


def test_a_healthy_merge_of_real_models_has_nothing_that_stands_out() -> None:
    assert standing_out(healthy()) == []


def test_two_initialisations_stand_out_in_every_matrix_of_the_layers() -> None:
    found = {each.tensor.name for each in standing_out(unrelated()) if each.rule == "near-orthogonal weights"}
    matrices = {t.name for t in unrelated().tensors if len(t.shape) == 2 and t.role.layer is not None}
    assert matrices <= found
    assert "near-orthogonal weights" in [each.topic for each in advice(unrelated())]


def test_without_a_base_two_initialisations_stand_out_too() -> None:
    sources = {name: made.checkpoint(f"digits-vit/{name}") for name in ("soup-5", "other-init")}
    assert {each.rule for each in standing_out(made.record(sources))} >= {"near-orthogonal weights"}


def test_a_healthy_merge_gives_evidence_of_where_it_moved_only() -> None:
    assert [each.topic for each in advice(healthy())] == ["layers that move most"]


def sizes(factor: float) -> Record:
    base, sources = ordinary()
    larger = {name: base[name] + factor * (weight - base[name]) for name, weight in sources[1].items()}
    return record((base, [sources[0], larger]))


def test_asymmetry_is_shown_with_match_norm_before_and_after() -> None:
    assert "asymmetry of size" not in [each.topic for each in advice(sizes(2.5))]
    (found,) = (each for each in advice(sizes(7.0)) if each.topic == "asymmetry of size")
    assert "match_norm" in found.people
    said = re.search(r"a ([0-9.]+), b ([0-9.]+) push equally hard", found.people)
    assert said is not None
    assert (float(said[1]), float(said[2])) == pytest.approx((7 / 8, 1 / 8), abs=0.01)
    # Unrelated changes of norms 1 and 7: cosines 1/√50 and 7/√50, and 1/√2 when the norms are equal.
    assert found.details[0].startswith("cosine of the average with a: 0.1")
    assert "with match_norm 0.7" in found.details[0]


def opposed() -> Record:
    base, sources = ordinary()
    against = {n: base[n] - (w - base[n]) * (torch.rand(31, 17) + 0.5) for n, w in sources[0].items()}
    return record((base, [sources[0], against]))


def copied() -> Record:
    base, sources = ordinary()
    return record((base, [sources[0], {n: w + 0.002 * torch.randn(31, 17) for n, w in sources[0].items()}]))


def thin() -> Record:
    base, sources = ordinary()
    few = {n: base[n] + (w - base[n]) * (torch.rand(31, 17) < 0.05) for n, w in sources[0].items()}
    return record((base, [few, sources[1]]))


@pytest.mark.parametrize(
    ("made_so", "topic"),
    [(opposed, "sign conflict"), (copied, "nearly the same change"), (thin, "redundancy")],
)
def test_evidence_has_its_number_and_what_noise_gives(made_so: Callable[[], Record], topic: str) -> None:
    (found,) = (each for each in advice(made_so()) if each.topic == topic)
    assert any(character.isdigit() for character in found.says)
    assert any(character.isdigit() for character in found.noise)


def test_rounding_is_evidence() -> None:
    found = advice(record(ordinary(torch.bfloat16), (0.02, 0.02)))
    assert "cast loss" in [each.topic for each in found]


def one_tensor_far() -> Models:
    """Normal changes, 50 times as long in one tensor: of all elements few hold the energy, of a tensor 44.5 %."""
    base, sources = ordinary()
    return base, [{n: base[n] + (50 if n == ODD else 1) * (w - base[n]) for n, w in sources[0].items()}]


def kept_by_trim(base: dict[str, Tensor], source: dict[str, Tensor], density: float) -> float:
    changes = [(source[n].double() - w.double()).abs().flatten().sort(descending=True).values for n, w in base.items()]
    kept = sum(float((x[: round(density * len(x))] ** 2).sum()) for x in changes)
    return kept / sum(float((x**2).sum()) for x in changes)


def test_a_trim_that_is_recommended_keeps_what_it_says() -> None:
    base, sources = one_tensor_far()
    assert "redundancy" not in [each.topic for each in advice(made.record({"a": sources[0]}, base))]
    thin = {n: base[n] + (w - base[n]) * (torch.rand(31, 17) < 0.1) for n, w in sources[0].items()}
    (found,) = (each for each in advice(made.record({"a": thin}, base)) if each.topic == "redundancy")
    said = re.search(r"density of ([0-9.]+) keeps ([0-9.]+) %", found.people)
    assert said is not None
    assert kept_by_trim(base, thin, float(said[1])) == pytest.approx(float(said[2]) / 100, abs=0.02)
    assert float(said[2]) > 85


def every(strength: float | None, **other: float) -> dict[str, float | None]:
    return {"mlp": strength, "attention": strength, **other}


def five() -> Record:
    base, sources = ordinary()
    return made.record({name: sources[i % 2] for i, name in enumerate("abcde")}, base)


def three_with_an_opposed_pair() -> Record:
    base, sources = ordinary()
    third = {n: base[n] - (w - base[n]) + 0.02 * torch.randn(31, 17) for n, w in sources[0].items()}
    return made.record({"a": sources[0], "b": sources[1], "c": third}, base)


def without_a_base() -> Record:
    return replace(five(), base="")


HINTS = [
    (five, {name: every(0.2) for name in "abcde"}, "a plain average of 5 models", True),
    (five, {name: every(0.3) for name in "abcde"}, "a plain average of 5 models", False),  # a sum of 1.5
    (lambda: record(ordinary()), {name: every(0.5) for name in "ab"}, "two changes at 0.5 and 0.5", True),
    (lambda: record(ordinary()), {name: every(0.6) for name in "ab"}, "two changes at 0.5 and 0.5", False),
    (lambda: record(ordinary()), {"a": every(None), "b": every(0.5)}, "two changes at 0.5 and 0.5", False),
    (lambda: record(ordinary()), {"a": every(0.4, embedding=0.4)}, "the embedding has the same", True),
    (lambda: record(ordinary()), {"a": every(0.4, embedding=0.2)}, "the embedding has the same", False),
    (lambda: record(ordinary()), {"a": every(0.4, head=0.4)}, "the head has the same", True),
    (three_with_an_opposed_pair, None, "sign conflict of a and c ", True),
    (five, {name: every(1 / 6) for name in "abcde"}, "a plain average of 6 models, base among them", True),
    (five, {name: every(0.167) for name in "abcde"}, "a plain average of 6 models", True),  # as people write a sixth
    (without_a_base, {name: every(0.2) for name in "abcde"}, "a plain average of 5 models", True),
    (without_a_base, {name: every(1 / 6) for name in "abcde"}, "a plain average", False),  # a sixth of what?
    (without_a_base, {name: every(0.2, head=0.2) for name in "abcde"}, "the head", False),  # no base to keep
    (five, None, "sign conflict", False),  # pairs are either equal or at chance: no pair far above the median
]


def test_many_conflicting_pairs_are_one_hint_with_the_worst() -> None:
    base, sources = ordinary()
    noisy = [{n: w + 0.03 * (torch.randn(31, 17)) for n, w in sources[0].items()} for _ in range(8)]
    away = {n: base[n] - (w - base[n]) for n, w in sources[0].items()}
    conflicts = hints(made.record(dict(zip("abcdefghi", [*noisy, away], strict=True)), base))
    (found,) = (each.says for each in conflicts if "sign conflict" in each.says)
    assert found.count(" and i ") == 3
    assert "and 5 more; the median of 36 pairs" in found


@pytest.mark.parametrize(("made_so", "strengths", "says", "given"), HINTS)
def test_hints_are_about_habits(
    made_so: Callable[[], Record], strengths: dict[str, dict[str, float | None]] | None, says: str, given: bool
) -> None:
    assert any(says in hint.says for hint in hints(made_so(), strengths)) is given
