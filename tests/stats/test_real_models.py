"""What a pass over the weights finds in the language models beside the recipes, against plain float64 torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from mergegraph.pipeline import look, plan
from mergegraph.plan.outputs import Stats
from mergegraph.recipe.load import load_recipe, parse_recipe
from mergegraph.stats.advice import advice
from mergegraph.stats.metrics import METRICS, Missing, subjects
from mergegraph.stats.pooling import pooled
from mergegraph.stats.record import Record, TensorRecord
from mergegraph.stats.standing_out import standing_out
from tests.stats import made, plain
from tests.stats.plain import Plain

RECIPES = made.MODELS.parent
SOURCES = ("french", "python", "legal")
STRENGTH = 0.25
"""As recipes/capability-stack.yaml has it."""


@lru_cache
def added(*, every_element: bool) -> Record:
    recipe = load_recipe(RECIPES / "capability-stack.yaml")
    return look(plan(recipe, stats=Stats(writes=False)), every_element=every_element).records[0]


@lru_cache
def weights() -> Mapping[str, Plain]:
    base, *sources = [made.checkpoint(f"tiny-llama/{name}") for name in ("base", *SOURCES)]
    merged = made.combined(base, sources, (STRENGTH,) * len(SOURCES))
    return {name: Plain.of(base[name], [source[name] for source in sources], merged[name]) for name in base}


def together(parts: list[Plain]) -> Plain:
    """All tensors as one."""

    def flat(of: Callable[[Plain], Tensor]) -> Tensor:
        return torch.cat([of(part).flatten() for part in parts])

    sources = tuple(flat(lambda part, i=i: part.sources[i]) for i in range(len(SOURCES)))
    return Plain(flat(lambda p: p.base), sources, flat(lambda p: p.merged), parts[0].dtype)


def near(wanted: list[float], metric: str) -> object:
    """Products are summed in float32, to 1e-7 of the norms; all that is counted is the same. What stands in one power
    of two is interpolated for a density."""
    if metric.startswith("density"):
        return pytest.approx(wanted, abs=0.02)
    return pytest.approx(wanted, rel=1e-5, abs=1e-8)


def values(record: Record, tensor: TensorRecord, metric: str) -> list[float | Missing]:
    return [METRICS[metric].value(tensor, subject) for subject in subjects(METRICS[metric], record)]


@pytest.mark.parametrize("metric", plain.METRICS)
def test_every_metric_of_a_task_addition_is_that_of_plain_float64(metric: str) -> None:
    record = added(every_element=True)
    assert {tensor.name for tensor in record.tensors} == set(weights())
    for tensor in record.tensors:
        if METRICS[metric].matrices_only and len(tensor.shape) < 2:
            continue
        wanted = plain.METRICS[metric](weights()[tensor.name])
        assert values(record, tensor, metric) == near(wanted, metric), tensor.name


@pytest.mark.parametrize("metric", plain.METRICS)
def test_every_metric_of_a_whole_model_is_that_of_plain_float64(metric: str) -> None:
    record = added(every_element=True)
    parts = [p for p in weights().values() if not METRICS[metric].matrices_only or p.base.dim() > 1]
    total = pooled(record.tensors, matrices_only=METRICS[metric].matrices_only)
    assert total is not None
    assert values(record, total, metric) == near(plain.METRICS[metric](together(parts)), metric)


@pytest.mark.parametrize("metric", ["sign_conflict", "winner_share", "mass_conflict", "mean", "kurtosis"])
def test_a_sample_of_a_real_tensor_is_within_its_noise(metric: str) -> None:
    record, sampled = added(every_element=True), added(every_element=False)
    for exact, tensor in zip(record.tensors, sampled.tensors, strict=True):
        if tensor.counted == tensor.elements:
            continue
        for subject in subjects(METRICS[metric], record):
            floor = METRICS[metric].floor(tensor, subject)
            found, wanted = (METRICS[metric].value(each, subject) for each in (tensor, exact))
            assert floor is not None
            assert abs(found - wanted) < 4.5 * floor.spread, tensor.name  # type: ignore[operator]


def test_norms_of_a_sample_are_of_every_element() -> None:
    for exact, sampled in zip(added(every_element=True).tensors, added(every_element=False).tensors, strict=True):
        assert exact.gram == sampled.gram


def test_nothing_is_said_of_bases_where_models_are_relatives() -> None:
    record = added(every_element=False)
    assert "near-orthogonal weights" not in {each.rule for each in standing_out(record)}
    assert "near-orthogonal weights" not in {each.topic for each in advice(record)}


def in_another_basis(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same function with its hidden units in another order, as far from it as another initialisation is."""
    numbers = torch.Generator().manual_seed(5)
    hidden, inner = tensors["model.layers.0.mlp.up_proj.weight"].shape[::-1]
    order, units = torch.randperm(hidden, generator=numbers), torch.randperm(inner, generator=numbers)
    turned: dict[str, Tensor] = {}
    for name, weight in tensors.items():
        if name.endswith(("gate_proj.weight", "up_proj.weight")):
            weight = weight[units]
        if name.endswith("down_proj.weight"):
            weight = weight[:, units]
        is_output = name.endswith(("o_proj.weight", "down_proj.weight"))
        turned[name] = (weight[order] if is_output or weight.dim() == 1 else weight[:, order]).contiguous()
    return turned


def test_a_merge_of_two_bases_stands_out(tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "config.json").write_bytes((made.MODELS / "tiny-llama/french/config.json").read_bytes())
    save_file(in_another_basis(made.checkpoint("tiny-llama/french")), folder / "model.safetensors")
    text = f"""mergegraph: 1
name: t
models: {{legal: {made.MODELS / "tiny-llama/legal"}, other: {folder}}}
nodes:
  merged: 0.5*legal + 0.5*other
  out: {{op: save, input: merged, path: out}}
"""
    recipe = parse_recipe(text, file="t.yaml", folder=tmp_path)
    (record,) = look(plan(recipe, allow_unrelated=True, stats=Stats(writes=False))).records
    odd = {each.tensor.name for each in standing_out(record) if each.rule == "near-orthogonal weights"}
    assert odd == {tensor.name for tensor in record.tensors if len(tensor.shape) == 2}
    first = advice(record)[0]
    assert first.topic == "near-orthogonal weights"
    cosine = METRICS["weight_cosine"].value(record.tensors[0], subjects(METRICS["weight_cosine"], record)[0])
    assert not isinstance(cosine, Missing)
    assert math.isclose(cosine, 0.0, abs_tol=0.05)
