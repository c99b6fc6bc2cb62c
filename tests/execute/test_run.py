"""A run gives a complete folder or none: what is reported, refused, kept, resumed and published."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from safetensors.torch import load_file

from mergegraph.dtypes import BY_CODE
from mergegraph.errors import DoesNotFit, Interrupted, MergegraphError, OutputError, RunError
from mergegraph.execute import control as control_module
from mergegraph.execute import events
from mergegraph.execute import running as running_module
from mergegraph.execute import work as work_module
from mergegraph.execute.arena import new_storage
from mergegraph.execute.control import Control
from mergegraph.execute.events import Failed, OutputDone, Progress, Publisher, Started, TensorDone
from mergegraph.execute.executors import Executor
from mergegraph.execute.executors.for_loop import for_loop
from mergegraph.execute.executors.threads import threads
from mergegraph.execute.run import Options, run
from mergegraph.execute.work import Work
from mergegraph.plan.memory import TEXT_BYTES
from mergegraph.plan.plan import Plan
from mergegraph.tensors.checksum import bytes_per_block, file_checksum
from mergegraph.tensors.header import parse_header
from mergegraph.tensors.writer import OutputFolder
from tests.execute.merging import after_tiles, merged, planned, stopped_after, tiled, tree
from tests.tiny_models import llama_tensors, write_model

EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"
NORM = "model.norm.weight"
LOADS = """
base: {op: load, model: base}
code: {op: load, model: code}
"""
BLEND = LOADS + "m: base + 0.5*(code - base) + 0.1*(code - base)\nout: {op: save, input: m, path: out}"
CONFIG = {"model_type": "llama", "hidden_size": 8, "torch_dtype": "float32"}

Change = Callable[[dict[str, torch.Tensor]], object]


def pair(folder: Path, change: Change = lambda code: None, *, vocab: int = 16, hidden: int = 8) -> Path:
    """A base and its fine-tune `code`, after `change`."""
    base = llama_tensors(vocab=vocab, hidden=hidden)
    code = llama_tensors(noise_of=base, seed=1)
    change(code)
    write_model(folder / "base", base, config=CONFIG)
    write_model(folder / "code", code, config=CONFIG)
    (folder / "base" / "tokenizer_config.json").write_text("{}")
    return folder


def large_pair(folder: Path) -> Path:
    """Embedding and head take four tiles each."""
    return pair(folder, vocab=26_003)


def poisoned(tensor: str, *values: float) -> Change:
    """Puts `values` into the first elements of a tensor."""

    def change(code: dict[str, torch.Tensor]) -> None:
        code[tensor].view(-1)[: len(values)] = torch.tensor(values)

    return change


def nothing_at(folder: Path) -> bool:
    return not any(path.name.startswith("out") for path in folder.iterdir())


# What comes out


def test_the_output_is_the_merge_and_a_report_says_what_was_done(tmp_path: Path) -> None:
    plan = planned(pair(tmp_path), BLEND)
    report = merged(plan)
    base, code = (load_file(tmp_path / name / "model.safetensors") for name in ("base", "code"))
    output = load_file(tmp_path / "out" / "model.safetensors")
    assert output.keys() == base.keys()
    for name, tensor in output.items():
        torch.testing.assert_close(tensor, base[name] + 0.6 * (code[name] - base[name]), rtol=1e-6, atol=1e-7)
    stored = sum(tensor.nbytes for tensor in base.values())
    assert (report.tensors, report.resumed, report.already_done) == (len(base), 0, ())
    assert report.outputs == {"out": str(tmp_path / "out")}
    assert (report.read_bytes, report.write_bytes) == (2 * stored, stored)
    assert (report.budget_bytes, report.pool_bytes) == (plan.projection.budget_bytes, plan.projection.pool_bytes)
    assert 0 < report.reserved_bytes <= report.measured_bytes
    assert report.seconds > 0
    assert report.node_seconds.keys() == {"base", "code", "m", "out"}
    assert (report.nonfinite, report.overflowed, report.warnings) == ({}, {}, ())


def test_the_folder_holds_what_other_tools_expect(tmp_path: Path) -> None:
    merged(planned(pair(tmp_path), BLEND.replace("path: out", "path: out, dtype: bf16, max_shard_size: 1KB")))
    out = tmp_path / "out"
    index = json.loads((out / "model.safetensors.index.json").read_text())
    shards = {name: load_file(out / name) for name in set(index["weight_map"].values())}
    assert len(shards) > 1
    assert {name: file for file, held in shards.items() for name in held} == index["weight_map"]
    assert json.loads((out / "config.json").read_text()) == {**CONFIG, "torch_dtype": "bfloat16"}
    assert set(tree(out)) == {
        *shards, "model.safetensors.index.json", "config.json", "tokenizer_config.json", "README.md", "mergegraph.json",
    }  # fmt: skip
    assert (out / "mergegraph.run.json").is_file()


def test_the_model_card_says_what_it_is_made_of(tmp_path: Path) -> None:
    merged(planned(pair(tmp_path), BLEND))
    _, matter, card = (tmp_path / "out" / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(matter) == {"library_name": "transformers", "tags": ["merge", "mergegraph"]}
    recipe = yaml.safe_load(card.split("```yaml\n")[1].split("```")[0])
    assert recipe["nodes"]["m"] == "base + 0.5*(code - base) + 0.1*(code - base)"


def test_the_recorded_checksums_are_those_of_the_file(tmp_path: Path) -> None:
    merged(planned(large_pair(tmp_path), BLEND))
    recorded = json.loads((tmp_path / "out" / "mergegraph.json").read_text())["tensors"]
    path = tmp_path / "out" / "model.safetensors"
    with path.open("rb") as file:
        for name, tensor in parse_header(str(path)).tensors.items():
            block = bytes_per_block(BY_CODE[tensor.dtype.code])
            checksum = file_checksum(file.fileno(), tensor.offset, tensor.nbytes, block)
            assert recorded.pop(name) == {"xxh3_128": checksum}
    assert not recorded


def test_two_runs_give_byte_identical_folders(tmp_path: Path) -> None:
    pair(tmp_path)
    for output in ("out-1", "out-2"):
        merged(planned(tmp_path, BLEND, output=output))
    assert tree(tmp_path / "out-1") == tree(tmp_path / "out-2")


def test_the_caller_s_thread_count_is_restored(tmp_path: Path) -> None:
    plan, before = planned(pair(tmp_path), BLEND), torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        merged(plan)
        assert torch.get_num_threads() == 3
        with pytest.raises(Interrupted):
            merged(planned(tmp_path, BLEND, output="other"), executor=stopped_after(1))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


# Numbers that do not fit


def test_a_nan_in_an_input_is_an_error_that_names_it_and_leaves_nothing(tmp_path: Path) -> None:
    plan = planned(pair(tmp_path, poisoned(EMBEDDING, math.nan, math.inf, -math.inf)), BLEND)
    with pytest.raises(RunError) as caught:
        merged(tiled(plan, 1), executor=only_first_error)
    (problem,) = caught.value.problems
    assert caught.value.exit_code == 1
    assert (problem.tensor, problem.node) == (EMBEDDING, "m")
    assert problem.why == '"code" holds 1 NaN and 2 Inf'
    assert "--allow-non-finite" in problem.fix
    assert nothing_at(tmp_path)


def only_first_error(work: Work, control: Control, tick: Callable[[], None]) -> None:
    """The threads, starting with the tensor that is wrong: nothing is done before it."""
    unfinished = list(work.unfinished())
    unfinished.sort(key=lambda each: all(work.tensor(place).name != EMBEDDING for place in each[0]))
    work.unfinished = lambda: iter(unfinished)  # type: ignore[method-assign]
    threads(work, control, tick)


def test_what_was_done_before_an_error_is_kept_for_the_next_run(tmp_path: Path) -> None:
    plan = planned(pair(tmp_path, poisoned(NORM, math.nan)), BLEND)
    with pytest.raises(RunError):
        merged(tiled(plan, 1))
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "out.partial").is_dir()
    report = merged(plan, allow_non_finite=True)
    assert report.resumed > 0
    assert report.nonfinite == {NORM: 1}


def test_a_float64_too_large_for_float32_is_not_counted_as_inf(tmp_path: Path) -> None:
    write_model(tmp_path / "base", {"w": torch.tensor([1e300, 1.0, 2.0], dtype=torch.float64)})
    write_model(tmp_path / "code", {"w": torch.tensor([1e300, math.nan, 2.0], dtype=torch.float64)})
    with pytest.raises(RunError) as caught:
        merged(planned(tmp_path, BLEND))
    assert caught.value.problems[0].why.split("\n")[0] == '"code" holds 1 NaN and 0 Inf'


def test_an_inf_that_the_merge_makes_is_blamed_on_its_node(tmp_path: Path) -> None:
    pair(tmp_path)
    for name in ("base", "code"):
        path = tmp_path / name / "model.safetensors"
        write_model(path.parent, {**load_file(path), NORM: torch.full((8,), 3e38)})
    nodes = LOADS + "m: {op: soup, inputs: [base, code], normalize: false}\nout: {op: save, input: m, path: out}"
    with pytest.raises(RunError) as caught:
        merged(planned(tmp_path, nodes))
    made = 'its inputs are finite: node "m" made them, 8 in one tile'
    assert caught.value.problems[0].why.split("\n")[0] == made
    assert 'use smaller numbers in node "m"' in caught.value.problems[0].fix


def test_allow_non_finite_goes_on_and_counts(tmp_path: Path) -> None:
    plan = planned(pair(tmp_path, poisoned(EMBEDDING, math.nan, math.inf, -math.inf)), BLEND)
    report = merged(plan, allow_non_finite=True)
    assert report.nonfinite == {EMBEDDING: 3}
    recorded = json.loads((tmp_path / "out" / "mergegraph.json").read_text())["tensors"]
    assert [name for name, facts in recorded.items() if "nonfinite" in facts] == [EMBEDDING]
    assert recorded[EMBEDDING]["nonfinite"] == 3


def test_a_nan_in_a_copied_tensor_passes_unchanged(tmp_path: Path) -> None:
    pair(tmp_path, poisoned(NORM, math.nan))
    select = "m: {op: select, cases: [{match: model.norm.weight, from: code}], otherwise: base}"
    merged(planned(tmp_path, f"{LOADS}{select}\nout: {{op: save, input: m, path: out}}"))
    code, out = (load_file(tmp_path / name / "model.safetensors")[NORM] for name in ("code", "out"))
    assert out.view(torch.int32).equal(code.view(torch.int32))


def test_huge_numbers_whose_probe_overflows_are_finite(tmp_path: Path) -> None:
    """A tile's sum is looked at first; where only the sum overflows, nothing is wrong."""
    pair(tmp_path)
    for name in ("base", "code"):
        path = tmp_path / name / "model.safetensors"
        write_model(path.parent, {**load_file(path), NORM: torch.full((8,), 3e38)})
    report = merged(planned(tmp_path, BLEND))
    assert report.nonfinite == {}


