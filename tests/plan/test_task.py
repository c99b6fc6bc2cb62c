"""A part of a plan travels as JSON, and is the same part where it arrives."""

from __future__ import annotations

import json
from math import inf
from pathlib import Path

import pytest
import torch

from mergegraph.plan.encode import output_digests
from mergegraph.plan.shards import Shard, only, shards_of
from mergegraph.plan.share import Share
from mergegraph.plan.task import Task, task_from_json, task_json
from mergegraph.statistic import Threshold
from tests.execute.merging import planned
from tests.tiny_models import llama_tensors, write_model

LOADS = "".join(f"{name}: {{op: load, model: ./{name}}}\n" for name in ("base", "code", "chat"))
SAVES = "\nout: {op: save, input: m, path: out, max_shard_size: 20KB}\nall: {op: save, input: m, path: all}"
RECIPES = {
    "soup": "m: 0.25*base + 0.5*code + 0.25*chat",
    "ties, model-wide": "d: {op: ties, inputs: [code, chat], base: base, density: 0.4, scope: model}\n"
    "m: {op: sum, inputs: [base, d]}",
    "dare": "d: {op: dare, input: code, base: base, density: 0.7}\nm: {op: sum, inputs: [base, d]}",
    "low rank": "d: {op: delta, model: code, base: base}\nl: {op: low_rank, input: d, rank: 2}\n"
    "m: {op: sum, inputs: [base, l]}",
    "slerp": "m: {op: slerp, a: code, b: chat, t: 0.3}",
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    base = llama_tensors(4, 32, 64, dtype=torch.bfloat16)
    for seed, name in enumerate(("base", "code", "chat")):
        tensors = base if not seed else llama_tensors(seed=seed, noise_of=base, scale=0.3, dtype=torch.bfloat16)
        write_model(folder / name, tensors, config={"model_type": "llama"}, shards=1 + seed)
    return folder


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_task_arrives_as_it_was_sent(models: Path, recipe: str) -> None:
    plan = planned(models, LOADS + RECIPES[recipe] + SAVES)
    shards = shards_of(plan)
    assert len(shards) > 3
    for chosen in ([shards[0]], shards[1:3], [shards[-1]]):
        part = only(plan, chosen)
        text = json.dumps(task_json(Task(part, ({"a": 1},) * len(part.outputs))))
        back = task_from_json(json.loads(text), workers=part.projection.workers)
        assert json.dumps(task_json(back)) == text
        assert back.plan.groups == part.groups
        assert back.plan.gatherings == part.gatherings
        assert back.plan.projection.tile_elements == part.projection.tile_elements
        assert back.plan.projection.pool_bytes <= part.projection.pool_bytes
        for sent, arrived in zip(part.outputs, back.plan.outputs, strict=True):
            assert output_digests(part, sent)[1] == output_digests(back.plan, arrived)[1] or sent.sidecars.config
            assert sent.layout == arrived.layout


def test_numbers_of_whole_models_arrive_bit_for_bit(models: Path) -> None:
    plan = planned(models, LOADS + RECIPES["ties, model-wide"] + SAVES)
    part = only(plan, shards_of(plan)[:1])
    first, second = (each.stat for each in part.gatherings)
    found = {first: Threshold(0.1 + 0.2, 3, 4, 5), second: Threshold(inf, 0, 0, 0)}
    text = json.dumps(task_json(Task(part, ({},), found)), allow_nan=False)
    assert task_from_json(json.loads(text)).populations == found


def test_a_task_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="version 99"):
        task_from_json({"mergegraph_task": 99})


@pytest.mark.parametrize("count", [1, 2, 3, 7, 50])
def test_shares_are_a_partition(count: int) -> None:
    shards = [Shard(output, file) for output in range(2) for file in range(10)]
    parts = [Share(number, count).of(shards) for number in range(1, count + 1)]
    assert sorted(shard for part in parts for shard in part) == shards
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_part_reads_only_what_its_tensors_need(models: Path) -> None:
    plan = planned(models, LOADS + RECIPES["soup"] + SAVES)
    saved_once = [shard for shard in shards_of(plan) if shard.output == 0]
    parts = [only(plan, [shard]) for shard in saved_once]
    assert sum(part.write_bytes for part in parts) == plan.outputs[0].layout.total_bytes
    assert sum(part.read_bytes for part in parts) == 3 * plan.outputs[0].layout.total_bytes
    assert {tensor.name for part in parts for tensor in part.outputs[0].tensors} == set(plan.outputs[0].layout.specs)
