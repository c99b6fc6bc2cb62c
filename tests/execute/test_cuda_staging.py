"""Runs on a device give the threads' files, whatever the ring, and end as other runs end. The processor stands in for
the device; where there is CUDA, runs on it are within a tolerance of the threads'."""

from __future__ import annotations

import json
import shutil
import signal
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mergegraph.cli.reporters import report_json, summary
from mergegraph.errors import DoesNotFit, Interrupted, OutputError, RecipeError, RunError
from mergegraph.execute import control as control_module
from mergegraph.execute import events
from mergegraph.execute.control import Control
from mergegraph.execute.device import tile as tile_module
from mergegraph.execute.devices import Devices, devices_for
from mergegraph.execute.events import Publisher
from mergegraph.execute.executors.cuda import OnDevices
from mergegraph.execute.executors.stage import Stage
from mergegraph.execute.executors.staging import Ring
from mergegraph.execute.run import Options, run
from mergegraph.expr import cast, linear, read
from mergegraph.plan import staging as staging_module
from mergegraph.plan.extent import extent
from mergegraph.plan.groups import Group
from mergegraph.plan.program import computation
from mergegraph.plan.staging import RESERVE_BYTES, WRITERS, Needs, Staging, has_device_form, stage_for, tile_needs
from tests.execute.merging import BLOCK, merged, planned, tree
from tests.execute.stand_in import StandIn, stand_ins
from tests.execute.test_executors import LOADS, RECIPES, mixed_tensors
from tests.tiny_models import llama_tensors, write_model

