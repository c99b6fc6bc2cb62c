"""What is predicted from the Gram matrix is what would be measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from mergegraph.pipeline import look, plan
from mergegraph.plan.outputs import Stats
from mergegraph.recipe.load import parse_recipe
from mergegraph.stats import gram
from mergegraph.stats.metrics import METRICS, Missing, Subject
from mergegraph.stats.predict import Predicted, constant, equal_contributions, matched_norms, predict_whole
from mergegraph.stats.record import Record, TensorRecord
from mergegraph.stats.summary import whole
from tests.stats import made
from tests.tiny_models import llama_tensors, write_model

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


def alone(tensor: TensorRecord, coefficients: Sequence[float]) -> Predicted:
    predicted = predict_whole([tensor], constant(coefficients))
    assert predicted is not None
    return predicted


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), coefficients=st.lists(numbers, min_size=1, max_size=4))
def test_predicted_is_measured(seed: int, coefficients: list[float]) -> None:
    base, sources = random_models(seed, len(coefficients))
    record = measured(base, sources, coefficients)
    total = whole(record)
    assert total is not None
    everything = predict_whole(record.tensors, constant(coefficients))
    assert everything is not None
    for tensor, predicted in [*((t, alone(t, coefficients)) for t in record.tensors), (total, everything)]:
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


def test_each_tensor_may_have_coefficients_of_its_own() -> None:
    base, sources = random_models(3, 2)
    halves = made.combined(base, sources, [0.5, 0.25])
    result = {**halves, NAMES[0]: made.combined(base, sources, [0.1, 0.9])[NAMES[0]]}
    record = made.record(dict(zip("ab", sources, strict=True)), base, result)
    predicted = predict_whole(record.tensors, lambda t: (0.1, 0.9) if t.name == NAMES[0] else (0.5, 0.25))
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
    predicted = alone(record.tensors[0], (1.0, 1.0))
    assert predicted.retention == pytest.approx((1.0, None))
    assert predicted.cosines == pytest.approx((1.0, None))
    assert equal_contributions(record.tensors[0]) == pytest.approx((1.0, 0.0))


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base and three fine-tunes in bfloat16, a tensor of which is large enough for a sample."""
    folder = tmp_path_factory.mktemp("predicted")
    base = llama_tensors(hidden=64, vocab=1024, dtype=torch.bfloat16)
    write_model(folder / "base", base)
    for seed, name in enumerate("abc", 1):
        write_model(folder / name, llama_tensors(noise_of=base, seed=seed, dtype=torch.bfloat16))
    return folder


@settings(max_examples=6, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(coefficients=st.lists(numbers, min_size=1, max_size=3))
def test_predicted_is_what_a_pass_over_the_weights_measures(stored: Path, coefficients: list[float]) -> None:
    names = "abc"[: len(coefficients)]
    written = [f"{c:.6f}" for c in coefficients]
    loads = "".join(f"  {name}: {{op: load, model: ./{name}}}\n" for name in ("base", *names))
    merged = "base" + "".join(f" + ({c})*({n} - base)" for n, c in zip(names, written, strict=True))
    text = f"mergegraph: 1\nname: t\nnodes:\n{loads}  m: {merged}\n  out: {{op: save, input: m, path: out}}\n"
    recipe = parse_recipe(text, file="t.yaml", folder=stored)
    (record,) = look(plan(recipe, workers=1, stats=Stats(writes=False))).records
    total, everything = whole(record), predict_whole(record.tensors, constant(list(map(float, written))))
    assert total is not None
    assert everything is not None
    chosen, k = list(map(float, written)), len(written)
    for tensor, predicted in [*((t, alone(t, chosen)) for t in record.tensors), (total, everything)]:
        # W* is computed in float32, and τ* is its difference from W0: good to a rounding of the weights.
        rounding = 2.0**-23 * math.sqrt(gram.inner(tensor, 0, 0))
        lengths = [math.sqrt(gram.inner(tensor, i + 1, i + 1)) for i in range(k + 1)]
        assert_same(predicted.norm, METRICS["norm"].value(tensor, Subject("", k)), rounding)
        assert_same(
            predicted.shrinkage, METRICS["shrinkage"].value(tensor, Subject("")), _share(rounding, sum(lengths[:k]) / k)
        )
        for i, c in enumerate(chosen):
            cosine = METRICS["cosine"].value(tensor, Subject("", k, i))
            retention = METRICS["retention"].value(tensor, Subject("", i))
            attribution = METRICS["attribution"].value(tensor, Subject("", i))
            assert_same(predicted.cosines[i], cosine, 2 * _share(rounding, lengths[k]))
            assert_same(predicted.retention[i], retention, _share(rounding, lengths[i]))
            assert_same(c if lengths[i] else None, attribution, 2 * _share(rounding, lengths[i]))


def _share(rounding: float, length: float) -> float:
    return rounding / length if length else 0.0


def assert_same(predicted: float | None, measured_: float | Missing, tolerance: float) -> None:
    """Products in float32 beside what is tolerated; or no number in both."""
    if predicted is None or isinstance(measured_, Missing):
        assert predicted in (None, 0.0)
        assert isinstance(measured_, Missing) or measured_ == 0.0
    else:
        assert predicted == pytest.approx(measured_, rel=1e-6, abs=1e-6 + tolerance)
