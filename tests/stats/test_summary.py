"""Tensors added up have the metrics of one large tensor; means are weighted; two records are compared by names."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from mergegraph.stats.compare import compare
from mergegraph.stats.metrics import METRICS, TAKEN, TIER_2, Missing, Subject, subjects
from mergegraph.stats.pooling import pooled, sums
from mergegraph.stats.record import Record, TensorRecord
from mergegraph.stats.summary import OUTSIDE, Overviews, by_kind, coverage, grid, weighted
from tests.stats import made
from tests.stats.shown import healthy

SHAPES = {
    "model.embed_tokens.weight": (11, 6),
    "model.layers.0.self_attn.q_proj.weight": (7, 6),
    "model.layers.0.mlp.up_proj.weight": (13, 6),
    "model.layers.1.mlp.up_proj.weight": (5, 6),
    "model.norm.weight": (17,),
}


def models(seed: int = 1) -> tuple[made.Model, dict[str, made.Model]]:
    torch.manual_seed(seed)
    base = {name: torch.randn(shape) for name, shape in SHAPES.items()}
    return base, {
        source: {n: w + size * (1 + i) * torch.randn(w.shape) for i, (n, w) in enumerate(base.items())}
        for source, size in (("a", 0.05), ("b", 0.02))
    }


def record(seed: int = 1, strengths: tuple[float, float] = (0.4, 0.9)) -> Record:
    base, sources = models(seed)
    return made.record(sources, base, made.combined(base, list(sources.values()), strengths))


@pytest.mark.parametrize("metric", [name for name in METRICS if name != "weight_cosine"])
def test_tensors_added_up_are_one_tensor(metric: str) -> None:
    base, sources = models()
    merged = made.combined(base, list(sources.values()), (0.4, 0.9))

    def flat(model: made.Model) -> torch.Tensor:
        return torch.cat([weight.flatten() for weight in model.values()])

    one = made.tensor_record("x", [flat(s) for s in sources.values()], flat(base), flat(merged))
    several = pooled(record().tensors)
    assert several is not None
    for subject in subjects(METRICS[metric], record()):
        expected = METRICS[metric].value(one, subject, one)
        assert METRICS[metric].value(several, subject, several) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_full_weights_are_compared_over_matrices_only() -> None:
    base, sources = models()
    over = Overviews(record(), sums(record().tensors)).of(METRICS["weight_cosine"], Subject("", -1, 0))
    a, b = (torch.cat([w.double().flatten() for w in model.values() if w.ndim == 2]) for model in (base, sources["a"]))
    assert over.pooled == pytest.approx(float((a @ b) / a.norm() / b.norm()))
    assert over.of - over.counted == 17


def test_means_are_weighted_by_parameters_and_by_energy() -> None:
    base, sources = models()
    over = Overviews(record(), sums(record().tensors)).of(METRICS["relative"], Subject("a", 0))
    tau = {name: sources["a"][name].double() - base[name].double() for name in base}
    ratios = [float(tau[name].norm() / base[name].double().norm()) for name in base]
    for weights, mean in (
        ([tau[name].numel() for name in base], over.by_parameters),
        ([float(tau[name].norm() ** 2) for name in base], over.by_energy),
    ):
        assert mean == pytest.approx(sum(r * w for r, w in zip(ratios, weights, strict=True)) / sum(weights))
    assert (over.lowest, over.highest) == pytest.approx((min(ratios), max(ratios)))


def test_means_of_energies_near_the_end_of_float64_are_means() -> None:
    assert weighted([1.0, 4.0], [1e308, 1e308]) == pytest.approx(2.5)
    assert weighted([1e308, 1e308], [1.0, 2.0]) == pytest.approx(1e308)
    assert weighted([1.0, 2.0], [math.inf, 1.0]) == Missing("too large for float64")


def test_a_grid_has_layers_down_and_kinds_across() -> None:
    table = grid(record())
    assert table.rows == ("0", "1", OUTSIDE)
    assert table.columns == ("embedding", "norm", "attention q", "mlp up")
    assert ("1", "attention q") not in table.cells
    coarse = by_kind(table)
    assert coarse.columns == ("embedding", "norm", "attention", "mlp")
    assert coarse.cells["0", "mlp"].all == table.cells["0", "mlp up"].all


def test_shares_of_the_change_add_up_to_one() -> None:
    total = sums(record().tensors)
    values = [METRICS["share"].value(t, Subject("a", 0), total.all) for t in record().tensors]
    assert sum(v for v in values if not isinstance(v, Missing)) == pytest.approx(1.0)


def test_what_was_not_looked_at_is_said() -> None:
    skipped = TensorRecord("buffer", "int64", (3,), skipped="integers")
    whole = Record("base", ("a",), "", (*record().tensors, skipped), problems=("x is only in a",))
    assert list(coverage(whole)) == [
        "5 of 6 tensors, 233 of 236 parameters",
        "not looked at: 1 tensor (buffer): integers",
        "x is only in a",
    ]
    assert Overviews(whole, sums(whole.tensors)).of(METRICS["norm"], Subject("a", 0)).counted == 233


def test_records_are_compared_by_the_names_of_their_sources() -> None:
    base, sources = models()
    turned = made.record(dict(reversed(sources.items())), base, made.combined(base, list(sources.values()), (0.4, 0.9)))
    found = compare(record(), turned)
    assert found.notes == ()
    assert {d.metric.name for d in found.whole} == set(METRICS) - TIER_2 - set(TAKEN)
    assert max(abs(d.difference) for d in found.whole if d.difference is not None) < 1e-9


def test_a_changed_strength_shows_where_it_acts() -> None:
    found = compare(record(), record(strengths=(0.4, 0.1)))
    (kept,) = (d for d in found.whole if d.metric.name == "attribution" and d.subject == "b")
    assert kept.difference == pytest.approx(-0.8)
    (same,) = (d for d in found.whole if d.metric.name == "norm" and d.subject == "a")
    assert same.difference == 0.0
    moved = found.tensors(METRICS["norm"])
    assert {d.subject for d in moved} == {"merged"}, "the sources are the same"
    assert len(moved) == 5


def test_a_sample_is_not_compared_with_all_elements_in_silence() -> None:
    sampled = replace(record(), tensors=tuple(replace(t, counted=t.elements // 2 + 1) for t in record().tensors))
    assert [note for note in compare(record(), sampled).notes if note.startswith("counts are of all elements in")]
    assert compare(sampled, sampled).notes == ()


def test_a_difference_has_the_noise_of_both() -> None:
    found = compare(record(), record(strengths=(0.4, 0.1)))
    (conflict,) = (d for d in found.whole if d.metric.name == "sign_conflict")
    total = sums(record().tensors).all
    assert total is not None
    floor = METRICS["sign_conflict"].floor(total, Subject("", 0, 1))
    assert floor is not None
    assert conflict.noise == pytest.approx(math.sqrt(2) * floor.spread)
    assert all(d.noise is not None for d in found.tensors(METRICS["retention"]))


def test_what_only_one_record_has_is_said() -> None:
    short = Record("base", ("a", "b"), "merged", record().tensors[1:])
    found = compare(record(), short)
    assert found.only_a == ("model.embed_tokens.weight",)
    assert compare(record(), healthy()).notes[0] == "only the first has a, b"
