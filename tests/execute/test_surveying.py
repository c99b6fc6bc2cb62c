"""Statistics in the pass that writes, and without writing: the same numbers, and the same bytes of the model."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import replace
from math import prod
from pathlib import Path

import pytest
import torch

from mergegraph import pipeline
from mergegraph.errors import Interrupted, RecipeError
from mergegraph.execute import script
from mergegraph.execute.run import Options, run
from mergegraph.execute.script import interpreted
from mergegraph.execute.surveying import survey_plan
from mergegraph.plan.memory import COUNTING_BYTES, LOOK_BYTES, PLACES_BYTES, REDUCE_BYTES, measure_bytes, record_bytes
from mergegraph.plan.outputs import Stats
from mergegraph.plan.plan import Plan
from mergegraph.provenance.verify import verify
from mergegraph.recipe.load import load_recipe, parse_recipe
from mergegraph.stats.files import STATS, load, to_json
from mergegraph.stats.record import Record
from tests.execute.merging import stopped_after
from tests.tiny_adapters import matrices, write_adapter
from tests.tiny_models import llama_tensors, write_model

ROOT = Path(__file__).resolve().parents[2]
ADDED = "merged: base + 0.6*(a - base) + 0.7*(b - base)"
TIES = "d: {op: ties, base: base, inputs: [a, b], density: 0.4}\nmerged: base + d"


def write_models(folder: Path, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """A base and two fine-tunes of it, with an empty tensor and integers; the tensors of the second."""
    base = llama_tensors(hidden=64, vocab=512, dtype=dtype)
    base["position_ids"] = torch.arange(8)
    base["model.unused.weight"] = torch.empty(0, 64, dtype=dtype)
    write_model(folder / "base", base)
    tuned: dict[str, torch.Tensor] = {}
    for seed, name in ((1, "a"), (2, "b")):
        tuned = llama_tensors(noise_of=base, seed=seed, dtype=dtype)
        tuned["model.norm.weight"] = base["model.norm.weight"].clone()
        write_model(folder / name, tuned)
    return tuned


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write_models(tmp_path, torch.bfloat16)
    return tmp_path


def planned(
    folder: Path, nodes: str, stats: Stats | None, output: str = "out", save: str = "", **options: object
) -> Plan:
    head = "".join(f"  {name}: {{op: load, model: ./{name}}}\n" for name in ("base", "a", "b") if name in nodes)
    body = "".join(
        f"  {line}\n" for line in [*nodes.splitlines(), f"out: {{op: save, input: merged, path: {output}{save}}}"]
    )
    recipe = parse_recipe(f"mergegraph: 1\nname: t\nnodes:\n{head}{body}", file="t.yaml", folder=folder)
    return pipeline.plan(recipe, workers=2, stats=stats, **options)  # type: ignore[arg-type]


LORA = "l: {op: lora, adapter: ./lora, base: base}\nmerged: base + 0.5*l + 0.3*(a - base)"
SAVED = [
    (ADDED, "", "rows that lie side by side"),
    ("merged: 0.5*a + 0.5*b + 0*(a - base)", "", "models that are read for themselves: rows are copied"),
    (TIES, "", "thresholds"),
    ("merged: {op: slerp, a: a, b: b, t: 0.3}", "", "no base"),
    (LORA, "", "whole rows"),
    ("merged: a - base", "delta", "a delta, whose result is not measured"),
    (ADDED, "float8_e4m3fn", "a dtype that saturates, whole tiles"),
    (ADDED, "double", "float64"),
]


@pytest.mark.parametrize(("nodes", "how"), [case[:2] for case in SAVED], ids=[case[2] for case in SAVED])
def test_a_run_that_measures_writes_the_same_model(models: Path, nodes: str, how: str) -> None:
    write_adapter(models / "lora", matrices({"model.layers.0.self_attn.q_proj": (64, 64)}))
    if how == "double":
        write_models(models, torch.float64)
    save = {"": "", "double": "", "delta": ", format: delta"}.get(how, f", dtype: {how}")
    run(planned(models, nodes, None, "plain", save), Options(sync=False))
    run(planned(models, nodes, Stats(), "measured", save), Options(sync=False))
    plain, measured = models / "plain", models / "measured"
    assert (plain / "model.safetensors").read_bytes() == (measured / "model.safetensors").read_bytes()
    assert {path.name for path in measured.iterdir()} - {path.name for path in plain.iterdir()} == {STATS}
    assert verify(measured).warnings == ()
    looked = survey_plan(planned(models, nodes, Stats(writes=False), save=save))
    assert looked.records == (load(measured),)
    assert sum(not tensor.skipped for tensor in load(measured).tensors) > 15


def test_what_is_not_finite_is_counted_where_it_is_allowed(models: Path) -> None:
    tuned = write_models(models, torch.bfloat16)
    tuned["model.norm.weight"][3] = torch.nan
    tuned["lm_head.weight"][5, 1:3] = -torch.inf
    write_model(models / "b", tuned)
    run(planned(models, ADDED, None, "plain"), Options(sync=False, allow_non_finite=True))
    run(planned(models, ADDED, Stats(), "measured"), Options(sync=False, allow_non_finite=True))
    plain, measured = models / "plain", models / "measured"
    assert (plain / "model.safetensors").read_bytes() == (measured / "model.safetensors").read_bytes()
    found = {tensor.name: [x.nonfinite for x in tensor.changes] for tensor in load(measured).tensors}
    assert (found["model.norm.weight"], found["lm_head.weight"]) == ([0, 1, 1], [0, 2, 2])
    assert survey_plan(planned(models, ADDED, Stats(writes=False))).records == (load(measured),)


def test_an_output_that_stands_without_statistics_is_told_of(models: Path) -> None:
    run(planned(models, ADDED, None), Options(sync=False))
    report = run(planned(models, ADDED, Stats()), Options(sync=False))
    (warning,) = report.warnings
    assert (warning.severity, "has no statistics" in warning.fact) == ("warning", True)
    assert warning.fix.startswith("mergegraph stats t.yaml")
    assert not (models / "out" / STATS).exists()
    run(planned(models, ADDED, Stats()), Options(sync=False, overwrite=True))
    assert run(planned(models, ADDED, Stats()), Options(sync=False)).warnings == ()


def test_numbers_are_those_of_plain_float64(models: Path) -> None:
    from safetensors.torch import load_file

    stored = {name: load_file(models / name / "model.safetensors") for name in ("base", "a", "b")}
    (record,) = survey_plan(planned(models, ADDED, Stats(writes=False))).records
    assert (record.base, record.sources, record.result) == ("base", ("a", "b"), "out")
    for tensor in record.tensors:
        if not tensor.skipped:
            base, a, b = (stored[name][tensor.name].double().flatten() for name in ("base", "a", "b"))
            merged = 0.6 * (a - base) + 0.7 * (b - base)
            every = torch.stack([base, a - base, b - base, merged])
            exact = (every @ every.t())[tuple(torch.triu_indices(4, 4))]
            scale = every.norm(dim=1).outer(every.norm(dim=1))[tuple(torch.triu_indices(4, 4))]
            assert ((torch.tensor(tensor.gram) - exact).abs() <= 1e-5 * scale + 1e-12).all(), tensor.name
    frozen = next(tensor for tensor in record.tensors if tensor.name == "model.norm.weight")
    assert frozen.gram[1:] == (0.0,) * 9
    skipped = {tensor.name: tensor.skipped for tensor in record.tensors if tensor.skipped}
    assert skipped == {"position_ids": "it is int64, not floating point"}


def test_a_record_is_the_same_bytes_for_any_threads_tiles_and_budget(models: Path) -> None:
    whole = planned(models, TIES, Stats(writes=False))
    plans = [
        replace(whole, projection=replace(whole.projection, workers=workers, tile_elements=tile))
        for workers, tile in ((1, 65_536), (2, 65_536), (3, 131_072))
    ]
    plans.append(planned(models, TIES, Stats(writes=False), budget_bytes=32 << 20))
    assert len({to_json(survey_plan(plan).records[0]) for plan in plans}) == 1


def test_a_record_is_the_same_where_nothing_is_compiled(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = survey_plan(planned(models, ADDED, Stats(writes=False)))
    monkeypatch.setattr(script, "_functions", OrderedDict())
    monkeypatch.setattr(script, "compiled", interpreted)
    assert survey_plan(planned(models, ADDED, Stats(writes=False))).records == looked.records


def test_a_copied_tensor_is_measured_and_stays_a_copy(models: Path) -> None:
    nodes = 'merged: {op: select, cases: [{match: "*mlp*", from: a}], otherwise: b}'
    plan = planned(models, nodes, Stats())
    run(plan, Options(sync=False))
    assert all(tensor.is_copy for tensor in plan.outputs[0].tensors)
    found = load(models / "out")
    by_name = {tensor.name: tensor for tensor in found.tensors}
    assert (found.base, found.sources) == ("", ("a", "b"))
    for name, kept in (("mlp.up_proj", 0), ("self_attn.q_proj", 1)):
        change = by_name[f"model.layers.0.{name}.weight"].changes
        assert change[2] == change[kept] != change[1 - kept], "the result is the model that it was taken from"


@pytest.mark.parametrize(
    ("nodes", "base", "sources", "why"),
    [
        (ADDED, "base", ("a", "b"), "what is subtracted"),
        (TIES, "base", ("a", "b"), "the base of a node"),
        ("merged: {op: soup, inputs: [a, b]}", "", ("a", "b"), "none"),
        ("merged: 0.5*a + 0.5*b + 0*(a - base)", "base", ("a", "b"), "one that cancels out"),
    ],
)
def test_the_base_is_what_changes_are_taken_against(
    models: Path, nodes: str, base: str, sources: tuple[str, ...], why: str
) -> None:
    (survey,) = planned(models, nodes, Stats(writes=False)).surveys
    assert (survey.base, survey.sources) == (base, sources), why
    assert bool(survey.problems) == (not base)


def test_another_base_may_be_named(models: Path) -> None:
    (survey,) = planned(models, ADDED, Stats(writes=False, base="a")).surveys
    assert (survey.base, survey.sources) == ("a", ("base", "b"))
    with pytest.raises(RecipeError, match='reads no model "c"'):
        planned(models, ADDED, Stats(writes=False, base="c"))


def test_models_are_measured_against_a_base_and_their_differences_told(models: Path) -> None:
    tensors = llama_tensors(hidden=64, vocab=512, seed=9, dtype=torch.float32)
    del tensors["lm_head.weight"]
    tensors["model.norm.weight"] = torch.ones(3)
    write_model(models / "odd", tensors)
    plan = pipeline.plan_models({"a": str(models / "a"), "odd": str(models / "odd")}, str(models / "base"))
    (record,) = survey_plan(plan).records
    skipped = {tensor.name: tensor.skipped for tensor in record.tensors if tensor.skipped}
    assert skipped["lm_head.weight"] == "odd has no such tensor"
    assert skipped["model.norm.weight"] == "odd has it as [3]"
    assert "lm_head.weight is in base, a and not in odd." in record.problems
    q = next(tensor for tensor in record.tensors if tensor.name.endswith("q_proj.weight"))
    assert (len(q.changes), q.outcome) == (2, None)


def test_tensors_of_an_earlier_run_are_named_as_not_measured(models: Path) -> None:
    with pytest.raises(Interrupted):
        run(planned(models, ADDED, Stats()), Options(sync=False, executor=stopped_after(12)))
    report = run(planned(models, ADDED, Stats()), Options(sync=False))
    assert report.resumed
    missing = [tensor for tensor in load(models / "out").tensors if "an earlier run wrote it" in tensor.skipped]
    integers = "position_ids" in {tensor.name for tensor in load(models / "out").tensors}
    assert report.resumed - integers <= len(missing) <= report.resumed


def test_an_adapter_says_that_its_factors_are_not_measured(models: Path) -> None:
    write_adapter(models / "lora", matrices({"model.layers.0.self_attn.q_proj": (64, 64)}))
    nodes = "l: {op: lora, adapter: ./lora, base: base}\nmerged: 2*l"
    plan = planned(models, nodes, Stats(), save=", format: peft")
    run(plan, Options(sync=False))
    found = load(models / "out")
    assert all(tensor.skipped for tensor in found.tensors)
    assert any("its factors are not measured" in problem for problem in found.problems)


def test_layers_that_were_moved_are_not_compared_by_name(models: Path) -> None:
    slices = '[{from: a, layers: "0:1"}, {from: b, layers: "0:2"}]'
    (survey,) = planned(models, f"merged: {{op: stack, slices: {slices}}}", Stats(writes=False)).surveys
    reasons = {tensor.name: tensor.skipped for tensor in survey.tensors if ".layers." in tensor.name}
    assert reasons["model.layers.2.mlp.up_proj.weight"] != ""
    assert reasons["model.layers.1.mlp.up_proj.weight"] == "it is made of tensors with other names"


def test_memory_stays_within_the_plan(models: Path) -> None:
    plan = planned(models, ADDED, Stats(writes=False))
    plain = planned(models, ADDED, None)
    held = plan.projection.shape.piece_bytes - plain.projection.shape.piece_bytes
    assert held >= REDUCE_BYTES, "room to count in"
    measured = [tensor for tensor in plan.surveys[0].tensors if not tensor.skipped]
    counters = max(measure_bytes(4, prod(tensor.shape), double=False) for tensor in measured)
    assert 50_000 < counters < 100_000
    assert measure_bytes(4, 1 << 20, double=False) > counters + 4 * 16_384 * 4, "the sample of a tile"
    kept = len(measured) * record_bytes(4) + LOOK_BYTES + PLACES_BYTES + 2 * COUNTING_BYTES
    more = plan.projection.shared_bytes - plain.projection.shared_bytes - kept
    assert more == 3 * counters, "two workers, and a tensor that waits for its last tile"


def test_the_record_of_the_shipped_models_reads_back(tmp_path: Path) -> None:
    recipe = load_recipe(ROOT / "recipes" / "task-addition.yaml")
    (record,) = survey_plan(pipeline.plan(recipe, stats=Stats(writes=False))).records
    assert isinstance(record, Record)
    path = tmp_path / "stats.json"
    path.write_bytes(to_json(record))
    assert load(path) == record
    assert json.loads(path.read_text())["mergegraph_stats"] == 1