SAVES = LOADS + "m: 0.5*base + 0.5*code\n"


@pytest.mark.parametrize(
    ("dtype", "held", "overflowed", "stored"),
    [
        ("float16", [65_504.0, 65_519.0, 65_521.0, -1e6], 2, [65_504.0, 65_504.0, math.inf, -math.inf]),
        ("float8_e4m3fn", [448.0, 449.0, 1e6, -500.0], 3, [448.0, 448.0, 448.0, -448.0]),
        ("float8_e5m2", [57_344.0, 1e6, -1e6, 1.0], 2, [57_344.0, 57_344.0, -57_344.0, 1.0]),
        ("bfloat16", [65_504.0, 1e6, -1e30, 1.0], 0, None),
        ("bfloat16", [3.385e38, 3.3961e38, 3.3962e38, -3.4e38], 2, None),  # the last that is rounded down
        ("bfloat16", [1e38, 2e38, 3e38, 3.38e38], 0, None),  # only the sum overflows
    ],
)
def test_overflow_of_the_output_dtype_is_counted(
    dtype: str, held: list[float], overflowed: int, stored: list[float] | None, tmp_path: Path
) -> None:
    pair(tmp_path)
    for name in ("base", "code"):
        path = tmp_path / name / "model.safetensors"
        write_model(path.parent, {**load_file(path), NORM: torch.tensor(held * 2)})
    report = merged(planned(tmp_path, f"{SAVES}out: {{op: save, input: m, path: out, dtype: {dtype}}}"))
    assert report.overflowed == ({NORM: 2 * overflowed} if overflowed else {})
    assert report.nonfinite == {}
    if stored is not None:
        assert load_file(tmp_path / "out" / "model.safetensors")[NORM].double().tolist() == stored * 2


