"""Nothing of an output changes unnoticed, and what changed is named."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mergegraph.errors import Interrupted, MergegraphError, OutputError, RunError
from mergegraph.provenance.verify import verify
from mergegraph.tensors.header import parse_header
from mergegraph.tensors.kept import recorded
from tests.execute.merging import merged, planned, stopped_after, tiled
from tests.provenance.outputs import NODES, SHARDED, flip, write_inputs


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three outputs: a plain one, one in shards, and one that was read back."""
    folder = tmp_path_factory.mktemp("made")
    merged(planned(write_inputs(folder), NODES, output="plain"))
    merged(planned(folder, SHARDED, output="sharded"))
    merged(planned(folder, SHARDED, output="verified"), verify_output=True)
    return folder


@pytest.fixture(params=["plain", "sharded", "verified"])
def output(request: pytest.FixtureRequest, made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / request.param, tmp_path / request.param))


def wrong(output: Path) -> list[str]:
    """The facts of what is wrong with it."""
    with pytest.raises(RunError) as raised:
        verify(output)
    return [problem.fact for problem in raised.value.problems]


def test_a_finished_output_is_as_it_was_written(output: Path) -> None:
    verified = verify(output)
    assert (verified.is_finished, verified.warnings) == (True, ())
    assert verified.tensors == verified.tensors_expected == 12
    assert set(verified.sha256) == {file.name for file in output.iterdir()} - {
        "mergegraph.run.json",
        "mergegraph.intoto.json",
    }


def test_no_byte_changes_unnoticed(output: Path) -> None:
    """Every file but the record of the run, which says nothing about the others."""
    for file in sorted(output.iterdir()):
        if file.name == "mergegraph.run.json":
            continue
        content = file.read_bytes()
        for offset in {0, len(content) - 1, *range(5, len(content), 211)}:
            flip(file, offset)
            with pytest.raises(MergegraphError):
                verify(output)
        file.write_bytes(content)
    assert verify(output).warnings == ()


def test_a_changed_byte_is_told_with_its_tensor(output: Path) -> None:
    for file in sorted(output.glob("*.safetensors")):
        for name, tensor in parse_header(str(file)).tensors.items():
            for offset in (tensor.offset, tensor.offset + tensor.nbytes - 1):
                flip(file, offset)
                assert wrong(output) == [f"{name} is not as it was written."]
                flip(file, offset)


def first_shard(output: Path) -> Path:
    return min(output.glob("*.safetensors"))


def swapped(output: Path) -> None:
    """Two shards under each other's name."""
    one, other = sorted(output.glob("*.safetensors"))[:2]
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


