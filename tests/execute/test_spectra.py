"""Singular values of what a recipe or models change: the pass after the other statistics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mergegraph import pipeline
from mergegraph.errors import Interrupted
from mergegraph.execute.control import Control
from mergegraph.execute.run import Options, run
from mergegraph.execute.spectra import with_spectra
from mergegraph.execute.surveying import survey_plan
from mergegraph.execute.views import WithMeans
from mergegraph.plan.outputs import Stats
from mergegraph.plan.plan import Plan
from mergegraph.plan.spectra import Spectra, plan_spectra
from mergegraph.recipe.load import load_recipe
from mergegraph.stats.files import to_json
from mergegraph.stats.metrics import METRICS, Subject
from mergegraph.stats.record import Record
from mergegraph.stats.spectral import lora_rank
from mergegraph.tensors.reader import FileReader
from tests.execute.test_surveying import planned, write_models
from tests.tiny_models import write_model

ROOT = Path(__file__).resolve().parents[2]
LLAMA = ROOT / "recipes/models/tiny-llama"
UP = "model.layers.1.mlp.up_proj.weight"


def shipped() -> Plan:
    models = {name: str(LLAMA / name) for name in ("french", "python", "legal")}
    return pipeline.plan_models(models, str(LLAMA / "base"), workers=2)


@pytest.fixture(scope="module")
def record() -> Record:
    (found,) = survey_plan(shipped(), tier=2).records
    return found


def test_spectra_of_the_shipped_models_are_those_of_a_full_decomposition(record: Record) -> None:
    stored = {name: load_file(LLAMA / name / "model.safetensors") for name in ("base", *record.sources)}
    matrices = [tensor for tensor in record.tensors if len(tensor.shape) == 2]
    assert len(matrices) > 20
    for tensor in matrices:
        assert tensor.spectral is not None
        exact: list[tuple[Tensor, Tensor, Tensor]] = []
        for source, found in zip(record.sources, tensor.spectral.sources, strict=True):
            change = stored[source][tensor.name].double() - stored["base"][tensor.name].double()
            u, values, vh = torch.linalg.svd(change, full_matrices=False)
            exact.append((u, values, vh.T))
            near = torch.tensor(found.values, dtype=torch.float64) / values[: len(found.values)] - 1
            assert near.abs().max() < 0.05, "the last ones lie close together"
            assert near[:8].abs().max() < 2e-3, tensor.name
            assert found.energy == pytest.approx(float((values**2).sum()), rel=1e-6)
        for (i, j), overlap in tensor.spectral.overlaps.items():
            k = overlap.directions
            left, right = (float((exact[i][s][:, :k].T @ exact[j][s][:, :k]).square().sum()) / k for s in (0, 2))
            assert overlap.left == pytest.approx(left, abs=0.02)
            assert overlap.right == pytest.approx(right, abs=0.02)


def test_the_other_statistics_of_a_recipe_stay_as_they_are() -> None:
    recipe = load_recipe(ROOT / "recipes" / "task-addition.yaml")
    plan = pipeline.plan(recipe, workers=2, stats=Stats(writes=False))
    (plain,), (more,) = survey_plan(plan).records, survey_plan(plan, tier=2).records
    assert tuple([replace(tensor, spectral=None) for tensor in more.tensors]) == plain.tensors
    assert more.result
    assert sum(bool(t.spectral and len(t.spectral.sources) == len(more.sources)) for t in more.tensors) > 20


MERGES = [
    ("merged: base + 0.6*(a - base) + 0.7*(b - base)", "a plain combination"),
    ("d: {op: ties, base: base, inputs: [a, b], density: 0.4}\nmerged: base + d", "thresholds: three passes"),
    ("d: {op: ties, base: base, inputs: [a, b], density: 0.4, preset: paper}\nmerged: base + d", "of the whole model"),
    ("d: {op: dare, base: base, input: a, density: 0.5}\nmerged: base + d", "random numbers"),
    ("d: {op: iso_c, base: base, inputs: [a, b]}\nmerged: base + d", "whole matrices"),
    ("merged: {op: slerp, a: a, b: b, t: 0.3}", "no base"),
]


@pytest.mark.parametrize("nodes", [case[0] for case in MERGES], ids=[case[1] for case in MERGES])
def test_the_result_has_the_singular_values_of_what_is_written(tmp_path: Path, nodes: str) -> None:
    write_models(tmp_path, torch.float32)
    run(planned(tmp_path, nodes, None), Options(sync=False))
    (record,) = survey_plan(planned(tmp_path, nodes, Stats(writes=False)), tier=2).records
    made, base = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "base"))
    looked = [tensor for tensor in record.tensors if tensor.spectral and not tensor.spectral.skipped]
    assert len(looked) > 10
    for tensor in looked:
        assert tensor.spectral is not None
        assert tensor.spectral.result is not None
        before = base[tensor.name].double() if record.base else 0.0
        values = torch.linalg.svdvals(made[tensor.name].double() - before)
        found = tensor.spectral.result
        near = torch.tensor(found.values, dtype=torch.float64) / values[: len(found.values)] - 1
        assert near.abs().max() < 0.05, "the last ones lie close together"
        assert near[:2].abs().max() < 0.01
        assert found.energy == pytest.approx(float((values**2).sum()), rel=1e-5)
        assert METRICS["spectral_norm"].value(tensor, Subject("merged", len(record.sources))) == found.values[0]


def found_with(plan: Plan, spectra: Spectra, advance: Callable[[int], None], control: Control) -> tuple[Record, ...]:
    """The pass alone, over the plain records of a plan."""
    records = survey_plan(plan).records
    with FileReader({file.path: file.identity for file in plan.inputs}) as reader:
        return with_spectra(records, spectra, WithMeans(reader.read_into), control, advance, lambda: None)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("crowded", [False, True], ids=["all at once", "one at a time"])
def test_numbers_are_the_same_bytes_for_any_workers_and_budget(record: Record, workers: int, crowded: bool) -> None:
    planned = plan_spectra(shipped())
    largest = max(matrix.nbytes for matrix in planned.matrices)
    spectra = replace(planned, workers=workers, budget_bytes=largest if crowded else workers * largest)
    advanced: list[int] = []
    (found,) = found_with(shipped(), spectra, advanced.append, Control())
    assert to_json(found) == to_json(record)
    assert sum(advanced) == spectra.read_bytes


def test_what_is_no_matrix_and_what_does_not_fit_is_told(record: Record) -> None:
    norm = next(tensor for tensor in record.tensors if tensor.name.endswith("norm.weight"))
    assert norm.spectral is not None
    assert norm.spectral.skipped == "it is no matrix"
    plan = shipped()
    planned = plan_spectra(plan)
    sizes = sorted({matrix.nbytes for matrix in planned.matrices})
    small = plan_spectra(replace(plan, projection=replace(plan.projection, budget_bytes=sizes[-1] - 1)))
    (left_out,) = {reason for place, reason in small.skipped.items() if place not in planned.skipped}
    assert left_out.endswith(f"--budget {-(-sizes[-1] // 2**20)}MiB")
    assert small.pool_bytes <= small.budget_bytes


def test_a_lora_in_a_bfloat16_checkpoint_is_seen_and_a_full_change_is_not(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    base = {UP: torch.randn(260, 196, generator=generator) / 14}
    low = torch.randn(260, 6, generator=generator) @ torch.randn(6, 196, generator=generator) / 100
    full = torch.randn(260, 196, generator=generator) / 100
    stack = {"experts": torch.randn(3, 8, 8, generator=generator)}
    for dtype, folder in ((torch.bfloat16, "half"), (torch.float32, "single")):
        for name, change in (("base", None), ("lora", low), ("full", full), ("rounded", 0 * low)):
            start = base[UP].to(torch.bfloat16).float()
            made = {UP: start if change is None else start + change, **stack}
            write_model(tmp_path / folder / name, {key: tensor.to(dtype) for key, tensor in made.items()})
        models = {name: str(tmp_path / folder / name) for name in ("lora", "full", "rounded")}
        plan = pipeline.plan_models(models, str(tmp_path / folder / "base"))
        (record,) = survey_plan(plan, tier=2).records
        tensor = next(each for each in record.tensors if each.name == UP)
        assert [lora_rank(tensor, i) for i in range(3)] == [6, None, None], folder
        assert tensor.spectral is not None
        (overlap,) = tensor.spectral.overlaps.values()
        assert overlap.directions == 6, "only as many as the LoRA has, and none with what did not change"
        experts = next(each for each in record.tensors if each.name == "experts").spectral
        assert experts is not None
        assert experts.skipped == "it has 3 dimensions, and is no single matrix"


def test_what_is_not_finite_has_no_spectrum(tmp_path: Path) -> None:
    base = {UP: torch.randn(20, 30)}
    write_model(tmp_path / "base", base)
    odd = base[UP].clone()
    odd[3, 4] = torch.nan
    write_model(tmp_path / "odd", {UP: odd})
    plan = pipeline.plan_models({"odd": str(tmp_path / "odd")}, str(tmp_path / "base"))
    spectral = survey_plan(plan, tier=2).records[0].tensors[0].spectral
    assert spectral is not None
    assert spectral.skipped == "a change is not finite"


def test_it_stops_between_matrices_when_asked() -> None:
    control = Control()
    spectra = replace(plan_spectra(shipped()), workers=1)
    (found,) = found_with(shipped(), spectra, lambda _: control.stop(), control)
    assert sum(bool(tensor.spectral and tensor.spectral.sources) for tensor in found.tensors) == 1


def test_a_survey_that_was_stopped_says_that_nothing_was_written() -> None:
    control = Control()
    control.stop()
    with pytest.raises(Interrupted, match="nothing was written"):
        survey_plan(shipped(), tier=2, control=control)