def test_overflow_from_float64_is_counted(tmp_path: Path) -> None:
    for name in ("base", "code"):
        write_model(tmp_path / name, {"w": torch.tensor([1e300, 1.0], dtype=torch.float64)})
    for dtype in ("float32", "bfloat16"):
        nodes = f"{SAVES}out: {{op: save, input: m, path: {dtype}, dtype: {dtype}}}"
        assert merged(planned(tmp_path, nodes)).overflowed == {"w": 1}


def test_a_nan_beside_a_large_number_does_not_keep_it_from_saturating(tmp_path: Path) -> None:
    """Else the stored bytes would depend on which tile the NaN falls in."""
    for name in ("base", "code"):
        write_model(tmp_path / name, {"w": torch.tensor([math.nan, 1e6, math.inf])})
    nodes = f"{SAVES}out: {{op: save, input: m, path: out, dtype: float8_e4m3fn}}"
    report = merged(planned(tmp_path, nodes), allow_non_finite=True)
    assert (report.nonfinite, report.overflowed) == ({"w": 2}, {"w": 1})
    assert load_file(tmp_path / "out" / "model.safetensors")["w"].float()[1].item() == 448


def test_overflow_in_one_save_is_not_said_of_another(tmp_path: Path) -> None:
    pair(tmp_path)
    for name in ("base", "code"):
        path = tmp_path / name / "model.safetensors"
        write_model(path.parent, {**load_file(path), NORM: torch.full((8,), 1e6)})
    saves = "x: {op: save, input: m, path: x, dtype: float16}\ny: {op: save, input: m, path: y}"
    assert merged(planned(tmp_path, SAVES + saves)).overflowed == {NORM: 8}
    recorded = [json.loads((tmp_path / name / "mergegraph.json").read_text())["tensors"][NORM] for name in "xy"]
    assert recorded[0]["overflowed"] == 8
    assert "overflowed" not in recorded[1]


