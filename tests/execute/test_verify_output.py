"""A run that reads its output back publishes what it computed or nothing, whatever the system says of its writes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from mergegraph.errors import Interrupted, RunError
from mergegraph.execute import run as run_module
from mergegraph.execute.control import Control
from mergegraph.execute.run import Options, run
from mergegraph.provenance.verify import verify
from mergegraph.tensors.header import parse_header
from mergegraph.tensors.kept import recorded
from tests.execute.merging import after_tiles, merged, planned, tiled, tree
from tests.provenance.outputs import NODES, SHARDED, flip, write_inputs
from tests.tiny_models import llama_tensors, write_model

NORM = "model.norm.weight"
Lie = Callable[[Path, int, int], bool]
"""Of a write: into which file, at which byte, of how many; whether it is only said to be done."""


@contextmanager
def lying(lie: Lie) -> Iterator[list[str]]:
    """The system reports writes as done that it did not do; yields the files they were for."""
    pwrite, lied = os.pwrite, list[str]()

    def written(descriptor: int, content: memoryview, offset: int) -> int:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if lie(path, offset, len(content)):
            lied.append(path.name)
            return len(content)
        return pwrite(descriptor, content, offset)

    os.pwrite = written  # type: ignore[assignment]
    try:
        yield lied
    finally:
        os.pwrite = pwrite


def into(tensor: str) -> Lie:
    """Writes into one tensor."""

    def lie(path: Path, offset: int, nbytes: int) -> bool:
        if ".safetensors" not in path.name or not offset or path.name.endswith(".json"):
            return False
        held = parse_header(str(path)).tensors.get(tensor)
        return held is not None and held.offset <= offset < held.offset + held.nbytes

    return lie


@pytest.fixture(params=[NODES, SHARDED], ids=["one file", "shards"])
def nodes(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_write_that_was_not_done_is_told_and_done_again(nodes: str, tmp_path: Path) -> None:
    plan = planned(write_inputs(tmp_path), nodes)
    merged(plan, verify_output=True)
    expected = tree((tmp_path / "out").rename(tmp_path / "expected"))
    with lying(into(NORM)) as lied, pytest.raises(RunError) as raised:
        merged(plan, verify_output=True)
    assert len(lied) == 1
    assert [problem.tensor for problem in raised.value.problems] == [NORM]
    assert "is not on disk as it was written" in raised.value.problems[0].fact
    assert not (tmp_path / "out").exists()
    assert NORM not in {record["tensor"] for record in recorded(tmp_path / "out.partial")}
    report = merged(plan, verify_output=True)
    assert (report.computed, report.resumed, report.verified) == (1, 11, True)
    assert tree(tmp_path / "out") == expected


def test_a_run_that_does_not_look_publishes_what_the_disk_has(tmp_path: Path) -> None:
    """Which is what --verify-output is for; the record tells afterwards."""
    plan = planned(write_inputs(tmp_path), NODES)
    with lying(into(NORM)):
        merged(plan)
    with pytest.raises(RunError, match=rf"{NORM} is not as it was written"):
        verify(tmp_path / "out")


def test_what_was_taken_back_is_not_believed_by_a_run_that_does_not_look(nodes: str, tmp_path: Path) -> None:
    plan = planned(write_inputs(tmp_path), nodes)
    with lying(into(NORM)), pytest.raises(RunError):
        merged(plan, verify_output=True)
    assert merged(plan).computed == 1
    assert verify(tmp_path / "out").tensors == 12


def test_when_nothing_is_on_disk_nothing_is_kept(tmp_path: Path) -> None:
    plan = planned(write_inputs(tmp_path), NODES)
    with (
        lying(lambda path, offset, nbytes: ".safetensors" in path.name and offset > 0),
        pytest.raises(RunError) as told,
    ):
        merged(plan, verify_output=True)
    assert "4 more tensors" in told.value.problems[-1].fact
    assert not (tmp_path / "out.partial").exists()


@pytest.mark.parametrize("file", ["mergegraph.json", "mergegraph.run.json", "config.json", "mergegraph.intoto.json"])
def test_a_small_file_that_was_not_written_is_told(file: str, tmp_path: Path) -> None:
    plan = planned(write_inputs(tmp_path), NODES)
    with (
        lying(lambda path, offset, nbytes: path.name == f".{file}.tmp"),
        pytest.raises(RunError, match=rf"{file} is not on disk as it was written"),
    ):
        merged(plan, verify_output=True)
    assert not (tmp_path / "out").exists()
    assert merged(plan, verify_output=True).resumed == 12


def test_a_header_that_was_not_written_is_told_and_everything_done_again(tmp_path: Path) -> None:
    plan = planned(write_inputs(tmp_path), NODES)
    with (
        lying(lambda path, offset, nbytes: ".safetensors" in path.name and not offset),
        pytest.raises(RunError) as told,
    ):
        merged(plan, verify_output=True)
    assert "The header of model.safetensors is not on disk" in told.value.problems[0].fact
    assert merged(plan, verify_output=True).computed == 12


def test_one_bad_output_of_two_keeps_both_from_being_published(tmp_path: Path) -> None:
    plan = planned(write_inputs(tmp_path), f"{NODES}\nother: {{op: save, input: code, path: other}}")
    wrong = into(NORM)
    with (
        lying(lambda path, offset, nbytes: path.parent.name == "other.partial" and wrong(path, offset, nbytes)),
        pytest.raises(RunError) as raised,
    ):
        merged(plan, verify_output=True)
    assert [(problem.node, problem.tensor) for problem in raised.value.problems] == [("other", NORM)]
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "other").exists()
    assert merged(plan, verify_output=True).resumed == 23


def test_the_sha256_of_everything_is_recorded_and_only_then(tmp_path: Path) -> None:
    merged(planned(write_inputs(tmp_path), SHARDED, output="plain"))
    merged(planned(tmp_path, SHARDED), verify_output=True)
    record = json.loads((tmp_path / "out" / "mergegraph.json").read_text())
    assert len(record["weights"]) > 1
    for each in (*record["weights"], *record["beside"]):
        content = (tmp_path / "out" / each["file"]).read_bytes()
        assert (each["bytes"], each["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    for each in record["inputs"]:
        content = (tmp_path / each["model"] / each["file"]).read_bytes()
        assert (each["bytes"], each["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    plain = json.loads((tmp_path / "plain" / "mergegraph.json").read_text())
    assert {each["sha256"] for each in (*plain["weights"], *plain["inputs"])} == {"not computed"}
    assert not (tmp_path / "plain" / "mergegraph.intoto.json").exists()
    without = [
        {**each, "weights": [dict(w, sha256="") for w in each["weights"]],
         "inputs": [dict(i, sha256="") for i in each["inputs"]]}
        for each in (plain, record)
    ]  # fmt: skip
    assert without[0] == without[1]


def test_an_output_that_was_complete_before_is_read_back_too(tmp_path: Path) -> None:
    plan = planned(write_inputs(tmp_path), NODES)
    merged(plan)
    report = merged(plan, verify_output=True)
    assert (report.already_done, report.verified) == (("out",), True)
    file = tmp_path / "out" / "model.safetensors"
    flip(file, file.stat().st_size - 1)
    assert merged(plan).already_done == ("out",)
    with pytest.raises(RunError, match="is not as it was written"):
        merged(plan, verify_output=True)


def test_an_input_that_changes_before_it_is_hashed_is_told(tmp_path: Path) -> None:
    file = write_inputs(tmp_path) / "base" / "model.safetensors"
    plan = planned(tmp_path, NODES)
    last = after_tiles(12, lambda control: os.utime(file))
    with pytest.raises(RunError, match=r"base.model\.safetensors has changed since it was planned"):
        merged(plan, verify_output=True, executor=last)
    assert not (tmp_path / "out").exists()


def test_a_signal_ends_the_reading_and_keeps_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, control = planned(write_inputs(tmp_path), NODES), Control()
    confirm = run_module.confirm

    def stopped(*arguments: object) -> object:
        control.stop()
        return confirm(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(run_module, "confirm", stopped)
    with pytest.raises(Interrupted):
        run(plan, Options(sync=False, verify_output=True), control=control)
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    assert merged(plan, verify_output=True).resumed == 12


def test_a_signal_ends_the_reading_of_what_was_complete_before(tmp_path: Path) -> None:
    plan, control = planned(write_inputs(tmp_path), NODES), Control()
    merged(plan)
    ending = Options(sync=False, verify_output=True, on_tick=control.stop)
    with pytest.raises(Interrupted, match="12 of 12 tensors are on disk") as stopped:
        run(plan, ending, control=control)
    assert stopped.value.problems[0].why == f"they are kept in {tmp_path / 'out'}"


# What is recorded does not depend on the run


def record_of(folder: Path) -> bytes:
    return (folder / "mergegraph.json").read_bytes()


@pytest.mark.parametrize("verified", [False, True])
def test_the_record_is_the_same_for_other_threads_places_and_times(verified: bool, tmp_path: Path) -> None:
    here, there = write_inputs(tmp_path / "here"), tmp_path / "there" / "deeper"
    shutil.copytree(here, there)
    for file in there.rglob("*.safetensors"):
        os.utime(file, ns=(1, 1))
    expected = None
    for folder, workers in ((here, 1), (here, 3), (there, 2)):
        merged(tiled(planned(folder, SHARDED, output=f"out-{workers}"), workers), verify_output=verified)
        expected = expected or record_of(folder / f"out-{workers}")
        assert record_of(folder / f"out-{workers}") == expected
    runs = [json.loads((here / f"out-{n}" / "mergegraph.run.json").read_bytes()) for n in (1, 3)]
    runs.append(json.loads((there / "out-2" / "mergegraph.run.json").read_bytes()))
    assert runs[0]["result_id"] == runs[1]["result_id"] != runs[2]["result_id"]


def with_nan(folder: Path) -> Path:
    base = llama_tensors(layers=1)
    code = llama_tensors(noise_of=base, seed=1)
    code[NORM][0] = torch.nan
    for name, tensors in (("base", base), ("code", code)):
        write_model(folder / name, tensors)
    return folder


@pytest.mark.parametrize("tiles", [1, 5, 11])
def test_the_record_is_the_same_after_a_stop(tiles: int, tmp_path: Path) -> None:
    plan = tiled(planned(with_nan(tmp_path), NODES), 1)
    merged(plan, allow_non_finite=True, verify_output=True)
    expected = record_of((tmp_path / "out").rename(tmp_path / "expected"))
    assert b'"nonfinite": 1' in expected
    with pytest.raises(Interrupted):
        merged(plan, allow_non_finite=True, executor=after_tiles(tiles, lambda control: control.stop()))
    assert merged(plan, allow_non_finite=True, verify_output=True).resumed == tiles
    assert record_of(tmp_path / "out") == expected


def test_the_record_is_the_same_after_a_stop_just_before_the_renaming(tmp_path: Path) -> None:
    """The journal is gone then; what it said of tensors, and their bytes, are taken from the record."""
    plan = planned(with_nan(tmp_path), NODES)
    merged(plan, allow_non_finite=True)
    expected = tree((tmp_path / "out").rename(tmp_path / "out.partial"))
    assert merged(plan, allow_non_finite=True).resumed == 12
    assert tree(tmp_path / "out") == expected
    file = (tmp_path / "out").rename(tmp_path / "out.partial") / "model.safetensors"
    flip(file, parse_header(str(file)).tensors[NORM].offset)
    assert merged(plan, allow_non_finite=True).computed == 1
    assert tree(tmp_path / "out") == expected
