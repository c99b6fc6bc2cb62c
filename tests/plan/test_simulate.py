"""How long a plan would take on many workers: what arithmetic must say, whatever its numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mergegraph.cli import main
from mergegraph.plan.plan import Plan
from mergegraph.plan.shards import only, shards_of
from mergegraph.plan.simulate import Machine, gathering_cost, shard_costs, simulated
from mergegraph.units import parse_bandwidth
from tests.execute.merging import planned
from tests.tiny_models import llama_tensors, write_model

LOADS = "".join(f"{name}: {{op: load, model: ./{name}}}\n" for name in ("base", "code"))
SAVE = "\nout: {op: save, input: m, path: out, max_shard_size: 10KB}"
TIES = "d: {op: ties, inputs: [code], base: base, density: 0.4%s}\nm: {op: sum, inputs: [base, d]}"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    base = llama_tensors(4, 32, 64, dtype=torch.bfloat16)
    write_model(folder / "base", base, config={"model_type": "llama"})
    tuned = llama_tensors(seed=1, noise_of=base, scale=0.3, dtype=torch.bfloat16)
    write_model(folder / "code", tuned, config={"model_type": "llama"})
    return folder


def soup(models: Path) -> Plan:
    return planned(models, LOADS + "m: 0.5*base + 0.5*code" + SAVE)


def test_the_bytes_of_the_shards_are_those_that_parts_read_and_write(models: Path) -> None:
    plan = planned(models, LOADS + TIES % "" + SAVE)
    costs = shard_costs(plan)
    parts = [only(plan, [shard]) for shard in shards_of(plan)]
    assert [cost.read_bytes for cost in costs] == [part.read_bytes for part in parts]
    assert [cost.write_bytes for cost in costs] == [part.outputs[0].layout.file_bytes for part in parts]


def test_statistics_of_whole_models_are_counted_once(models: Path) -> None:
    plan = planned(models, LOADS + TIES % ", scope: model" + SAVE)
    gathered = gathering_cost(plan)
    assert gathered.read_bytes + sum(cost.read_bytes for cost in shard_costs(plan)) == plan.read_bytes
    slow = Machine(bandwidth=1e6)
    assert simulated(plan, [1], slow)[0].gather_seconds == pytest.approx(gathered.read_bytes / 1e6)


def test_time_is_the_slowest_of_reading_writing_and_computing(models: Path) -> None:
    plan = soup(models)
    costs = shard_costs(plan)
    by_disk = Machine(bandwidth=1e3, start_seconds=2.0)
    (alone,) = simulated(plan, [1], by_disk)
    read, written = sum(cost.read_bytes for cost in costs), sum(cost.write_bytes for cost in costs)
    # each shard reads two models and writes one; headers are written and not read
    assert read < 2 * written
    making = sum(max(cost.read_bytes, cost.write_bytes) for cost in costs) / 1e3
    assert alone.seconds == pytest.approx(2.0 + making + written / 1e3)
    by_processor = Machine(bandwidth=1e15, threads=2, start_seconds=0.0)
    assert simulated(plan, [1], by_processor)[0].seconds == pytest.approx(
        sum(cost.thread_seconds for cost in costs) / 2, rel=1e-3
    )


def test_more_workers_take_less_time_until_the_storage_is_full(models: Path) -> None:
    plan, machine = soup(models), Machine(bandwidth=1e4, price=2.0)
    free = simulated(plan, [1, 2, 4], machine)
    assert free[0].seconds > free[1].seconds > free[2].seconds
    full = simulated(plan, [1, 2, 4], machine, storage=1e4)
    assert full[2].seconds >= full[1].seconds * 0.99
    assert free[2].price == pytest.approx(4 * free[2].seconds / 3600 * 2.0)
    assert all(0 < row.busy <= 1.0 + 1e-9 for row in (*free, *full))


def test_the_command_says_it_as_text_and_json(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(models)
    nodes = "".join(f"  {line}\n" for line in (LOADS + "m: 0.5*base + 0.5*code" + SAVE).splitlines())
    (models / "m.yaml").write_text(f"mergegraph: 1\nnodes:\n{nodes}")
    assert main(["plan", "m.yaml", "--workers", "3", "--bandwidth", "2GB", "--price", "1.5"]) == 0
    assert "calculated, not measured" in capsys.readouterr().out
    assert main(["plan", "m.yaml", "--workers", "3", "--json"]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()][-1]
    assert [row["workers"] for row in said["workers"]] == [1, 2, 3]
    assert main(["plan", "m.yaml", "--workers", "3", "--storage", "10Gbit/s", "--json"]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()][-1]
    assert (said["machine"]["bandwidth"], said["storage"]) == (1e9, 1.25e9)


def test_more_workers_than_shards_are_said(
    models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(models)
    nodes = "".join(f"  {line}\n" for line in (LOADS + "m: 0.5*base + 0.5*code" + SAVE).splitlines())
    (models / "m.yaml").write_text(f"mergegraph: 1\nnodes:\n{nodes}")
    assert main(["plan", "m.yaml", "--workers", "100000", "--json"]) == 0
    written = capsys.readouterr()
    said = json.loads(written.out.splitlines()[-1])
    assert said["workers"][-1]["workers"] == said["shards"] < 100
    assert f"100,000 workers would have {said['shards']} shards to make." in written.err
    assert "max_shard_size" in written.err


WRONG = [
    (("--workers", "3", "--bandwidth", "fast"), "not a bandwidth", "no number"),
    (("--workers", "3", "--storage", "0"), "not a bandwidth", "nothing would arrive"),
    (("--workers", "3", "--price", "inf"), "--price", "no number that JSON has"),
    (("--workers", "3", "--price", "nan"), "--price", "no number that JSON has"),
    (("--workers", "1000000000"), "--workers", "more than anybody has"),
    (("--bandwidth", "2GB"), "--bandwidth means nothing without --workers", "nobody would look at it"),
    (("--storage", "2GB"), "--storage means nothing without --workers", "nobody would look at it"),
    (("--price", "2"), "--price means nothing without --workers", "nobody would look at it"),
    (("--bandwidth", "fast"), "not a bandwidth", "wrong, with workers or without"),
]


@pytest.mark.parametrize(("options", "said", "reason"), WRONG, ids=[" ".join(row[0]) for row in WRONG])
def test_what_means_nothing_is_refused(
    models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...],
    said: str, reason: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(models)
    (models / "w.yaml").write_text("mergegraph: 1\nnodes: {}\n")
    assert main(["plan", "w.yaml", *options]) == 2, reason
    assert said in capsys.readouterr().err


BANDWIDTHS = [
    ("2GB/s", 2e9, "bytes a second"),
    ("2GB", 2e9, "a second is meant"),
    ("512MiB/s", 512 * 1024**2, "binary"),
    ("10Gbit/s", 1.25e9, "as networks are sold"),
    ("10Gbit", 1.25e9, "a second is meant"),
    ("10 gbps", 1.25e9, "another spelling"),
    ("2.5Gbit", 312.5e6, "a part"),
]


@pytest.mark.parametrize(("text", "expected", "_reason"), BANDWIDTHS, ids=[row[0] for row in BANDWIDTHS])
def test_bandwidths_are_read_as_they_are_written(text: str, expected: float, _reason: str) -> None:
    assert parse_bandwidth(text) == expected
