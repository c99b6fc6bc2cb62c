"""What is predicted from the Gram matrix is what would be measured."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mergegraph.stats.metrics import METRICS, Missing, Subject
from mergegraph.stats.predict import (
    by_kind,
    constant,
    dare_variance,
    equal_contributions,
    matched_norms,
    predict,
    predict_whole,
)
from mergegraph.stats.record import Record
from mergegraph.stats.summary import whole
from tests.stats import made

NAMES = ("model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight", "model.norm.weight")
SHAPES = ((11, 7), (13, 5), (17,))


def random_models(seed: int, k: int) -> tuple[made.Model, list[made.Model]]:
    torch.manual_seed(seed)
    shapes = dict(zip(NAMES, SHAPES, strict=True))
    base = {name: torch.randn(shape, dtype=torch.float64) for name, shape in shapes.items()}
    return base, [
        {name: w + 0.1 * (i + 1) * torch.randn(w.shape, dtype=torch.float64) for name, w in base.items()}
        for i in range(k)
    ]


def measured(base: made.Model, sources: list[made.Model], coefficients: list[float]) -> Record:
    named = {f"s{i}": source for i, source in enumerate(sources)}
    return made.record(named, base, made.combined(base, sources, coefficients))


numbers = st.floats(-2.0, 2.0).filter(lambda c: abs(c) > 0.01)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), coefficients=st.lists(numbers, min_size=1, max_size=4))
def test_predicted_is_measured(seed: int, coefficients: list[float]) -> None:
    base, sources = random_models(seed, len(coefficients))
    record = measured(base, sources, coefficients)
    total = whole(record)
    assert total is not None
    everything = predict_whole(record.tensors, constant(coefficients))
    assert everything is not None
    for tensor, predicted in [*((t, predict(t, coefficients)) for t in record.tensors), (total, everything)]:
        k = len(coefficients)
        result = Subject("", k)
        assert predicted.norm == pytest.approx(METRICS["norm"].value(tensor, result), rel=1e-9)
        assert predicted.relative == pytest.approx(METRICS["relative"].value(tensor, result), rel=1e-9)
        assert predicted.shrinkage == pytest.approx(METRICS["shrinkage"].value(tensor, Subject("")), rel=1e-9)
        for i in range(k):
            cosine = METRICS["cosine"].value(tensor, Subject("", k, i))
            assert predicted.cosines[i] == pytest.approx(cosine, abs=1e-9)
            assert predicted.retention[i] == pytest.approx(METRICS["retention"].value(tensor, Subject("", i)), abs=1e-9)
            assert predicted.attribution[i] == pytest.approx(coefficients[i], abs=1e-7)


def test_each_kind_may_have_coefficients_of_its_own() -> None:
    base, sources = random_models(3, 2)
    halves = made.combined(base, sources, [0.5, 0.25])
    result = {**halves, NAMES[0]: made.combined(base, sources, [0.1, 0.9])[NAMES[0]]}
    record = made.record(dict(zip("ab", sources, strict=True)), base, result)
    predicted = predict_whole(record.tensors, by_kind({"embedding": (0.1, 0.9)}, (0.5, 0.25)))
    total = whole(record)
    assert predicted is not None
    assert total is not None
    assert predicted.norm == pytest.approx(METRICS["norm"].value(total, Subject("", 2)), rel=1e-9)


def test_equal_contributions_are_equal_and_add_up() -> None:
    base, sources = random_models(5, 3)
    tensor = measured(base, sources, [1.0, 1.0, 1.0]).tensors[0]
    weights = equal_contributions(tensor, 0.9)
    lengths = [METRICS["norm"].value(tensor, Subject("", i)) for i in range(3)]
    pushed = [c * n for c, n in zip(weights, lengths, strict=True) if not isinstance(n, Missing)]
    assert sum(weights) == pytest.approx(0.9)
    assert pushed == pytest.approx([pushed[0]] * 3)


def test_matched_norms_give_every_change_the_norm_of_the_reference() -> None:
    base, sources = random_models(6, 3)
    tensor = measured(base, sources, [1.0, 1.0, 1.0]).tensors[1]
    lengths = [METRICS["norm"].value(tensor, Subject("", i)) for i in range(3)]
    scaled = [c * n for c, n in zip(matched_norms(tensor, (1, 1, 1), 0), lengths, strict=True)]  # type: ignore[operator]
    assert scaled == pytest.approx([lengths[0]] * 3)


def test_a_source_that_did_not_change_has_no_retention() -> None:
    base, sources = random_models(8, 1)
    record = made.record({"a": sources[0], "same": base}, base)
    predicted = predict(record.tensors[0], (1.0, 1.0))
    assert predicted.retention == pytest.approx((1.0, None))
    assert predicted.cosines == pytest.approx((1.0, None))
    assert equal_contributions(record.tensors[0]) == pytest.approx((1.0, 0.0))


def test_the_noise_of_dare_is_what_dropping_and_rescaling_adds() -> None:
    torch.manual_seed(2)
    tau = torch.randn(400_000, dtype=torch.float64)
    dropped = tau * (torch.rand(tau.shape, dtype=torch.float64) < 0.3) / 0.3
    added = float(((dropped - tau) ** 2).sum() / (tau**2).sum())
    assert dare_variance(0.3) == pytest.approx(added, rel=0.02)
