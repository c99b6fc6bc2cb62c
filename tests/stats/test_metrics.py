"""Every metric against plain torch code in float64, on values of unequal size that cannot cancel."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

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
from tests.stats import made

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
W0 = BASE[NAME].double()
TAU = [source[NAME].double() - W0 for source in SOURCES]
STAR = RESULT[NAME].double() - W0


def solved() -> Tensor:
    return torch.linalg.lstsq(torch.stack([t.flatten() for t in TAU], 1), STAR.flatten()[:, None]).solution[:, 0]


def cosine(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum() / a.norm() / b.norm())


def moment(x: Tensor, order: int) -> float:
    return float(((x - x.mean()) ** order).mean())


EVERY = [*TAU, STAR]
PAIRS = list(combinations(range(3), 2))
ORDERED = [(i, j) for i in range(3) for j in range(3) if i != j]
EXPECTED: dict[str, Callable[[], list[float]]] = {
    "relative": lambda: [float(t.norm() / W0.norm()) for t in EVERY],
    "share": lambda: [1.0] * 4,
    "norm": lambda: [float(t.norm()) for t in EVERY],
    "rms": lambda: [float((t**2).mean().sqrt()) for t in EVERY],
    "largest": lambda: [float(t.abs().max()) for t in EVERY],
    "base_norm": lambda: [float(W0.norm())],
    "mean": lambda: [float(t.mean()) for t in EVERY],
    "std": lambda: [float(t.std(correction=0)) for t in EVERY],
    "kurtosis": lambda: [moment(t, 4) / moment(t, 2) ** 2 for t in EVERY],
    "zeros": lambda: [float((t == 0).double().mean()) for t in EVERY],
    "nonfinite": lambda: [0.0] * 4,
    "cosine": lambda: [cosine(TAU[i], TAU[j]) for i, j in PAIRS],
    "z": lambda: [cosine(TAU[i], TAU[j]) * math.sqrt(int(((TAU[i] != 0) & (TAU[j] != 0)).sum())) for i, j in PAIRS],
    "projection": lambda: [float((TAU[i] * TAU[j]).sum() / (TAU[j] ** 2).sum()) for i, j in ORDERED],
    "sign_conflict": lambda: [int((TAU[i] * TAU[j] < 0).sum()) / int((TAU[i] * TAU[j] != 0).sum()) for i, j in PAIRS],
    "weight_cosine": lambda: [cosine(W0, W0 + t) for t in TAU] + [cosine(W0 + TAU[i], W0 + TAU[j]) for i, j in PAIRS],
    "asymmetry": lambda: [max(float(t.norm()) for t in TAU) / min(float(t.norm()) for t in TAU)],
    "mass_conflict": lambda: [1 - float(sum(TAU).abs().sum() / sum(t.abs().sum() for t in TAU))],
    "winner_share": lambda: [
        float((torch.stack([t.abs() for t in TAU]).argmax(0) == i).double().mean()) for i in range(3)
    ],
    "retention": lambda: [float((STAR * t).sum() / (t * t).sum()) for t in TAU],
    "attribution": lambda: solved().tolist(),
    "residual": lambda: [
        float((STAR - sum(c * t for c, t in zip(solved(), TAU, strict=True))).norm() ** 2 / STAR.norm() ** 2)
    ],
    "shrinkage": lambda: [float(STAR.norm()) / (sum(float(t.norm()) for t in TAU) / 3)],
    "outside_hull": lambda: [outside()],
    "cast_loss": lambda: [float((RESULT[NAME].float().double() - RESULT[NAME]).norm() / STAR.norm())],
    "rounded_away": lambda: [float((RESULT[NAME].float() == BASE[NAME]).double().mean())],
    "overflowed": lambda: [0.0],
}


def outside() -> float:
    models_ = torch.stack([W0, *(W0 + t for t in TAU)])
    merged = RESULT[NAME].double()
    return float(((merged < models_.amin(0)) | (merged > models_.amax(0))).double().mean())


def of(metric: str, record: Record = RECORD) -> list[float]:
    values = [METRICS[metric].value(record.tensors[0], subject) for subject in subjects(METRICS[metric], record)]
    assert not [value for value in values if isinstance(value, Missing)]
    return [value for value in values if not isinstance(value, Missing)]


@pytest.mark.parametrize("metric", EXPECTED)
def test_a_metric_is_what_its_formula_says(metric: str) -> None:
    assert of(metric) == pytest.approx(EXPECTED[metric](), rel=1e-9, abs=1e-12)


def test_all_metrics_but_densities_and_those_of_recipes_and_spectra_are_in_the_table_above() -> None:
    assert set(METRICS) - set(EXPECTED) == {"density_90", "density_99"} | TIER_2 | set(TAKEN)


@pytest.mark.parametrize("name", ["density_90", "density_99"])
def test_a_density_is_near_that_of_a_sort(name: str) -> None:
    wanted = {"density_90": 0.9, "density_99": 0.99}[name]
    for density, tau in zip(of(name), EVERY, strict=True):
        share = (tau.flatten() ** 2).sort(descending=True).values.cumsum(0) / (tau**2).sum()
        assert density == pytest.approx((int((share < wanted).sum()) + 1) / tau.numel(), abs=0.01)


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


def test_changes_below_the_least_normal_float_have_a_spread_and_no_density() -> None:
    """They are in no exponent, since those of float32 end at 2^-126."""
    (change,) = (tensor := one([X * 1e-41], torch.zeros_like(X))).changes
    tensor = replace(tensor, changes=(replace(change, exponents={}),))
    assert METRICS["std"].value(tensor, Subject("")) == pytest.approx(float((X * 1e-41).double().std(correction=0)))
    assert METRICS["density_90"].value(tensor, Subject("")) == Missing(
        "the changes are too small to be counted by size, or lie outside the sample"
    )


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
