"""Metrics of singular values from their formulas, and where they have none."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace

import pytest
import torch

from mergegraph.stats.compare import compare
from mergegraph.stats.csv_file import to_csv
from mergegraph.stats.files import from_json, to_json
from mergegraph.stats.metrics import METRICS, TIER_2, Missing, Subject, subjects, why_none
from mergegraph.stats.pooling import pooled
from mergegraph.stats.record import Overlap, Record, Spectral, Spectrum
from mergegraph.stats.spectral import lora_rank, lora_words, shared_directions, significant
from mergegraph.stats.summary import coverage
from tests.stats import made

NAME = "model.layers.0.mlp.up_proj.weight"
SHAPE = (40, 28)


def spectrum(values: tuple[float, ...], outside: float, rounding: float | None = 0.0) -> Spectrum:
    return Spectrum(values, outside, rounding)


def record(one: Spectrum, other: Spectrum, overlap: Overlap | None = None) -> Record:
    torch.manual_seed(2)
    base = {NAME: torch.randn(SHAPE)}
    plain = made.record({n: {NAME: base[NAME] + 0.1 * torch.randn(SHAPE)} for n in "ab"}, base)
    found = Spectral((one, other), {} if overlap is None else {(0, 1): overlap})
    return replace(plain, tensors=(replace(plain.tensors[0], spectral=found),))


TOLD = record(
    spectrum((5.0, 3.0, 1.0), 2.0, 0.5), spectrum((4.0, 4.0, 4.0), 0.0, 1e-6), Overlap(7, left=0.31, right=0.9)
)


def value(name: str, i: int = 0, j: int = 0, of: Record = TOLD) -> object:
    return METRICS[name].value(of.tensors[0], Subject("", i, j))


@pytest.mark.parametrize(
    ("metric", "source", "expected"),
    [
        ("spectral_norm", 0, 5.0),
        ("stable_rank", 0, 37 / 25),
        ("stable_rank", 1, 3.0),
        ("effective_rank", 1, 3.0),
        ("effective_rank", 0, math.exp(-sum(x / 9 * math.log(x / 9) for x in (5, 3, 1)))),
        ("leading_energy", 0, 35 / 37),
        ("rank_90", 0, 2.0),
        ("rank_90", 1, 3.0),
        ("rank_above_rounding", 1, 3.0),
    ],
)
def test_a_metric_is_what_its_formula_says(metric: str, source: int, expected: float) -> None:
    assert value(metric, source) == pytest.approx(expected, rel=1e-12)


def test_overlaps_stand_beside_their_chance() -> None:
    """The mean and the deviation of random subspaces, drawn."""
    generator = torch.Generator().manual_seed(1)
    for name, size in (("overlap_left", 40), ("overlap_right", 28)):
        drawn = torch.linalg.qr(torch.randn(4000, size, 7, generator=generator))[0]
        seen = (drawn[::2].mT @ drawn[1::2]).square().sum((1, 2)) / 7
        floor = METRICS[name].floor(TOLD.tensors[0], Subject("", 0, 1))
        assert floor is not None
        assert floor.expected == 7 / size
        assert float(seen.mean()) == pytest.approx(floor.expected, abs=5 * floor.spread / math.sqrt(2000))
        assert float(seen.std()) == pytest.approx(floor.spread, rel=0.08)
    assert (value("overlap_left", 0, 1), value("overlap_right", 0, 1)) == (0.31, 0.9)


def test_normal_values_lie_at_the_floors_of_norm_and_stable_rank() -> None:
    generator = torch.Generator().manual_seed(4)
    drawn = torch.randn(600, *SHAPE, generator=generator)
    largest = torch.linalg.svdvals(drawn)[:, 0]
    of = made.record({"a": {NAME: drawn[0]}})
    tensor = replace(of.tensors[0], spectral=Spectral((spectrum((1.0,), 0.0),)))
    size = METRICS["rms"].value(tensor, Subject("a"))
    floor = METRICS["spectral_norm"].floor(tensor, Subject("a"))
    assert floor is not None
    assert isinstance(size, float)
    assert float(largest.mean()) == pytest.approx(floor.expected / size, rel=0.01)
    assert float(largest.std()) == pytest.approx(floor.spread / size, rel=0.15)
    rank = METRICS["stable_rank"].floor(tensor, Subject("a"))
    assert rank is not None
    assert float((drawn.square().sum((1, 2)) / largest**2).mean()) == pytest.approx(rank.expected, rel=0.02)


@pytest.mark.parametrize(
    ("metric", "one", "said"),
    [
        ("rank_90", spectrum((2.0, 1.0), 100.0), "more than 2: they hold 4.8% of the energy"),
        ("rank_above_rounding", spectrum((2.0, 1.0), 100.0, 1.0), "more than 2: what they leave is above rounding"),
        ("rank_above_rounding", spectrum((2.0, 1.0), 0.0, None), "no known size"),
        ("stable_rank", spectrum((0.0, 0.0), 0.0), "nothing changed"),
        ("overlap_left", spectrum((1.0,), 0.0), "no more than rounding"),
    ],
)
def test_where_there_is_no_value_there_is_a_reason(metric: str, one: Spectrum, said: str) -> None:
    found = value(metric, 0, 1 if METRICS[metric].per == "pair" else 0, record(one, one))
    assert isinstance(found, Missing)
    assert said in found.reason


@pytest.mark.parametrize(
    ("one", "rank", "lora", "words"),
    [
        (spectrum((9.0, 5.0, 1e-3), 0.01, 0.02), 2, 2, "looks like a LoRA of rank 2"),
        (spectrum((9.0, 5.0, 1e-3), 0.01, 0.001), None, None, "does not look like a LoRA"),
        (spectrum((9.0,) * 10, 0.0, 1e-6), 10, None, "does not look like a LoRA"),
        (spectrum((0.1, 0.1), 1.0, 1.0), 0, None, "no more than rounding"),
        (spectrum((9.0,), 0.0, None), None, None, "cannot be told"),
    ],
    ids=["low rank", "too much left", "most of the short side", "nothing but rounding", "unknown dtype"],
)
def test_a_lora_is_a_small_rank_that_leaves_only_rounding(
    one: Spectrum, rank: int | None, lora: int | None, words: str
) -> None:
    tensor = record(one, one).tensors[0]
    assert (significant(one), lora_rank(tensor, 0)) == (rank, lora)
    assert words in lora_words(tensor, 0)


def test_only_directions_above_rounding_in_both_are_compared() -> None:
    lora, full, nothing = spectrum((2.0, 1.0), 0.0, 1e-9), spectrum((2.0,) * 32, 9.0, 1e-9), spectrum((0.0,), 0.0)
    assert shared_directions(lora, full, 400) == 2
    assert shared_directions(full, full, 400) == 32
    assert shared_directions(full, full, 28) == 7
    assert shared_directions(full, nothing, 400) == 0


def test_a_record_with_spectra_reads_back_and_one_without_has_none() -> None:
    assert from_json(to_json(TOLD), "x") == TOLD
    skipped = replace(TOLD, tensors=(replace(TOLD.tensors[0], spectral=Spectral(skipped="it is no matrix")),))
    assert from_json(to_json(skipped), "x") == skipped
    without = replace(TOLD, tensors=(replace(TOLD.tensors[0], spectral=None),))
    assert b"spectral" not in to_json(without)
    assert from_json(to_json(without), "x") == without
    (row,) = csv.DictReader(io.StringIO(to_csv(TOLD)))
    assert (row["a.sigma.2"], row["a.sigma.outside"], row["b.sigma.rounding"]) == ("3.0", "2.0", "1e-06")
    assert (row["a|b.overlap.directions"], row["a|b.overlap.right"]) == ("7", "0.9")


def test_what_was_not_asked_for_says_so() -> None:
    without = replace(TOLD, tensors=(replace(TOLD.tensors[0], spectral=None),))
    for name in TIER_2:
        assert subjects(METRICS[name], TOLD)
        assert subjects(METRICS[name], without) == []
        assert "tier 2 was not asked for" in why_none(METRICS[name], without)
        found = value(name, of=without)
        assert isinstance(found, Missing)
        assert found.reason == "tier 2 was not asked for"
    assert "only the first has singular values (--tier 2)" in compare(TOLD, without).notes
    assert not any("singular" in line for line in coverage(without))


def test_several_matrices_have_no_singular_values_as_one() -> None:
    both = pooled([TOLD.tensors[0], replace(TOLD.tensors[0], name="other")])
    assert both is not None
    found = METRICS["stable_rank"].value(both, Subject("a"))
    assert isinstance(found, Missing)
    assert found.reason == "singular values are of one matrix, not of several"
    assert pooled([TOLD.tensors[0]]) is TOLD.tensors[0]