DELTAS = "da: {op: delta, model: a, base: base}\ndb: {op: delta, model: b, base: base}\n"
SAVED = "\ns: base + 1.0*m\nout: {op: save, input: s, path: out}"
MERGES = {
    **RECIPES,
    "slerp": "m: {op: slerp, a: a, b: b, t: 0.3}\nout: {op: save, input: m, path: out}",
    "ties": DELTAS + "m: {op: ties, inputs: [da, db], density: 0.4}" + SAVED,
    "ties over the model": DELTAS + "m: {op: ties, inputs: [da, db], density: 0.4, scope: model}" + SAVED,
    "dare": DELTAS + "x: {op: dare, input: da, density: 0.3}\nm: {op: sum, inputs: [x, db]}" + SAVED,
    "della": DELTAS + "m: {op: della, input: da, density: 0.4, epsilon: 0.1, rescale: l1}" + SAVED,
    "model stock": "m: {op: model_stock, base: base, inputs: [a, b]}\nout: {op: save, input: m, path: out}",
    "copies": "out: {op: save, input: base, path: out}",
}
SUMS = ("slerp", "model stock", "della")
"""The last bit of a sum may differ, and so that of a float64 result."""


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `base` and relatives; tensors of every size and dtype, and one that a device counts by itself."""
    folder = tmp_path_factory.mktemp("models")
    base = mixed_tensors(2)
    for seed, name in ((3, "a"), (5, "b")):
        write_model(folder / name, mixed_tensors(seed, base))
    write_model(folder / "base", base, shards=3)
    write_model(folder / "half", mixed_tensors(7, base, torch.bfloat16))
    write_model(folder / "double", mixed_tensors(11, base, torch.float64))
    return folder


@pytest.fixture
def models(stored: Path) -> Path:
    """The models, and no output of another test."""
    shutil.rmtree(stored / "out", ignore_errors=True)
    return stored


def small_tiles(monkeypatch: pytest.MonkeyPatch, elements: int = BLOCK) -> None:
    """Stages of a block, so that the ring turns often."""
    monkeypatch.setattr(staging_module, "TILE_ELEMENTS", elements)


def alike(found: Path, reference: dict[str, bytes], *, exact: bool) -> None:
    """The same weights: bit for bit, or nearly."""
    written = tree(found)
    names = [name for name in reference if name.endswith(".safetensors")]
    assert names
    assert [name for name in written if name.endswith(".safetensors")] == names
    for name in names:
        if exact:
            assert written[name] == reference[name], name
            continue
        (found / "reference").write_bytes(reference[name])
        wanted = load_file(found / "reference")
        for tensor, value in load_file(found / name).items():
            if value.is_floating_point() and value.numel():
                step = torch.finfo(value.dtype).eps
                close = torch.isclose(value.double(), wanted[tensor].double(), rtol=8 * step, atol=1e-6)
                assert int((~close).sum()) <= max(1, value.numel() // 10_000), tensor
            else:
                assert torch.equal(value, wanted[tensor]), tensor
        (found / "reference").unlink()


@pytest.mark.parametrize("nodes", MERGES.values(), ids=MERGES)
@pytest.mark.parametrize("count", [1, 2])
def test_devices_give_the_threads_files(count: int, nodes: str, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(models, LOADS + nodes)
    merged(plan)
    reference = tree(models / "out")
    for tile in (BLOCK, 8 << 20) if count == 1 else (BLOCK,):
        small_tiles(monkeypatch, tile)
        report = merged(plan, overwrite=True, devices=stand_ins(count))
        hosted = sum(len(group.members) for group in plan.groups if not has_device_form(group.computation))
        assert report.device.tensors + hosted == report.tensors
        alike(models / "out", reference, exact=nodes not in [MERGES[name] for name in SUMS])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("nodes", MERGES.values(), ids=MERGES)
def test_cuda_gives_nearly_the_threads_files(nodes: str, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(models, LOADS + nodes)
    merged(plan)
    reference = tree(models / "out")
    for tile in (BLOCK, 8 << 20):
        small_tiles(monkeypatch, tile)
        merged(plan, overwrite=True, devices=devices_for("cuda:0"))
        alike(models / "out", reference, exact=False)


SOUP = """a: {op: load, model: ./a}
b: {op: load, model: ./b}
m: 0.5*a + 0.5*b
out: {op: save, input: m, path: out}"""


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """Two models of ten tensors, more than a ring of stages of one block holds."""
    for seed, name in enumerate("ab"):
        generator = torch.Generator().manual_seed(seed)
        write_model(tmp_path / name, {f"w{n}": torch.randn(BLOCK + n, generator=generator) for n in range(10)})
    return tmp_path


def reference(folder: Path) -> dict[str, bytes]:
    merged(planned(folder, SOUP, output="reference"))
    return tree(folder / "reference")


def test_many_small_tensors_share_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed, name in enumerate("ab"):
        generator = torch.Generator().manual_seed(seed)
        write_model(tmp_path / name, {f"w{n:03}": torch.randn(35, generator=generator) for n in range(400)})
    wanted, conducted = reference(tmp_path), list[int]()
    clear = Stage.clear

    def counted(stage: Stage) -> None:
        conducted.append(len(stage.parts))
        clear(stage)

    monkeypatch.setattr(Stage, "clear", counted)
    merged(planned(tmp_path, SOUP), devices=stand_ins())
    assert sum(conducted) == 400
    assert len(conducted) <= 2
    assert tree(tmp_path / "out")["model.safetensors"] == wanted["model.safetensors"]


def test_what_has_no_device_form_runs_on_the_host_in_the_same_run(tmp_path: Path) -> None:
    base = llama_tensors(hidden=16)
    write_model(tmp_path / "base", base, config={"model_type": "llama"})
    write_model(tmp_path / "a", llama_tensors(noise_of=base, seed=1), config={"model_type": "llama"})
    nodes = (
        "base: {op: load, model: base}\na: {op: load, model: a}\n"
        "d: {op: low_rank, input: a, base: base, rank: 4}\n"
        "only: {op: select, cases: [{kind: attention, from: d}]}\n"
        "out: {op: save, input: only, path: out, format: peft}\n"
        "m: 0.5*a + 0.5*base\nfull: {op: save, input: m, path: full}"
    )
    plan = planned(tmp_path, nodes)
    merged(plan)
    wanted = {**tree(tmp_path / "out"), **{f"full/{k}": v for k, v in tree(tmp_path / "full").items()}}
    report = merged(plan, overwrite=True, devices=stand_ins())
    found = {**tree(tmp_path / "out"), **{f"full/{k}": v for k, v in tree(tmp_path / "full").items()}}
    for name in wanted:
        if name.endswith(".safetensors"):
            assert found[name] == wanted[name], name
    assert 0 < report.device.tensors < report.computed, "both took part"


# Endings


def test_an_interrupted_run_goes_on_where_it_stopped(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_tiles(monkeypatch)
    wanted, control = reference(pair), Control()
    publisher = Publisher()
    ticking = lambda: control.stop(signal.SIGTERM) if publisher.progress.tensors_done >= 2 else None  # noqa: E731
    monkeypatch.setattr(events, "_PUBLISH_SECONDS", 0.0)
    devices = stand_ins(seconds=0.2)
    with pytest.raises(Interrupted) as caught:
        run(planned(pair, SOUP), Options(sync=False, devices=devices, on_tick=ticking), publisher, control)
    assert caught.value.exit_code == 75
    assert not (pair / "out").exists()
    report = merged(planned(pair, SOUP), devices=stand_ins())
    assert 2 <= report.resumed < 10
    assert tree(pair / "out")["model.safetensors"] == wanted["model.safetensors"]


def test_another_kind_of_device_does_not_go_on_and_says_why(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_tiles(monkeypatch)
    control, publisher = Control(), Publisher()
    ticking = lambda: control.stop() if publisher.progress.tensors_done >= 2 else None  # noqa: E731
    monkeypatch.setattr(events, "_PUBLISH_SECONDS", 0.0)
    options = Options(sync=False, devices=stand_ins(seconds=0.2), on_tick=ticking)
    with pytest.raises(Interrupted):
        run(planned(pair, SOUP), options, publisher, control)
    before = tree(pair / "out.partial")
    with pytest.raises(OutputError, match=r"on stand-in, this run's is .* on cpu") as caught:
        merged(planned(pair, SOUP))
    assert "--overwrite" in caught.value.problems[0].fix
    assert tree(pair / "out.partial") == before


def test_a_finished_output_of_another_kind_is_another_result(pair: Path) -> None:
    merged(planned(pair, SOUP), devices=stand_ins())
    assert merged(planned(pair, SOUP), devices=stand_ins()).already_done == ("out",)
    assert json.loads((pair / "out" / "mergegraph.json").read_text())["device"]["kind"] == "stand-in"
    with pytest.raises(OutputError, match="another result"):
        merged(planned(pair, SOUP))


def test_a_pause_file_holds_the_ring(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_tiles(monkeypatch)
    wanted = reference(pair)
    monkeypatch.setattr(control_module, "_PAUSE_POLL_SECONDS", 0.0)
    monkeypatch.setattr(events, "_PUBLISH_SECONDS", 0.0)
    pause, publisher, seen = pair / "out.partial" / "pause", Publisher(), list[int]()

    def tick() -> None:
        if not seen and publisher.progress.tensors_done and not pause.exists():
            pause.touch()
        elif pause.exists():
            seen.append(publisher.progress.tensors_done)
            if len(seen) > 12:
                pause.unlink()

    run(planned(pair, SOUP), Options(sync=False, devices=stand_ins(seconds=0.05), on_tick=tick), publisher)
    assert seen, "the run was paused"
    assert seen[-1] == seen[-3] < 10, "what was in the ring came out, and nothing new went in"
    assert tree(pair / "out")["model.safetensors"] == wanted["model.safetensors"]


class Broken(Exception):
    pass


def broken(*arguments: object, **named: object) -> None:
    raise Broken


@pytest.mark.parametrize(
    ("where", "name"),
    [(Ring, "_fill"), (Ring, "_run"), (Ring, "_write"), (Ring, "_land"), (Ring, "put"), (tile_module, "_round"),
     (OnDevices, "__call__")],
)  # fmt: skip
def test_an_error_anywhere_ends_the_run_and_leaves_nothing(
    where: object, name: str, pair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(pair)
    monkeypatch.setattr(where, name, broken)
    devices = stand_ins(2)
    with pytest.raises(Broken):
        merged(planned(pair, SOUP), devices=devices)
    assert tree(pair) == before


def test_an_error_in_a_tick_ends_the_run(pair: Path) -> None:
    devices = stand_ins(seconds=0.2)
    with pytest.raises(Broken):
        merged(planned(pair, SOUP), devices=devices, on_tick=broken)
    assert all(device.closed for device in devices.devices)  # type: ignore[attr-defined]


def test_an_input_that_is_cut_short_is_named(pair: Path) -> None:
    plan = planned(pair, SOUP)
    path = pair / "b" / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-4096])
    with pytest.raises(RunError, match=r"model\.safetensors (has changed|ended early)"):
        merged(plan, devices=stand_ins())
    path.write_bytes(content)
    assert not (pair / "out").exists()


def test_a_nan_is_an_error_that_names_it_or_is_counted(pair: Path) -> None:
    tensors = load_file(pair / "b" / "model.safetensors")
    tensors["w3"][7] = torch.nan
    write_model(pair / "b", tensors)
    with pytest.raises(RunError, match="w3"):
        merged(planned(pair, SOUP), devices=stand_ins())
    assert merged(planned(pair, SOUP), devices=stand_ins(), allow_non_finite=True).nonfinite == {"w3": 1}


# Memory


def test_what_is_allocated_is_what_was_planned(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_tiles(monkeypatch)
    devices = stand_ins(2)
    report = merged(planned(pair, SOUP), devices=devices)
    one, other = devices.devices
    assert isinstance(one, StandIn)
    assert isinstance(other, StandIn)
    assert one.allocated == other.allocated == report.device.pool_bytes
    assert one.pinned_bytes + other.pinned_bytes <= report.pool_bytes <= report.budget_bytes
    assert report.device.budget_bytes == int(one.size_bytes * 0.9)


def test_small_budgets_make_small_tiles_and_the_same_bytes(pair: Path) -> None:
    wanted = reference(pair)
    plan = planned(pair, SOUP, budget_bytes=16 << 20)
    report = merged(plan, devices=stand_ins(budget_bytes=RESERVE_BYTES + (12 << 20)))
    assert report.pool_bytes <= 16 << 20
    assert report.device.pool_bytes <= 12 << 20
    assert tree(pair / "out")["model.safetensors"] == wanted["model.safetensors"]


@pytest.mark.parametrize(
    ("devices", "budget_bytes", "fix"),
    [
        (stand_ins(budget_bytes=1 << 20), None, r"--device-budget \d+MiB, or --device cpu"),
        (stand_ins(), 7 << 20, r"--budget \d+MiB, or --device cpu"),
        (stand_ins(size_bytes=1 << 20, budget_bytes=1 << 30), None, r"--device-budget \d+MiB, or --device cpu"),
    ],
    ids=["the device's budget", "the host's budget", "out of memory"],
)
def test_too_little_memory_is_said_with_a_fix_and_leaves_nothing(
    devices: Devices, budget_bytes: int | None, fix: str, pair: Path
) -> None:
    before = tree(pair)
    with pytest.raises(DoesNotFit, match=fix):
        merged(planned(pair, SOUP, budget_bytes=budget_bytes), devices=devices)
    assert tree(pair) == before


def half_sum(elements: int) -> Group:
    """Two bfloat16 reads, one root: five bytes of slots … for each element, in primes below."""
    reads = [read(name, "w", "BF16", (elements,), 0, 2 * elements) for name in "xy"]
    work = computation([cast(linear([(Fraction(1, 2), each) for each in reads], "weights"), "F32")])
    return Group(((0, 0),), extent((elements,), "element"), work)


def test_a_ring_is_counted_byte_by_byte() -> None:
    elements = 100_003
    group = half_sum(elements)
    staging, host = stage_for([group], [], 1 << 30, 1 << 30, 2, devices=3)
    needs = tile_needs(group.computation.program, 0, elements, 65_536)
    assert needs == Needs(raw=2 * 200_064, out=400_064, results=64)
    floor = 4 << 20
    assert staging.stage == Needs(floor, floor, floor // 8)
    slots = group.computation.program.slots * 400_064
    assert staging.slot_bytes == slots
    assert staging.piece_elements == 2 * 65_536
    assert staging.pool_bytes == 4 * staging.stage.total + slots + 18 * staging.piece_elements
    assert staging.pinned_bytes == 3 * 4 * staging.stage.total
    assert host.workers == 0
    assert host.pool_bytes == staging.pinned_bytes + 3 * WRITERS * (2 << 20)


def test_tiles_halve_until_both_budgets_hold() -> None:
    groups = [half_sum(50_000_017)]
    roomy, _ = stage_for(groups, [], 8 << 30, 8 << 30, 2)
    assert roomy.tile_elements == 8 << 20
    for budget, device_budget in ((100 << 20, 8 << 30), (8 << 30, RESERVE_BYTES + (100 << 20))):
        tight, host = stage_for(groups, [], budget, device_budget, 2)
        assert tight.tile_elements < roomy.tile_elements
        assert host.pool_bytes <= budget
        assert tight.device_bytes <= device_budget
        larger = replace_tile(groups, tight)
        assert (
            larger.device_bytes > device_budget or host.pool_bytes - tight.pinned_bytes + larger.pinned_bytes > budget
        )


def replace_tile(groups: list[Group], staging: Staging) -> Staging:
    """The ring with the next larger tile."""
    sized = {(group.computation.program, group.extent) for group in groups}
    return staging_module._staging(sized, 2 * staging.tile_elements, 1)


# What was asked for


def test_the_report_says_where_tensors_were_computed(models: Path) -> None:
    plan = planned(models, LOADS + MERGES["linear"])
    report = merged(plan, overwrite=True, devices=stand_ins())
    lines = "\n".join(summary(plan, report))
    assert "9 tensors computed on stand-in" in lines
    assert "device memory" in lines
    assert report_json(plan, report)["device"] == {
        "name": "stand-in",
        "tensors": 9,
        "pool_bytes": report.device.pool_bytes,
        "budget_bytes": report.device.budget_bytes,
        "measured_bytes": report.device.pool_bytes,
    }


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("wanted", ["cuda", "cuda:0", "cuda:3", "cuda:all"])
def test_a_device_that_is_not_there_is_refused(wanted: str) -> None:
    with pytest.raises(RecipeError, match="There is no CUDA device here") as caught:
        devices_for(wanted)
    assert "--device cpu" in caught.value.problems[0].fix


def test_auto_is_the_processor() -> None:
    assert devices_for("auto") is None
    assert devices_for("cpu") is None
