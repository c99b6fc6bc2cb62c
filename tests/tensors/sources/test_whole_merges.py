"""Whole commands on models of servers: what a plan reads, what a run reads, what is written of where it came from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mergegraph import lineage
from mergegraph.cli import main
from mergegraph.pipeline import check, plan
from mergegraph.recipe.load import load_recipe
from mergegraph.tensors.completed import PROVENANCE, RUN_RECORD, STATEMENT
from mergegraph.tensors.sources.access import accessing
from mergegraph.tensors.sources.door import PROBE_BYTES
from tests.tensors.sources.hub_server import TOKEN, HubServer, Repo
from tests.tiny_models import llama_tensors, write_model

CONFIG = {"model_type": "llama", "hidden_size": 64}
RECIPE = """\
mergegraph: 1
name: blend
models: {{base: {base}, code: {code}}}
nodes:
  merged: base + 0.5*(code - base)
  out: {{op: save, input: merged, path: {out}}}
"""


@pytest.fixture
def models(hub_server: HubServer, tmp_path: Path) -> tuple[Path, Path]:
    """`org/base` and `org/code` on the server, longer than what is read to find their headers."""
    base = llama_tensors(hidden=64, vocab=1024)
    folders = (
        write_model(tmp_path / "made" / "base", base, config=CONFIG, shards=2),
        write_model(tmp_path / "made" / "code", llama_tensors(noise_of=base, seed=1), config=CONFIG),
    )
    for name, folder in zip(("org/base", "org/code"), folders, strict=True):
        (folder / "tokenizer.json").write_text('{"model": {"type": "BPE", "vocab": {"a": 0}}}')
        hub_server.repos[name] = Repo()
        hub_server.repos[name].commit(folder)
    return folders


def recipe(folder: Path, base: str = "org/base", code: str = "org/code", out: str = "out") -> Path:
    path = folder / f"{Path(out).name}.yaml"
    path.write_text(RECIPE.format(base=base, code=code, out=out))
    return path


def weights(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.safetensors"))}


def test_a_plan_reads_headers_and_a_run_reads_the_plan(
    hub_server: HubServer, models: tuple[Path, Path], tmp_path: Path
) -> None:
    stored = [path.stat().st_size for folder in models for path in folder.glob("*.safetensors")]
    with accessing(headers_only=True):
        planned = plan(load_recipe(recipe(tmp_path)))
    assert hub_server.body_bytes["cdn"] == sum(min(PROBE_BYTES, length) for length in stored)
    assert planned.read_bytes > 4 * hub_server.body_bytes["cdn"]
    hub_server.reset()
    check(load_recipe(recipe(tmp_path)))
    checked = hub_server.body_bytes["cdn"]
    hub_server.reset()
    lineage._fetched_cosine.cache_clear()
    assert main(["run", str(recipe(tmp_path)), "-q"]) == 0
    assert hub_server.body_bytes["cdn"] == checked + planned.read_bytes


def test_the_result_is_that_of_the_same_files_here(
    hub_server: HubServer, models: tuple[Path, Path], tmp_path: Path
) -> None:
    assert main(["run", str(recipe(tmp_path)), "-q", "--verify-output"]) == 0
    assert main(["run", str(recipe(tmp_path, *map(str, models), out="here")), "-q"]) == 0
    assert weights(tmp_path / "out") == weights(tmp_path / "here")
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (models[0] / "tokenizer.json").read_bytes()
    assert "base_model:\n- org/base\n- org/code" in (tmp_path / "out" / "README.md").read_text()


def test_where_it_came_from_is_written_and_nothing_secret(
    hub_server: HubServer, models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub_server.repos["org/code"].private = True
    assert main(["plan", str(recipe(tmp_path)), "--json"]) == 0
    assert main(["run", str(recipe(tmp_path)), "--verify-output", "--json"]) == 0
    output = tmp_path / "out"
    said = capsys.readouterr()
    for text in (said.out, said.err, *(path.read_text("utf-8", "replace") for path in output.iterdir())):
        assert TOKEN not in text
        assert "Signature" not in text
    commit = hub_server.repos["org/code"].revisions["main"]
    inputs = json.loads((output / PROVENANCE).read_text())["inputs"]
    code = next(each for each in inputs if each["node"] == "code")
    assert code["source"] == f"hf://org/code@{commit}/model.safetensors"
    assert code["model"] == "org/code"
    assert len(code["sha256"]) == 64
    stated = json.loads((output / STATEMENT).read_text())["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert {"uri": code["source"], "digest": {"sha256": code["sha256"], "gitCommit": commit}}.items() <= next(
        each for each in stated if each["name"].startswith("code/")
    ).items()
    assert code["source"] in (output / RUN_RECORD).read_text()


def test_a_branch_that_moved_is_explained_and_the_old_commit_goes_on(
    hub_server: HubServer, models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mergegraph.tensors.sources import hub

    path = recipe(tmp_path)
    plan(load_recipe(path))
    hub_server.fails_after = 2 * hub_server.requests("cdn") + 20
    assert main(["run", str(path), "-q"]) == 1
    assert "503 Service Unavailable, 6 times in a row" in capsys.readouterr().err
    assert (tmp_path / "out.partial").is_dir()
    hub_server.fails_after = None
    old = hub_server.repos["org/code"].revisions["main"]
    write_model(models[1], llama_tensors(noise_of=llama_tensors(hidden=64, vocab=1024), seed=2), config=CONFIG)
    new = hub_server.repos["org/code"].commit(models[1])
    hub.forget()
    assert main(["run", str(path), "-q"]) == 2
    said = capsys.readouterr().err
    assert f"commit of org/code: it was {old}, now it is {new}" in said
    assert "--overwrite" in said
    path.write_text(path.read_text().replace("org/code", f"org/code@{old}"))
    assert main(["run", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["resumed"] > 0


def test_a_model_of_the_hub_is_looked_at(
    hub_server: HubServer, models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["info", "org/base", "--json"]) == 0
    assert main(["info", "hf:/org/base", "--json"]) == 0, "a path has lost a slash"
    one, other = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert one["tensors"] == other["tensors"] != []
    assert main(["stats", "org/code", "--base", "org/base", "-q", "--csv", "changes.csv"]) == 0
    assert "lm_head.weight" in (tmp_path / "changes.csv").read_text()


class TestDownloading:
    def test_what_is_read_goes_to_the_cache(
        self, hub_server: HubServer, models: tuple[Path, Path], tmp_path: Path
    ) -> None:
        assert main(["run", str(recipe(tmp_path)), "-q"]) == 0
        assert not (tmp_path / "cache").exists()
        assert main(["run", str(recipe(tmp_path, out="again")), "-q", "--download"]) == 0
        hub_server.reset()
        assert main(["run", str(recipe(tmp_path, out="third")), "-q"]) == 0
        assert hub_server.asked["cdn"] == []
        assert weights(tmp_path / "out") == weights(tmp_path / "again") == weights(tmp_path / "third")

    def test_a_flipped_bit_is_found_and_not_kept(
        self, hub_server: HubServer, models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from mergegraph.tensors.sources.downloads import download_inputs

        inputs = {file.path: file.identity for file in plan(load_recipe(recipe(tmp_path))).inputs}
        hub_server.faults["flip"] = 1
        from mergegraph.errors import InputError

        with pytest.raises(InputError, match="did not arrive as it is stored"):
            download_inputs(inputs)
        download_inputs(inputs)
        hub_server.reset()
        assert main(["run", str(recipe(tmp_path)), "-q"]) == 0
        assert hub_server.asked["cdn"] == []


class TestPushing:
    @pytest.fixture
    def output(self, models: tuple[Path, Path], tmp_path: Path) -> Path:
        assert main(["run", str(recipe(tmp_path, *map(str, models))), "-q"]) == 0
        return tmp_path / "out"

    @pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")  # huggingface_hub 2.4 with httpx2
    def test_what_arrives_is_what_was_written(
        self, hub_server: HubServer, output: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        assert main(["push", str(output), "me/blend", "--private", "--revision", "v1"]) == 0
        assert "/me/blend" in capsys.readouterr().out
        repo = hub_server.repos["me/blend"]
        assert repo.private
        there = repo.files[repo.revisions["v1"]]
        assert RUN_RECORD not in there, "it tells of this machine"
        assert there == {path.name: path.read_bytes() for path in output.iterdir() if path.name != RUN_RECORD}

    def test_an_output_that_is_not_as_it_was_written_stays_here(
        self, hub_server: HubServer, output: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        file = next(output.glob("*.safetensors"))
        raw = bytearray(file.read_bytes())
        raw[-1] ^= 1
        file.write_bytes(raw)
        assert main(["push", str(output), "me/blend"]) == 1
        assert "is not as it was written" in capsys.readouterr().err
        assert hub_server.created == []

    def test_without_a_token_it_says_so(
        self, hub_server: HubServer, output: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["push", str(output), "me/blend"]) == 1
        said = capsys.readouterr().err
        assert "me/blend cannot be written." in said
        assert "hf auth login" in said

    def test_without_a_network_it_says_so(
        self, hub_server: HubServer, output: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")  # a port where nothing listens
        assert main(["push", str(output), "me/blend"]) == 1
        said = capsys.readouterr().err
        assert "the connection failed (ConnectError)" in said
        assert "run the same command again" in said
        assert "bug" not in said

    @pytest.mark.parametrize("branch", ["bad name", "a..b", "/a", "a/", "x.lock", "-x", "HEAD", "refs/pr/1", "a~1", ""])
    def test_a_name_that_is_no_branch_makes_no_repository(
        self, hub_server: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], branch: str
    ) -> None:
        assert main(["push", str(tmp_path), "me/blend", f"--revision={branch}"]) == 2
        said = capsys.readouterr().err
        assert "is no name of a branch." in said
        assert "--revision v1" in said
        assert hub_server.created == []

    def test_a_name_that_is_no_id(self, output: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["push", str(output), "blend"]) == 2
        assert "org/name" in capsys.readouterr().err


def test_parts_of_a_branch_that_moved_are_refused_before_they_compute(
    hub_server: HubServer, models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mergegraph.tensors.sources import hub

    path = recipe(tmp_path)
    path.write_text(path.read_text().replace("path: out", "path: out, max_shard_size: 100KB"))
    old = hub_server.repos["org/code"].revisions["main"]
    assert main(["run", str(path), "--shards", "1/2", "-q"]) == 0
    write_model(models[1], llama_tensors(hidden=64, vocab=1024, seed=5), config=CONFIG)
    hub_server.repos["org/code"].commit(models[1])
    hub.forget()
    for command in (["run", "--shards", "2/2"], ["finalize"]):
        assert main([*command, str(path), "--allow-unrelated", "-q"]) == 2
        said = capsys.readouterr().err
        assert "were made from another commit of org/code." in said
        assert f"write org/code@{old} in the recipe to go on" in said
    path.write_text(path.read_text().replace("org/code", f"org/code@{old}"))
    assert main(["run", str(path), "--shards", "2/2", "-q"]) == 0
    assert main(["finalize", str(path), "-q"]) == 0


class TestABucket:
    @pytest.fixture
    def bucket(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
        pytest.importorskip("moto", reason="moto's server stands in for S3")
        pytest.importorskip("obstore", reason="obstore writes to object stores")
        monkeypatch.setenv("MERGEGRAPH_STAGING", str(tmp_path / "staging"))
        return "s3://out"

    def test_several_machines_need_a_folder_that_all_of_them_see(
        self, bucket: str, models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        monkeypatch.delenv("MERGEGRAPH_STAGING")
        there = recipe(tmp_path, *map(str, models), out=f"{bucket}/models/blend")
        assert main(["run", str(there), "--shards", "1/2"]) == 2
        assert "export MERGEGRAPH_STAGING=FOLDER" in capsys.readouterr().err

    def test_an_output_is_put_there_and_not_made_twice(
        self, bucket: str, models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        from urllib.request import Request, urlopen

        from mergegraph.tensors.checkpoint import open_checkpoint
        from mergegraph.tensors.sources import objects
        from tests.tensors.sources.object_server import environment, serving

        here = recipe(tmp_path, *map(str, models), out="here")
        assert main(["run", str(here), "-q"]) == 0
        with serving() as endpoint:
            for name, value in environment(endpoint).items():
                monkeypatch.setenv(name, value)
            objects._stores.clear()
            with urlopen(Request(f"{endpoint}/out", method="PUT")):
                pass
            import obstore

            obstore.put(objects.store_of(bucket), "models/other/config.json", b"theirs")
            other = recipe(tmp_path, *map(str, models), out=f"{bucket}/models/other")
            assert main(["run", str(other)]) == 2, "a model of somebody else's is there"
            assert "no upload of this output has left what lies there: config.json" in capsys.readouterr().err
            assert not (tmp_path / "staging").exists(), "nothing was computed"
            there = recipe(tmp_path, *map(str, models), out=f"{bucket}/models/blend")
            assert main(["run", str(there)]) == 0
            assert f"out -> {bucket}/models/blend" in capsys.readouterr().out
            assert list((tmp_path / "staging").iterdir()) == []
            store = objects.store_of(bucket)
            for path in (tmp_path / "here").iterdir():
                if path.suffix == ".safetensors" or path.name == "tokenizer.json":
                    assert bytes(obstore.get(store, f"models/blend/{path.name}").bytes()) == path.read_bytes()
            assert len(open_checkpoint(f"{bucket}/models/blend", tmp_path).tensors) == 21
            assert main(["run", str(there), "--json"]) == 0
            assert json.loads(capsys.readouterr().out.splitlines()[-1])["already_done"] == ["out"]
            for parts in (["run", "--shards", "1/2"], ["finalize"]):
                assert main([*parts, str(there), "--json"]) == 0, "it is in the bucket"
                assert json.loads(capsys.readouterr().out.splitlines()[-1])["already_done"] == ["out"]
                assert list((tmp_path / "staging").iterdir()) == []
            there.write_text(there.read_text().replace("0.5", "0.25"))
            for command in (["run"], ["run", "--shards", "1/2"], ["finalize"]):
                assert main([*command, str(there), "-q"]) == 2
                assert f"The output exists: {bucket}/models/blend" in capsys.readouterr().err
            assert main(["run", str(there), "-q", "--overwrite"]) == 0
