"""`run --shards` and `finalize` as they are typed; options that would be ignored are refused."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import torch

from mergegraph.cli import main
from tests.tiny_models import llama_tensors, write_model

RECIPE = """mergegraph: 1
name: tested
models: {base: ./base, code: ./code}
nodes:
  m: 0.5*base + 0.5*code
  out: {op: save, input: m, path: out, max_shard_size: 2KB}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    base = llama_tensors(dtype=torch.bfloat16)
    write_model(tmp_path / "base", base, config={"model_type": "llama"})
    tuned = llama_tensors(seed=1, noise_of=base, scale=0.3, dtype=torch.bfloat16)
    write_model(tmp_path / "code", tuned, config={"model_type": "llama"})
    (tmp_path / "m.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_parts_and_their_end(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "m.yaml", "--shards", "1/2"]) == 0
    assert "mergegraph finalize" in capsys.readouterr().out
    assert main(["finalize", "m.yaml"]) == 2
    assert "--shards 2/2" in capsys.readouterr().err
    assert main(["run", "m.yaml", "--shards", "2/2", "--json"]) == 0
    assert '"kind": "part done"' in capsys.readouterr().out
    assert main(["finalize", "m.yaml"]) == 0
    assert main(["verify", "out", "-q"]) == 0
    assert main(["finalize", "m.yaml"]) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_what_is_told_to_type_has_the_options_that_make_the_same_output(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = (place / "m.yaml").read_text()
    (place / "m.yaml").write_text(recipe.replace("m: 0.5*base + 0.5*code", "m: {op: soup, inputs: [base, code]}"))
    same = ["m.yaml", "-o", "other place", "--set", "out.max_shard_size=3KB", "--allow-unrelated"]
    assert main(["run", *same, "--shards", "1/2"]) == 0
    end = next(line for line in capsys.readouterr().out.splitlines() if "mergegraph finalize" in line)
    typed = shlex.split(end.partition("mergegraph ")[2])
    assert typed == ["finalize", *same]
    assert main(typed) == 2
    told = next(line for line in capsys.readouterr().err.splitlines() if "--shards 2/2" in line)
    missing = shlex.split(told.partition("mergegraph ")[2])
    assert missing == ["run", *same, "--shards", "2/2"]
    assert main(missing) == 0
    assert main(typed) == 0
    assert main(["verify", "other place", "-q"]) == 0


WRONG = [
    (("--shards", "0/2"), "no part of a whole", "parts count from 1"),
    (("--shards", "3/2"), "no part of a whole", "beyond the last"),
    (("--shards", "one"), "no part of a whole", "no numbers"),
    (("--shards", "1/2", "--stats"), "--stats means nothing", "statistics are of whole outputs"),
    (("--shards", "1/2", "--verify-output"), "--verify-output means nothing", "finalize does that"),
    (("--shards", "1/2", "--no-sync"), "--no-sync means nothing", "machines share the disk"),
    (("--shards", "1/2", "--executor", "ray"), "--shards means nothing", "the cluster hands out all"),
    (("--executor", "ray", "--stats"), "--stats means nothing", "statistics are of whole outputs"),
    (("--address", "here:1"), "--address means nothing", "there is no cluster"),
    (("--gpus", "1"), "--gpus means nothing", "there is no cluster"),
    (("--executor", "ray", "--gpus", "1"), "--gpus means nothing", "the processor would compute"),
    (("--executor", "ray", "--device", "cuda:1"), "--device cuda:1 means nothing", "each worker has its own"),
    (("--device-budget", "1GiB"), "--device-budget means nothing", "the processor computes"),
    (("--no-read-back",), "--no-read-back means nothing", "nothing is read back"),
    (("--shards", "1/2", "--no-read-back"), "--no-read-back means nothing", "finalize does that"),
    (("--executor", "dask"), 'no "dask"', "no such executor"),
]


@pytest.mark.parametrize(("options", "said", "reason"), WRONG, ids=[row[2] + " " + row[0][0] for row in WRONG])
def test_what_would_be_ignored_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], said: str, reason: str
) -> None:
    assert main(["run", "m.yaml", *options]) == 2
    assert said in capsys.readouterr().err, reason
    assert not (place / "out.partial").exists()


def test_an_expression_has_no_parts(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["run", "-e", "0.5*a + 0.5*b", "-m", "a=./base", "-m", "b=./code", "-o", "out", "--shards", "1/2"]
    assert main(arguments) == 2
    assert "-e means nothing beside --shards" in capsys.readouterr().err