# Tensors that are not computed on


def test_integers_that_differ_warn_once_or_are_an_error(tmp_path: Path) -> None:
    for name, first in (("base", 2), ("code", 3)):
        integers = {n: torch.tensor([first, 5]) for n in ("position_ids", "num_batches_tracked")}
        write_model(tmp_path / name, {"w": torch.ones(4), **integers})
    nodes = f"{SAVES}out: {{op: save, input: m, path: out}}"
    with pytest.raises(RunError, match="2 tensors of integers or masks differ"):
        merged(planned(tmp_path, nodes), strict_integers=True)
    assert nothing_at(tmp_path)
    (warning,) = merged(planned(tmp_path, nodes)).warnings
    assert (warning.severity, warning.tensor) == ("warning", "num_batches_tracked")
    assert load_file(tmp_path / "out" / "model.safetensors")["position_ids"].tolist() == [2, 5]


def test_integers_that_differ_across_a_delta_warn_once_or_are_an_error(tmp_path: Path) -> None:
    for name, first in (("base", 2), ("code", 3)):
        write_model(tmp_path / name, {"w": torch.ones(4), "position_ids": torch.tensor([first, 5])})
    loads = "base: {op: load, model: base}\ncode: {op: load, model: code}\n"
    nodes = f"{loads}x: base + 0.3*(code - base)\nout: {{op: save, input: x, path: out}}"
    with pytest.raises(RunError, match="1 tensor of integers or masks differs"):
        merged(planned(tmp_path, nodes), strict_integers=True)
    (warning,) = merged(planned(tmp_path, nodes)).warnings
    assert (warning.node, warning.tensor) == ("x", "position_ids")
    assert load_file(tmp_path / "out" / "model.safetensors")["position_ids"].tolist() == [2, 5]