def grown(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\0")


def edited(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


DAMAGES: list[tuple[str, Callable[[Path], object], str]] = [
    ("a copy that stopped early", lambda out: os.truncate(first_shard(out), 700), "is truncated: it has 700 of"),
    ("an empty file", lambda out: os.truncate(first_shard(out), 0), "is truncated: it has 0 of"),
    ("bytes behind the last tensor", lambda out: grown(first_shard(out)), "has a damaged header"),
    ("a shard is gone", lambda out: first_shard(out).unlink(), "is missing"),
    ("a folder for a shard", lambda out: (first_shard(out).unlink(), first_shard_folder(out)), "cannot be read"),
    ("the config is gone", lambda out: (out / "config.json").unlink(), "config.json is missing"),
    ("the card was edited", lambda out: grown(out / "README.md"), "README.md is not as it was written"),
    ("an edited recipe", lambda out: edited(out / "mergegraph.json", "0.5*", "0.6*"), "mergegraph.json is not as"),
    ("an edited count", lambda out: edited(out / "mergegraph.json", '"seed": 0', '"seed": 1'), "mergegraph.json is"),
    ("a torn record", lambda out: os.truncate(out / "mergegraph.json", 300), "mergegraph.json is not as"),
    ("an unknown key", lambda out: edited(out / "mergegraph.json", '"seed"', '"sead"'), "mergegraph.json is not as"),
    ("a name that leads out", lambda out: edited(out / "mergegraph.json", '"config.json"', '"../config.json"'),
     "mergegraph.json is not as"),
    ("a torn record of the run", lambda out: os.truncate(out / "mergegraph.run.json", 9), "run.json is not as"),
]  # fmt: skip


def first_shard_folder(output: Path) -> None:
    (output / "model.safetensors").mkdir()


@pytest.mark.parametrize(("what", "damage", "told"), DAMAGES, ids=[row[0] for row in DAMAGES])
def test_damage_is_told(what: str, damage: Callable[[Path], object], told: str, made: Path, tmp_path: Path) -> None:
    output = Path(shutil.copytree(made / "plain", tmp_path / "plain"))
    damage(output)
    assert any(told in fact for fact in wrong(output)), what


IN_SHARDS: list[tuple[str, Callable[[Path], object], str]] = [
    ("swapped shards", swapped, "model-00001-of-"),
    ("no index", lambda out: (out / "model.safetensors.index.json").unlink(), "index.json is missing"),
    ("another index", lambda out: edited(out / "model.safetensors.index.json", "00001", "00002"), "it does not"),
    ("no statement", lambda out: (out / "mergegraph.intoto.json").unlink(), "mergegraph.intoto.json cannot be read"),
    (
        "another statement",
        lambda out: edited(out / "mergegraph.intoto.json", "pypi", "pipy"),
        "mergegraph.intoto.json is",
    ),
]


@pytest.mark.parametrize(("what", "damage", "told"), IN_SHARDS, ids=[row[0] for row in IN_SHARDS])
def test_damage_to_shards_and_statement_is_told(
    what: str, damage: Callable[[Path], object], told: str, made: Path, tmp_path: Path
) -> None:
    output = Path(shutil.copytree(made / "verified", tmp_path / "verified"))
    damage(output)
    assert any(told in fact for fact in wrong(output)), what


def test_many_wrong_tensors_are_counted(output: Path) -> None:
    for file in output.glob("*.safetensors"):
        header = parse_header(str(file))
        content = file.read_bytes()[: header.data_offset]
        file.write_bytes(content + b"\1" * (header.file_bytes - header.data_offset))
    facts = wrong(output)
    assert len(facts) == 12
    assert "model.norm.weight is not as it was written." in facts


def test_files_that_no_run_wrote_are_a_warning(output: Path) -> None:
    (output / "model.sig").write_bytes(b"")
    (output / "\x1b[2Jtrap").write_bytes(b"")
    (warning,) = verify(output).warnings
    assert "2 files that no run wrote" in warning.fact
    assert "\x1b" not in str(warning)


def test_a_stray_journal_does_not_make_an_output_unfinished(output: Path) -> None:
    (output / "journal").write_bytes(b"")
    (warning,) = verify(output).warnings
    assert "1 file that no run wrote: journal" in warning.fact
    flip(next(output.glob("*.safetensors")), -1)
    with pytest.raises(RunError, match="is not as it was written"):
        verify(output)


def test_an_output_without_the_record_of_its_run_can_be_verified(output: Path) -> None:
    (output / "mergegraph.run.json").unlink()
    (warning,) = verify(output).warnings
    assert "mergegraph.run.json is missing" in warning.fact


NO_OUTPUTS: list[tuple[str, Callable[[Path], object], str]] = [
    ("nothing", lambda path: None, "There is nothing at"),
    ("a misspelt one", lambda path: path.with_name("outs").mkdir(), "Did you mean .*/outs"),
    ("a file", lambda path: path.write_bytes(b""), "is not an output of mergegraph"),
    ("a model of another tool", lambda path: write_inputs(path), "is not an output of mergegraph"),
    ("only its partial folder", lambda path: path.with_name("out.partial").mkdir(), "is not finished"),
    ("only parts of it", lambda path: (path.with_name("out.partial") / "attempts").mkdir(parents=True),
     r"out is not finished(?s:.*)mergegraph finalize RECIPE"),
    ("a newer format", lambda path: (path.mkdir(), (path / "mergegraph.json").write_text('{"mergegraph": 3}')),
     "in format 3; this version reads format 2"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "write", "told"), NO_OUTPUTS, ids=[row[0] for row in NO_OUTPUTS])
def test_what_is_no_output_is_refused(what: str, write: Callable[[Path], object], told: str, tmp_path: Path) -> None:
    write(tmp_path / "out")
    with pytest.raises(OutputError, match=told) as refused:
        verify(tmp_path / "out")
    assert refused.value.exit_code == 2, what


# Partial folders


@pytest.fixture(params=[NODES, SHARDED], ids=["one file", "shards"])
def stopped(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with pytest.raises(Interrupted):
        merged(tiled(planned(write_inputs(tmp_path), request.param), 1), executor=stopped_after(3))
    return tmp_path / "out.partial"


def test_a_partial_folder_is_verified_as_far_as_it_is_recorded(stopped: Path) -> None:
    verified = verify(stopped)
    assert (verified.is_finished, verified.tensors_expected) == (False, 12)
    assert verified.tensors == len(recorded(stopped)) > 0


def test_a_changed_byte_of_a_partial_folder_is_told_where_it_is_recorded(stopped: Path) -> None:
    written = {str(record["tensor"]) for record in recorded(stopped)}
    seen: set[str] = set()
    for file in [path for path in stopped.iterdir() if ".safetensors" in path.name and not path.name.endswith("json")]:
        for name, tensor in parse_header(str(file)).tensors.items():
            seen.add(name)
            flip(file, tensor.offset)
            if name in written:
                assert wrong(stopped) == [f"{name} is not as it was written."]
            else:
                verify(stopped)
            flip(file, tensor.offset)
    assert written < seen


def test_a_partial_folder_that_lost_a_file_is_told(stopped: Path) -> None:
    lost = str(recorded(stopped)[0]["tensor"])
    for file in [path for path in stopped.iterdir() if ".safetensors" in path.name and not path.name.endswith("json")]:
        if lost in parse_header(str(file)).tensors:
            file.unlink()
    assert f"{lost} is not as it was written." in wrong(stopped)


def test_reading_tells_how_far_it_is(output: Path) -> None:
    told: list[tuple[int, int]] = []
    verified = verify(output, lambda read, total: told.append((read, total)))
    weights = sum(file.stat().st_size for file in output.glob("*.safetensors"))
    assert told[-1] == (weights, verified.read_bytes)
    assert json.loads((output / "mergegraph.json").read_text())["weights"]
