"""Shards that several workers make, put together, are the output of one run; and nothing else is put together."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mergegraph.errors import InputError, Interrupted, OutputError, RunError
from mergegraph.execute.adopting import adopt, kind_of_attempts, missing_shards, standings
from mergegraph.execute.identity import shard_key
from mergegraph.execute.running import DEFAULTS, Options
from mergegraph.execute.sharing import gather, make_part, part_of
from mergegraph.plan.plan import Plan
from mergegraph.plan.shards import shards_of
from mergegraph.plan.share import Share
from tests.execute.merging import merged, planned, stopped_after, tree
from tests.tiny_models import llama_tensors, write_model

RECIPES = {
    # every tensor by itself
    "soup": "m: 0.25*base + 0.5*code + 0.25*chat",
    # a threshold of each tensor, found in its own passes
    "ties": "d: {op: ties, inputs: [code, chat], base: base, density: 0.4}\nm: {op: sum, inputs: [base, d]}",
    # thresholds of whole models, which every worker must find alike
    "ties, model-wide": "d: {op: ties, inputs: [code, chat], base: base, density: 0.4, scope: model}\n"
    "m: {op: sum, inputs: [base, d]}",
    # random numbers, which belong to the tensor and not to who computes it
    "dare": "d: {op: dare, input: code, base: base, density: 0.7}\nm: {op: sum, inputs: [base, d]}",
}
LOADS = "".join(f"{name}: {{op: load, model: ./{name}}}\n" for name in ("base", "code", "chat"))
SAVE = "\nout: {op: save, input: m, path: out, max_shard_size: 20KB}"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    base = llama_tensors(4, 32, 64, dtype=torch.bfloat16)
    for seed, name in enumerate(("base", "code", "chat")):
        tensors = base if not seed else llama_tensors(seed=seed, noise_of=base, scale=0.3, dtype=torch.bfloat16)
        write_model(folder / name, tensors, config={"model_type": "llama"}, shards=1 + seed)
    return folder


def plan_of(models: Path, out: Path, recipe: str = "soup") -> Plan:
    return planned(models, LOADS + RECIPES[recipe] + SAVE, output=str(out))


def make(plan: Plan, number: int, count: int, **options: object) -> None:
    chosen = Share(number, count).of(shards_of(plan))
    make_part(part_of(plan, chosen, told={"part": f"{number}/{count}"}), Options(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("recipe", RECIPES)
def test_parts_put_together_are_the_output_of_one_run(models: Path, tmp_path: Path, recipe: str, count: int) -> None:
    whole = plan_of(models, tmp_path / "whole", recipe)
    merged(whole)
    plan = plan_of(models, tmp_path / "out", recipe)
    assert len(shards_of(plan)) > count
    for number in range(count, 0, -1):
        make(plan, number, count)
    assert adopt(plan) == ()
    assert merged(plan).computed == 0
    expected, made = tree(tmp_path / "whole"), tree(tmp_path / "out")
    # The card has the path of the output as its name where the recipe has none; this recipe has one.
    assert made == expected
    assert not (tmp_path / "out.partial").exists()


def test_statistics_of_models_that_are_found_in_advance_give_the_same_bytes(models: Path, tmp_path: Path) -> None:
    merged(plan_of(models, tmp_path / "whole", "ties, model-wide"))
    plan = plan_of(models, tmp_path / "out", "ties, model-wide")
    found = gather(plan)
    assert len(found) == len(plan.gatherings) == 2
    for shard in shards_of(plan):
        report = make_part(part_of(plan, [shard], populations=found))
        assert report.read_bytes >= report.write_bytes
    adopt(plan)
    merged(plan)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_a_part_that_was_stopped_goes_on_with_the_shards_that_are_left(models: Path, tmp_path: Path) -> None:
    plan = plan_of(models, tmp_path / "out")
    whole = replace(plan, projection=replace(plan.projection, workers=1, tile_elements=65_536))
    with pytest.raises(Interrupted, match=f"of {len(shards_of(plan))} shards"):
        make(whole, 1, 1, executor=stopped_after(9, signal.SIGTERM))
    left = sorted(path.name for path in (tmp_path / "out.partial" / "attempts").iterdir())
    assert len(left) == 2 * sum(name.endswith(".json") for name in left) > 0, "a file and a record each"
    again = make_part(part_of(plan, shards_of(plan)))
    assert len(again.already["out"]) == len(left) // 2
    assert len(again.made["out"]) == len(shards_of(plan)) - len(left) // 2
    adopt(plan)
    merged(plan)


def test_a_part_whose_output_was_finished_meanwhile_says_so(models: Path, tmp_path: Path) -> None:
    plan = plan_of(models, tmp_path / "out")

    def finished_meanwhile(work: Any, control: Any, on_tick: Any) -> None:
        shutil.rmtree(tmp_path / "out.partial")
        DEFAULTS.executor(work, control, on_tick)

    with pytest.raises(OutputError, match="Nobody makes ") as caught:
        make(plan, 1, 1, executor=finished_meanwhile)
    assert "was finished" in (caught.value.problems[0].why or "")
    assert "mergegraph verify" in (caught.value.problems[0].fix or "")
    assert not (tmp_path / "out.partial").exists()


@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_what_lies_in_the_way_of_a_part_is_to_be_moved(models: Path, tmp_path: Path, kind: str) -> None:
    place = tmp_path / "out.partial"
    place.write_text("") if kind == "file" else place.symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="cannot be made") as caught:
        make(plan_of(models, tmp_path / "out"), 1, 1)
    assert "move the file that is in the way" in (caught.value.problems[0].fix or "")


def test_what_is_missing_is_named_and_nothing_is_renamed(models: Path, tmp_path: Path) -> None:
    plan = plan_of(models, tmp_path / "out")
    make(plan, 2, 3)
    before = tree(tmp_path / "out.partial")
    with pytest.raises(OutputError, match="model-00001-of-"):
        adopt(plan)
    assert tree(tmp_path / "out.partial") == before
    assert {shard.file % 3 for shard in missing_shards(standings(plan))} == {0, 2}


def test_a_run_in_one_piece_leaves_shards_alone(models: Path, tmp_path: Path) -> None:
    plan = plan_of(models, tmp_path / "out")
    make(plan, 1, 2)
    before = tree(tmp_path / "out.partial")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="finalize"):
            merged(plan, overwrite=overwrite)
    assert tree(tmp_path / "out.partial") == before


def test_parts_leave_a_run_in_one_piece_alone(models: Path, tmp_path: Path) -> None:
    plan = plan_of(models, tmp_path / "out")
    with pytest.raises(Interrupted):
        merged(plan, executor=stopped_after(9))
    before = tree(tmp_path / "out.partial")
    with pytest.raises(OutputError, match="begun as a whole"):
        make(plan, 1, 2)
    assert tree(tmp_path / "out.partial") == before


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        pytest.param(lambda raw: raw[:-1], "bytes", id="a byte is missing at the end"),
        pytest.param(lambda raw: raw[:-3] + bytes([raw[-3] ^ 1]) + raw[-2:], "checksum", id="one bit of a tensor"),
        pytest.param(lambda raw: raw[:12] + b"?" + raw[13:], "header", id="one byte of the header"),
    ],
)
def test_a_shard_that_is_not_as_it_was_written_is_refused(models: Path, tmp_path: Path, damage, told: str) -> None:
    plan = plan_of(models, tmp_path / "out")
    make(plan, 1, 1)
    attempt = next(path for path in (tmp_path / "out.partial" / "attempts").iterdir() if path.suffix != ".json")
    attempt.write_bytes(damage(attempt.read_bytes()))
    with pytest.raises(OutputError, match=told) as refused:
        adopt(plan)
    assert str(attempt) in str(refused.value)
    assert not (tmp_path / "out.partial" / "journal").exists()
    attempt.unlink()
    make(plan, 1, 1)
    adopt(plan)
    merged(plan)


@pytest.mark.parametrize("renamed", [1, 3, 99])
def test_a_finisher_that_was_killed_between_the_names_and_the_journal_goes_on(
    models: Path, tmp_path: Path, renamed: int
) -> None:
    merged(plan_of(models, tmp_path / "whole"))
    plan = plan_of(models, tmp_path / "out")
    make(plan, 1, 1)
    attempts = sorted(path for path in (tmp_path / "out.partial" / "attempts").iterdir() if path.suffix != ".json")
    for path in attempts[:renamed]:
        path.rename(tmp_path / "out.partial" / path.name.rpartition(".")[0])
    adopt(plan)
    merged(plan)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_shards_of_another_recipe_are_not_used(models: Path, tmp_path: Path) -> None:
    make(plan_of(models, tmp_path / "out", "soup"), 1, 1)
    plan = plan_of(models, tmp_path / "out", "dare")
    with pytest.raises(OutputError, match="another recipe or seed"):
        adopt(plan)


def test_shards_from_an_input_that_changed_since_are_not_used(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    base = llama_tensors(2, 16, 32, dtype=torch.bfloat16)
    for seed, name in enumerate(("base", "code", "chat")):
        tensors = base if not seed else llama_tensors(seed=seed, noise_of=base, scale=0.3, dtype=torch.bfloat16)
        write_model(folder / name, tensors, config={"model_type": "llama"})
    make(plan_of(folder, tmp_path / "out"), 1, 1)
    stored = folder / "code" / "model.safetensors"
    os.utime(stored, ns=(time.time_ns(), time.time_ns() + 5))
    plan = plan_of(folder, tmp_path / "out")
    with pytest.raises(OutputError, match="other inputs"):
        adopt(plan)


def test_an_input_that_changes_while_a_shard_is_made_leaves_no_record(tmp_path: Path) -> None:
    base = llama_tensors(2, 16, 32, dtype=torch.bfloat16)
    for name in ("base", "code", "chat"):
        write_model(tmp_path / name, base, config={"model_type": "llama"})
    plan = plan_of(tmp_path, tmp_path / "out")
    os.utime(tmp_path / "code" / "model.safetensors")
    with pytest.raises((RunError, InputError), match="has changed"):
        make(plan, 1, 1)
    assert not (tmp_path / "out.partial").exists()


def test_machines_that_number_a_shared_disk_differently_agree_on_a_key(models: Path, tmp_path: Path) -> None:
    plan = plan_of(models, tmp_path / "out")
    elsewhere = replace(plan, inputs=tuple([replace(file, identity=_moved(file.identity)) for file in plan.inputs]))
    assert shard_key(plan, plan.outputs[0]) == shard_key(elsewhere, elsewhere.outputs[0])
    grown = replace(plan, inputs=tuple([replace(file, identity=f"{file.identity}1") for file in plan.inputs]))
    assert shard_key(plan, plan.outputs[0]) != shard_key(grown, grown.outputs[0])


def _moved(identity: str) -> str:
    device, inode, *rest = identity.removeprefix("file:").split(",")
    return f"file:{int(device) + 7},{int(inode) + 7},{','.join(rest)}"


def test_processors_of_several_kinds_are_told_of(models: Path, tmp_path: Path) -> None:
    plan = plan_of(models, tmp_path / "out")
    make(plan, 1, 1)
    record = next(iter((tmp_path / "out.partial" / "attempts").glob("*.json")))
    said = json.loads(record.read_bytes())
    said["facts"]["capability"] = "ANOTHER"
    record.write_text(json.dumps(said))
    (warning,) = adopt(plan)
    assert "ANOTHER" in warning.why


def test_of_two_attempts_the_intact_one_is_taken(models: Path, tmp_path: Path) -> None:
    plan = plan_of(models, tmp_path / "out")
    attempts = tmp_path / "out.partial" / "attempts"
    make(plan, 1, 1)
    attempts.rename(tmp_path / "aside")
    make(plan, 1, 1)
    for path in (tmp_path / "aside").iterdir():
        damaged = path.read_bytes() if path.suffix == ".json" else path.read_bytes()[:-1] + b"?"
        (attempts / path.name).write_bytes(damaged)
    adopt(plan)
    merged(plan)


@pytest.mark.parametrize("reads_back", [True, False])
def test_lengths_and_headers_are_compared_whatever_is_believed(models: Path, tmp_path: Path, reads_back: bool) -> None:
    plan = plan_of(models, tmp_path / "out")
    make(plan, 1, 1)
    attempt = next(path for path in (tmp_path / "out.partial" / "attempts").iterdir() if path.suffix != ".json")
    os.truncate(attempt, 100)
    before = tree(tmp_path / "out.partial")
    with pytest.raises(OutputError, match="bytes"):
        adopt(plan, reads_back=reads_back)
    assert tree(tmp_path / "out.partial") == before | {"lock": b""}
    made = make_part(part_of(plan, shards_of(plan)))
    assert len(made.made["out"]) == 1, "what is too short is made again"


RECORDS = [
    (lambda said: b"[" * 200_000, "nested without end"),
    (lambda said: b"{", "cut"),
    (lambda said: json.dumps({**said, "facts": 5}).encode(), "facts are a number"),
    (lambda said: json.dumps({**said, "tensors": [1, 2]}).encode(), "tensors are numbers"),
    (lambda said: json.dumps({**said, "tensors": [{"tensor": "x"}]}).encode(), "no checksum"),
    (lambda said: json.dumps({**said, "key": []}).encode(), "no key"),
    (lambda said: json.dumps({**said, "file": "../../x"}).encode(), "a name that leads out"),
]


@pytest.mark.parametrize(("broken", "reason"), RECORDS, ids=[row[1] for row in RECORDS])
def test_what_is_no_record_is_passed_over(models: Path, tmp_path: Path, broken, reason: str) -> None:
    plan = plan_of(models, tmp_path / "out")
    make(plan, 1, 1)
    record = sorted((tmp_path / "out.partial" / "attempts").glob("*.json"))[0]
    record.write_bytes(broken(json.loads(record.read_bytes())))
    with pytest.raises(OutputError, match=r"1 of .* missing"):
        adopt(plan)
    make(plan, 1, 1)
    adopt(plan)
    merged(plan)


def test_values_that_are_not_finite_are_told_before_anything_is_renamed(tmp_path: Path) -> None:
    base = llama_tensors(2, 16, 32, dtype=torch.bfloat16)
    for name in ("base", "code", "chat"):
        write_model(tmp_path / name, base, config={"model_type": "llama"})
    broken = {name: tensor.clone() for name, tensor in base.items()}
    broken["model.norm.weight"][0] = float("nan")
    write_model(tmp_path / "code", broken, config={"model_type": "llama"})
    plan = plan_of(tmp_path, tmp_path / "out")
    make(plan, 1, 1, allow_non_finite=True)
    with pytest.raises(RunError, match="not finite") as refused:
        adopt(plan)
    assert "--allow-non-finite" in str(refused.value)
    assert not (tmp_path / "out.partial" / "journal").exists()
    adopt(plan, allow_non_finite=True)
    merged(plan, allow_non_finite=True)


def test_what_killed_workers_left_is_deleted_once_nobody_has_touched_it_for_minutes(
    models: Path, tmp_path: Path
) -> None:
    plan = plan_of(models, tmp_path / "out")
    attempts = tmp_path / "out.partial" / "attempts"
    attempts.mkdir(parents=True)
    old, new, held = (attempts / f"model-00001-of-00009.safetensors.{name}" for name in ("old", "new", "held"))
    for path in (old, new, held):
        path.write_bytes(b"half")
    for path in (old, held):
        os.utime(path, (time.time() - 700, time.time() - 700))
    with held.open("rb") as by_a_worker:
        fcntl.flock(by_a_worker, fcntl.LOCK_EX)
        make(plan, 1, 2)
    assert [path.exists() for path in (old, new, held)] == [False, True, True]


def test_shards_of_two_kinds_of_device_are_not_put_together(models: Path, tmp_path: Path) -> None:
    plan = plan_of(models, tmp_path / "out")
    make(plan, 1, 1)
    assert kind_of_attempts(plan) == "cpu"
    record = sorted((tmp_path / "out.partial" / "attempts").glob("*.json"))[0]
    record.write_text(record.read_text().replace(" on cpu", " on cuda (sm_90)"))
    with pytest.raises(OutputError, match="several kinds of device"):
        kind_of_attempts(plan)


def test_two_attempts_at_one_shard_are_as_good_as_one(models: Path, tmp_path: Path) -> None:
    """Of a worker that was thought dead and went on."""
    merged(plan_of(models, tmp_path / "whole"))
    plan = plan_of(models, tmp_path / "out")
    attempts = tmp_path / "out.partial" / "attempts"
    make(plan, 1, 1)
    aside = tmp_path / "aside"
    attempts.rename(aside)
    make(plan, 1, 1)
    for path in aside.iterdir():
        path.rename(attempts / path.name)
    (attempts / "model-00001-of-00009.safetensors.0123").write_bytes(b"half an attempt")
    adopt(plan)
    merged(plan)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_an_output_that_is_complete_is_made_anew_where_that_is_asked_for(models: Path, tmp_path: Path) -> None:
    plan = plan_of(models, tmp_path / "out")
    merged(plan)
    before = (tmp_path / "out" / "model.safetensors.index.json").stat().st_ino
    make(plan, 1, 1)
    (warning,) = adopt(plan)
    assert "rm -r" in warning.fix
    assert adopt(plan, overwrite=True) == ()
    assert merged(plan, overwrite=True).computed == 0
    assert (tmp_path / "out" / "model.safetensors.index.json").stat().st_ino != before
    assert not (tmp_path / "out.partial").exists()


def test_the_parts_to_run_are_counted_over_all_outputs_as_the_others_were(models: Path, tmp_path: Path) -> None:
    saves = "".join(
        f"\n{name}: {{op: save, input: m, path: {tmp_path / name}, max_shard_size: {size}}}"
        for name, size in (("first", "20KB"), ("second", "40KB"))
    )
    plan = planned(models, LOADS + RECIPES["soup"] + saves)
    count = len(shards_of(plan))
    for number in range(1, count):
        make(plan, number, count)
    with pytest.raises(OutputError, match=f"--shards {count}/{count}") as refused:
        adopt(plan)
    assert str(refused.value).count("--shards") == 1
    make(plan, count, count)
    adopt(plan)
    merged(plan)