def test_equal_integers_are_silent_even_when_strict(tmp_path: Path) -> None:
    for name in ("base", "code"):
        write_model(tmp_path / name, {"w": torch.ones(4), "position_ids": torch.arange(300_000)})
    assert (
        merged(planned(tmp_path, f"{SAVES}out: {{op: save, input: m, path: out}}"), strict_integers=True).warnings == ()
    )


# Outputs that exist


def test_an_existing_output_is_refused_and_left_alone(tmp_path: Path) -> None:
    merged(planned(pair(tmp_path), BLEND))
    before = tree(tmp_path / "out")
    other = planned(tmp_path, BLEND.replace("0.5", "0.4"))
    with pytest.raises(OutputError, match="--overwrite") as caught:
        merged(other)
    assert caught.value.exit_code == 2
    assert tree(tmp_path / "out") == before
    merged(other, overwrite=True)
    assert tree(tmp_path / "out") != before
    assert not (tmp_path / "out.partial").exists()


def test_the_same_result_counts_as_done(tmp_path: Path) -> None:
    plan = planned(pair(tmp_path), BLEND)
    merged(plan)
    inode = (tmp_path / "out").stat().st_ino
    report = merged(planned(tmp_path, BLEND, budget_bytes=64 << 20))
    assert (report.already_done, report.write_bytes) == (("out",), 0)
    assert (tmp_path / "out").stat().st_ino == inode


def test_only_the_save_that_is_missing_is_made(tmp_path: Path) -> None:
    pair(tmp_path)
    saves = "x: {op: save, input: m, path: out-x}\ny: {op: save, input: m, path: out-y, dtype: bf16}"
    merged(planned(tmp_path, SAVES + saves.splitlines()[0]))
    report = merged(planned(tmp_path, SAVES + saves))
    assert report.already_done == ("x",)
    assert (tmp_path / "out-y" / "model.safetensors").is_file()


# Stopping and going on


def reference_tree(folder: Path) -> dict[str, bytes]:
    """What an uninterrupted run of `BLEND` gives."""
    merged(planned(folder, BLEND, output="reference"))
    return tree(folder / "reference")


@pytest.mark.parametrize("tiles", [1, 3, 6, 11])  # in the middle of the first tensor, behind it, in and behind another
def test_an_interrupted_run_goes_on_where_it_stopped(tiles: int, tmp_path: Path) -> None:
    reference = reference_tree(large_pair(tmp_path))
    plan = tiled(planned(tmp_path, BLEND), 1)
    with pytest.raises(Interrupted) as caught:
        merged(plan, executor=stopped_after(tiles))
    (problem,) = caught.value.problems
    assert not (tmp_path / "out").exists()
    kept = len(json_lines(tmp_path / "out.partial" / "journal")) - 1 if (tmp_path / "out.partial").exists() else 0
    assert f"{kept} of {len(plan.outputs[0].tensors)} tensors are on disk" in problem.fact
    assert problem.fix == ("run the same command again to go on" if kept else "run the same command again")
    report = merged(plan)
    assert report.resumed == kept
    assert tree(tmp_path / "out") == reference
    assert not (tmp_path / "out.partial").exists()


