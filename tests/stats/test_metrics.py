"""Every metric against plain torch code in float64, on values of unequal size that cannot cancel."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mergegraph.execute.measured import Measured
from mergegraph.stats.floors import ROUNDING
from mergegraph.stats.metrics import (
    METRICS,
    TAKEN,
    TIER_2,
    Missing,
    Subject,
    left_out_words,
    shown,
    some_subjects,
    subjects,
)
from mergegraph.stats.record import Record, TensorRecord
from tests.execute.test_measuring import measured
from tests.stats import made, plain
from tests.stats.plain import Plain

SIZES = (0.31, 0.07, 0.17)
STRENGTHS = (0.3, 0.7, 1.1)
NAME = "model.layers.0.mlp.up_proj.weight"


def models() -> tuple[dict[str, Tensor], list[dict[str, Tensor]], dict[str, Tensor]]:
    """Base, three sources (sparse, shifted, heavy-tailed) and their sum at STRENGTHS, in float32."""
    torch.manual_seed(11)
    base = torch.randn(37, 53)
    noise = [torch.randn(37, 53) for _ in SIZES]
    noise[0] *= torch.rand(37, 53) < 0.6
    noise[1] += 0.2
    noise[2] = noise[2] ** 3 + 0.3 * noise[0]
    sources = [{NAME: base + size * x} for size, x in zip(SIZES, noise, strict=True)]
    merged = made.combined({NAME: base}, sources, STRENGTHS)[NAME]
    return {NAME: base}, sources, {NAME: merged + 0.01 * torch.randn(37, 53)}


BASE, SOURCES, RESULT = models()
RECORD = made.record(dict(zip("abc", SOURCES, strict=True)), BASE, RESULT)
PLAIN = Plain.of(BASE[NAME], [source[NAME] for source in SOURCES], RESULT[NAME])


def of(metric: str, record: Record = RECORD) -> list[float]:
    values = [METRICS[metric].value(record.tensors[0], subject) for subject in subjects(METRICS[metric], record)]
    assert not [value for value in values if isinstance(value, Missing)]
    return [value for value in values if not isinstance(value, Missing)]


@pytest.mark.parametrize("metric", plain.METRICS)
def test_a_metric_is_what_its_formula_says(metric: str) -> None:
    rough = metric.startswith("density")
    wanted = plain.METRICS[metric](PLAIN)
    assert of(metric) == pytest.approx(wanted, rel=0 if rough else 1e-9, abs=0.01 if rough else 1e-12)


def test_all_metrics_but_shares_and_those_of_recipes_and_spectra_have_a_plain_formula() -> None:
    assert set(METRICS) - set(plain.METRICS) == {"share"} | TIER_2 | set(TAKEN)
    assert of("share") == [1.0] * 4


@pytest.mark.parametrize("metric", [m.name for m in METRICS.values() if m.noise is not None])
def test_every_floor_has_a_number_where_its_metric_has(metric: str) -> None:
    for subject in subjects(METRICS[metric], RECORD):
        floor = METRICS[metric].floor(RECORD.tensors[0], subject)
        assert floor is not None
        assert floor.spread >= 0.0


def test_independent_changes_lie_at_the_noise_floors() -> None:
    torch.manual_seed(7)
    base = {NAME: torch.randn(211, 307)}
    record = made.record({n: {NAME: base[NAME] + 0.1 * torch.randn(211, 307)} for n in "ab"}, base)
    for name in ("cosine", "sign_conflict", "mass_conflict", "winner_share", "z", "mean", "kurtosis"):
        for subject in subjects(METRICS[name], record):
            value, floor = (f(record.tensors[0], subject) for f in (METRICS[name].value, METRICS[name].floor))
            assert isinstance(value, float)
            assert floor is not None
            assert value == pytest.approx(floor.expected, abs=4.5 * floor.spread), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounding_once_lies_at_the_floor_of_the_relative_change(dtype: torch.dtype) -> None:
    torch.manual_seed(5)
    base = torch.randn(300, 301)
    rounded = made.tensor_record(NAME, [base.to(dtype)], base, None)
    floor = METRICS["relative"].floor(rounded, Subject("a"))
    assert floor is not None
    assert METRICS["relative"].value(rounded, Subject("a")) == pytest.approx(floor.spread, rel=0.05)


def test_what_rounding_costs_lies_at_the_floor_of_the_cast_loss() -> None:
    torch.manual_seed(6)
    base = {NAME: torch.randn(200, 201).bfloat16()}
    source = {NAME: (base[NAME] + 0.05 * torch.randn(200, 201)).bfloat16()}
    record = made.record({"a": source}, base, made.combined(base, [source], [0.37]))
    floor = METRICS["cast_loss"].floor(record.tensors[0], Subject(""))
    assert floor is not None
    assert METRICS["cast_loss"].value(record.tensors[0], Subject("")) == pytest.approx(floor.expected, rel=0.1)


def one(weights: list[Tensor], base: Tensor | None, result: Tensor | None = None) -> TensorRecord:
    return made.tensor_record(NAME, weights, base, result)


X = torch.arange(1.0, 13.0).reshape(3, 4)
REASONS = [
    ("relative", one([X + 1], None), "there is no base, or it is zero"),
    ("cosine", one([X, X + 1], X), "nothing changed"),
    ("asymmetry", one([X, X + 1], X), "a source did not change"),
    ("asymmetry", one([X + 1], X), "there is one source"),
    ("retention", one([X + 1], X), "nothing is made"),
    ("cast_loss", one([X + 1], X, X), "the result is the base"),
    ("weight_cosine", one([X[0] + 1, X[0]], X[0]), "not a matrix"),
    ("sign_conflict", one([X, X], X), "no element changed in both"),
    ("kurtosis", one([X + 1], X), "all elements changed by the same amount"),
    ("kurtosis", one([X + 0.1], X), "all elements changed by the same amount"),  # but for rounding
    ("kurtosis", one([X[:1, :1] + 1], X[:1, :1]), "one element has no spread"),
    ("kurtosis", one([X], X), "nothing changed"),
    ("norm", TensorRecord(NAME, "int64", (3, 4), skipped="integers"), "integers"),
]


@pytest.mark.parametrize(("metric", "tensor", "reason"), REASONS)
def test_a_metric_without_a_value_says_why(metric: str, tensor: TensorRecord, reason: str) -> None:
    assert METRICS[metric].value(tensor, Subject("", 0, 1)) == Missing(reason)


def test_changes_below_the_least_normal_float_have_a_spread_and_a_density() -> None:
    """As a run counts them, down to 2^-149: 1e-43 is two digits of three bits."""
    numbers = torch.randn(5_000, generator=torch.Generator().manual_seed(2))
    for size in (1e-38, 1e-40, 1e-43):
        change = numbers * size
        tensor = measured(Measured("w", "float32", (5_000,), 1, False, None), [change])
        found = {name: METRICS[name].value(tensor, Subject("")) for name in ("std", "density_90")}
        share = (change.double() ** 2).sort(descending=True).values.cumsum(0) / (change.double() ** 2).sum()
        assert found["std"] == pytest.approx(float(change.double().std(correction=0)), rel=1e-6)
        assert found["density_90"] == pytest.approx((int((share < 0.9).sum()) + 1) / 5_000, abs=0.02)


def test_changes_outside_the_sample_have_a_length_and_no_density() -> None:
    tensor = one([X], torch.zeros_like(X))
    unseen = replace(tensor.changes[0], total=0.0, absolute=0.0, third=0.0, fourth=0.0, zeros=12, exponents={})
    tensor = replace(tensor, changes=(unseen,), counted=3)
    assert METRICS["norm"].value(tensor, Subject("")) == pytest.approx(float(X.norm()))
    assert METRICS["density_90"].value(tensor, Subject("")) == Missing("no element of the sample changed")


def test_without_a_base_models_are_not_called_changes() -> None:
    alone = made.record(dict(zip("abc", SOURCES, strict=True)))
    assert METRICS["cosine"].label_in(alone) == "cosine of two models"
    assert METRICS["cosine"].label_in(RECORD) == "cosine of two changes"
    assert not [m.name for m in METRICS.values() if subjects(m, alone) and "change" in m.label_in(alone)]


def test_of_many_sources_the_first_and_the_result_are_taken_and_the_rest_is_told() -> None:
    many = replace(RECORD, sources=tuple("abcdefgh"))
    chosen, left_out = some_subjects(METRICS["norm"], many, 4)
    assert [each.label for each in chosen] == ["a", "b", "c", "merged"]
    assert left_out_words(left_out) == "and 5 more (d, e, f, …)"
    assert [each.label for each in some_subjects(METRICS["retention"], many, 3)[0]] == ["a", "b", "c"]
    assert some_subjects(METRICS["norm"], RECORD, 4)[1] == []


def test_parallel_changes_share_what_they_explain() -> None:
    tensor = one([X + 1, X + 1, X + 2], X, X + 3)
    values = [METRICS["attribution"].value(tensor, Subject("", i)) for i in range(3)]
    assert values == pytest.approx([1.0, 1.0, 0.5])
    assert METRICS["residual"].value(tensor, Subject("")) == pytest.approx(0.0, abs=1e-12)


def test_values_that_are_not_finite_are_counted_and_left_out_of_sums() -> None:
    source = X + 1
    source[0, 1] = math.nan
    source[2, 3] = math.inf
    tensor = one([source], X)
    assert METRICS["nonfinite"].value(tensor, Subject("")) == 2
    assert METRICS["mean"].value(tensor, Subject("")) == 1.0


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.123456, "number", "0.123"),  # three digits
        (1234567.0, "count", "1,234,567"),
        (0.00001234, "number", "1.2e-5"),  # too small to write out
        (-0.5, "number", "-0.500"),
        (0.12345, "share", "12.3 %"),
        (1.0, "share", "100 %"),
        (0.0, "number", "0"),
        (99.96, "number", "100.0"),
        (Missing("x"), "number", "–"),
        (math.inf, "number", "∞"),
        (-math.inf, "share", "-∞"),
        (math.nan, "count", "–"),
    ],
)
def test_numbers_are_written_for_people(value: float | Missing, unit: str, text: str) -> None:
    assert shown(value, unit) == text  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("stored", "dtype", "subject", "wanted", "why"),
    [
        (("bfloat16", "bfloat16", "bfloat16"), "float32", 0, "bfloat16", "a wider output does not sharpen its inputs"),
        (("float32", "bfloat16", "float32"), "float32", 0, "bfloat16", "a source that was rounded"),
        (("float32", "bfloat16", "float32"), "bfloat16", 1, "float32", "the other one was not"),
        (("bfloat16", "float32", "float32"), "float32", 1, "bfloat16", "a base that was rounded"),
        (("float32", "bfloat16", "float16"), "float32", 2, "bfloat16", "the result has the coarsest of all"),
        (("float32", "bfloat16", ""), "float32", 1, None, "a change that is stored as such"),
        (("float32", "mixed", "float32"), "float32", 0, None, "dtypes that differ from tensor to tensor"),
        ((), "float16", 0, "float16", "a record that does not know"),
    ],
)
def test_the_noise_of_a_change_is_that_of_what_it_was_taken_from(
    stored: tuple[str, ...], dtype: str, subject: int, wanted: str | None, why: str
) -> None:
    names = list("ab")
    tensor = made.record(dict(zip(names, SOURCES, strict=False)), BASE, RESULT).tensors[0]
    floor = METRICS["relative"].floor(replace(tensor, dtype=dtype, stored=stored), Subject("", subject))
    assert (floor and floor.spread) == (wanted and ROUNDING[wanted]), why


@pytest.mark.parametrize("closeness", [0.1, 0.01, 1e-3, 3e-4, 3e-5])
def test_attribution_of_nearly_parallel_changes_is_within_its_noise(closeness: float) -> None:
    """Products as a run counts them, in float32: closer than 10^-3 they cannot tell two changes apart."""
    numbers = torch.Generator().manual_seed(4)
    base, one, beside = (torch.randn(512, 512, generator=numbers) for _ in range(3))
    one, other = 0.01 * one, 0.01 * (one + closeness * beside)
    merged = 0.8 * one + 0.1 * other
    rows = [each.reshape(-1) for each in (base, one, other, base + merged)]
    found = measured(Measured("w", "float32", (512, 512), 2, True, torch.float32), rows)
    for i, wanted in enumerate((0.8, 0.1)):
        value, floor = (f(found, Subject("", i)) for f in (METRICS["attribution"].value, METRICS["attribution"].floor))
        assert isinstance(value, float)
        assert floor is not None
        assert abs(value - wanted) < 4.0 * floor.spread + 1e-4
        assert closeness < 0.1 or floor.spread < 1e-3, "well apart they are known"
    assert METRICS["residual"].value(found, Subject("")) == pytest.approx(0.0, abs=1e-5)


def test_the_noise_of_a_sampled_conflict_is_that_of_the_sample() -> None:
    """A conflict of chance lies within it, and a tensor of which all was counted has less."""
    tensor = RECORD.tensors[0]
    whole, some = (replace(tensor, counted=count) for count in (tensor.elements, tensor.elements // 100))
    floors = [METRICS["sign_conflict"].floor(each, Subject("", 0, 1)) for each in (whole, some)]
    assert floors[0] is not None
    assert floors[1] is not None
    assert floors[1].spread == pytest.approx(10 * floors[0].spread, rel=0.05)