def json_lines(journal: Path) -> list[str]:
    """The journal's records about tensors, and its header."""
    lines = journal.read_text().rstrip("\0").splitlines()
    return [line for line in lines if '"boot"' not in line]


def test_a_tick_may_stop_the_run(tmp_path: Path) -> None:
    pair(tmp_path)
    control, ticks = Control(), list[int]()

    def tick() -> None:
        ticks.append(1)
        if len(ticks) == 4:
            control.stop(signal.SIGTERM)

    options = Options(sync=False, executor=for_loop, on_tick=tick)
    with pytest.raises(Interrupted) as caught:
        run(planned(tmp_path, BLEND), options, control=control)
    assert caught.value.exit_code == 75
    assert "SIGTERM" in caught.value.problems[0].fact
    assert merged(planned(tmp_path, BLEND)).resumed == 4


@pytest.mark.parametrize(("signum", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_signals_stop_the_run_and_their_handlers_are_put_back(
    signum: signal.Signals, exit_code: int, tmp_path: Path
) -> None:
    before = signal.getsignal(signum)
    sent = after_tiles(2, lambda _: os.kill(os.getpid(), signum))
    with pytest.raises(Interrupted) as caught:
        merged(tiled(planned(large_pair(tmp_path), BLEND), 1), executor=held_after(sent))
    assert caught.value.exit_code == exit_code
    assert signal.getsignal(signum) is before


def held_after(executor: Executor) -> Executor:
    """Workers wait for the stop that the signal asks for, so that the run cannot end before it."""

    def executing(work: Work, control: Control, tick: Callable[[], None]) -> None:
        perform = work.perform

        def held(task: object, arena: object) -> None:
            perform(task, arena)  # type: ignore[arg-type]
            if len(performed) >= 2:
                control._stop.wait(30)
            performed.append(task)

        performed = list[object]()
        work.perform = held  # type: ignore[method-assign,assignment]
        executor(work, control, tick)

    return executing


CHILD = """
import sys, time
from pathlib import Path
from mergegraph.errors import MergegraphError
from mergegraph.execute.run import Options, run
from tests.execute.merging import after_tiles, planned, tiled

def hold(control):
    print("holding", flush=True)
    while not control.stopping:
        time.sleep(0.01)

plan = tiled(planned(Path(sys.argv[1]), sys.argv[2]), 2)
try:
    run(plan, Options(sync=False, executor=after_tiles(9, hold)))
except MergegraphError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def test_ctrl_c_keeps_the_partial_output_and_says_how_to_go_on(tmp_path: Path) -> None:
    reference = reference_tree(large_pair(tmp_path))
    root = Path(__file__).resolve().parents[2]
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(tmp_path), BLEND],
        stdout=subprocess.PIPE, text=True, cwd=root, env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "holding\n"
        child.send_signal(signal.SIGINT)
        said = child.stdout.read()
    assert child.returncode == 130
    assert "Stopped by Ctrl-C" in said
    assert f"they are kept in {tmp_path / 'out.partial'}" in said
    assert "run the same command again to go on" in said
    assert not (tmp_path / "out").exists()
    report = merged(planned(tmp_path, BLEND))
    assert report.resumed > 0
    assert tree(tmp_path / "out") == reference


def test_a_pause_file_holds_the_workers_until_it_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_module, "_PAUSE_POLL_SECONDS", 0.0)
    pause, publisher, seen = tmp_path / "out.partial" / "pause", Publisher(), list[tuple[str, int]]()

    def tick() -> None:
        if pause.exists():
            seen.append((publisher.progress.state, publisher.progress.bytes_done))
            if len(seen) == 2:
                pause.unlink()

    monkeypatch.setattr(events, "_PUBLISH_SECONDS", 0.0)
    plan = tiled(planned(large_pair(tmp_path), BLEND), 1)
    options = Options(sync=False, executor=after_tiles(2, lambda _: pause.touch()), on_tick=tick)
    run(plan, options, publisher)
    assert seen == [("paused", 2 * 4 * 65_536)] * 2
    assert publisher.progress.state == "done"
    assert (tmp_path / "out").is_dir()


def test_a_paused_run_can_be_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_module, "_PAUSE_POLL_SECONDS", 0.0)
    control, pause = Control(), tmp_path / "out.partial" / "pause"

    def tick() -> None:
        if pause.exists():
            control.stop()

    options = Options(sync=False, executor=after_tiles(1, lambda _: pause.touch()), on_tick=tick)
    with pytest.raises(Interrupted):
        run(tiled(planned(large_pair(tmp_path), BLEND), 2), options, control=control)


# Several outputs


TWO = SAVES + "n: base + 2*(code - base)\nx: {op: save, input: m, path: out-x}\ny: {op: save, input: n, path: out-y}"


def test_nothing_is_published_when_a_later_output_cannot_be_computed(tmp_path: Path) -> None:
    pair(tmp_path)
    path = tmp_path / "late"
    write_model(path, {**load_file(tmp_path / "base" / "model.safetensors"), NORM: torch.full((8,), math.nan)})
    nodes = TWO.replace("n: base", "late: {op: load, model: late}\nn: late")
    with pytest.raises(RunError):
        merged(planned(tmp_path, nodes))
    assert not (tmp_path / "out-x").exists()
    assert not (tmp_path / "out-y").exists()


def test_nothing_is_published_before_every_output_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, finalize, seen = planned(pair(tmp_path), TWO), OutputFolder.finalize, list[bool]()

    def failing(folder: OutputFolder) -> None:
        seen.append((tmp_path / "out-x").exists())
        if folder.path.name == "out-y":
            raise OSError("the disk went away")
        finalize(folder)

    with monkeypatch.context() as patched:
        patched.setattr(OutputFolder, "finalize", failing)
        with pytest.raises(OSError, match="went away"):
            merged(plan)
    assert seen == [False, False]
    assert not (tmp_path / "out-x").exists()
    report = merged(plan)
    assert report.resumed == report.tensors
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("out")) == ["out-x", "out-y"]


# What the run tells


class Recording(Publisher):
    """Keeps every record."""

    def update(self, progress: Progress) -> None:
        super().update(progress)
        seen.append(self.progress)


seen: list[Progress] = []


def test_progress_counts_bytes_upwards_to_the_total(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_PUBLISH_SECONDS", 0.0)
    seen.clear()
    plan, publisher = tiled(planned(large_pair(tmp_path), BLEND), 2), Recording()
    run(plan, Options(sync=False), publisher)
    counted = [progress.bytes_done for progress in seen]
    assert counted == sorted(counted)
    assert (
        len(set(counted)) == 1 + sum(len(group.members) for group in plan.groups) + 2 * 3
    )  # two tensors of four tiles
    assert counted[0] == 0
    assert [progress.seconds for progress in seen] == sorted(progress.seconds for progress in seen)
    last = publisher.progress
    assert (last.state, last.bytes_done, last.tensors_done) == ("done", plan.write_bytes, len(plan.outputs[0].tensors))
    assert (last.bytes_total, last.tensors_total) == (last.bytes_done, last.tensors_done)
    assert dict(last.node_seconds).keys() == {"base", "code", "m", "out"}
    assert last.peak_bytes <= last.budget_bytes


def test_a_resumed_run_starts_its_progress_behind_what_is_on_disk(tmp_path: Path) -> None:
    plan = tiled(planned(large_pair(tmp_path), BLEND), 1)
    with pytest.raises(Interrupted):
        merged(plan, executor=stopped_after(6))
    seen.clear()
    report = run(plan, Options(sync=False), Recording())
    assert (seen[0].tensors_done, seen[0].tensors_total) == (report.resumed, report.tensors)
    assert 0 < seen[0].bytes_done < plan.write_bytes
    assert seen[-1].bytes_done == plan.write_bytes


def test_events_tell_of_every_tensor_and_output(tmp_path: Path) -> None:
    publisher, plan = Publisher(), planned(pair(tmp_path), TWO)
    run(plan, Options(sync=False), publisher)
    first, *between, x, y = publisher.events
    assert first == Started(plan, 0)
    names = {(output.node, tensor.name) for output in plan.outputs for tensor in output.tensors}
    assert {(event.output, event.tensor) for event in between if isinstance(event, TensorDone)} == names
    assert [x, y] == [OutputDone("x", str(tmp_path / "out-x")), OutputDone("y", str(tmp_path / "out-y"))]


def test_a_failure_is_an_event_with_what_the_user_is_shown(tmp_path: Path) -> None:
    publisher, plan = Publisher(), planned(pair(tmp_path, poisoned(NORM, math.nan)), BLEND)
    with pytest.raises(RunError) as caught:
        run(plan, Options(sync=False), publisher)
    assert publisher.events[-1] == Failed(str(caught.value))
    assert publisher.progress.state == "failed"


def test_progress_json_is_written_at_most_ten_times_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, written = [0.0], list[bytes]()
    monkeypatch.setattr(running_module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(OutputFolder, "publish_progress", lambda _, content: written.append(content))

    def ticking(work: Work, control: Control, tick: Callable[[], None]) -> None:
        for _ in range(1_000):
            clock[0] += 0.01
            tick()
        threads(work, control, lambda: None)

    merged(planned(pair(tmp_path), BLEND), executor=ticking)
    assert 90 <= len(written) <= 100  # in ten seconds
    assert json.loads(written[-1])["bytes_total"] > 0


# Memory


def test_the_arenas_are_the_pool_and_fit_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def counted(nbytes: int) -> torch.Tensor:
        storage = new_storage(nbytes)
        made.append(storage.nbytes)
        return storage

    monkeypatch.setattr(work_module, "new_storage", counted)
    large_pair(tmp_path)
    for budget in (3 << 20, 4 << 20, 6 << 20, 1 << 30):
        made.clear()
        plan = planned(tmp_path, BLEND, budget_bytes=budget)
        merged(plan, overwrite=True)
        assert len(made) == plan.projection.workers
        assert sum(made) == plan.projection.pool_bytes - plan.projection.shared_bytes <= budget - TEXT_BYTES


def test_a_budget_below_one_tile_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    plan = planned(pair(tmp_path), BLEND, budget_bytes=1_000)
    with pytest.raises(DoesNotFit) as caught:
        merged(plan)
    assert caught.value.exit_code == 3
    assert caught.value.problems[0].fix.startswith("--budget ")
    assert nothing_at(tmp_path)


def test_an_error_in_a_tick_ends_the_workers_and_keeps_what_is_done(tmp_path: Path) -> None:
    def tick() -> None:
        raise ZeroDivisionError

    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        merged(tiled(planned(large_pair(tmp_path), BLEND), 2), on_tick=tick)
    assert threading.active_count() == before
    assert not (tmp_path / "out").exists()


def test_an_input_that_changed_since_the_plan_is_refused(tmp_path: Path) -> None:
    plan = planned(pair(tmp_path), BLEND)
    path = tmp_path / "code" / "model.safetensors"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(MergegraphError, match="has changed since it was planned"):
        merged(plan)
    assert nothing_at(tmp_path)


def test_a_plan_runs_again_after_it_was_shown(tmp_path: Path) -> None:
    """A plan is a value: looking at it, or replacing its projection, changes no other."""
    plan: Plan = planned(pair(tmp_path), BLEND)
    other = replace(plan, projection=replace(plan.projection, workers=1))
    merged(other)
    assert merged(plan).already_done == ("out",)
