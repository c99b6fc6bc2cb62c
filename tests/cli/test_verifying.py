"""`verify`, `info` and `run --verify-output` as they are typed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mergegraph.cli import main
from tests.cli.test_max_header import lengthen
from tests.cli.tiny_models import tensors, write_blend, write_model
from tests.provenance.outputs import flip

UP = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """The output of the blend recipe, in the current folder."""
    write_blend(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["run", "blend.yaml", "--quiet"]) == 0
    return tmp_path / "out"


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_an_output_that_is_as_it_was_written(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "out"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("out: as it was written (3 tensors, 4 files;")
    assert shown.err == ""
    assert main(["verify", "out", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["verify", "out", "--json"]) == 0
    (verified,) = lines_of(capsys.readouterr().out)
    assert (verified["kind"], verified["ok"], verified["finished"], verified["tensors"]) == ("verify", True, True, 3)


def test_an_output_with_a_changed_byte(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = output / "model.safetensors"
    flip(file, file.stat().st_size - 1)
    assert main(["verify", "out", "--quiet"]) == 1
    assert f"{UP} is not as it was written." in capsys.readouterr().err
    assert main(["verify", "out", "--json"]) == 1
    (error,) = lines_of(capsys.readouterr().out)
    assert (error["kind"], error["exit_code"], error["problems"][0]["tensor"]) == ("error", 1, UP)


@pytest.mark.parametrize("path", ["nowhere", "base", "blend.yaml"])
def test_what_is_no_output(path: str, output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", path]) == 2
    assert capsys.readouterr().out == ""


def test_escape_sequences_from_files_do_not_reach_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "w\x1b]0;title\x07\x9b2J"
    write_model(tmp_path / "evil", {evil: ([2, 8], [0.5] * 16)}, architectures=["\x1b[31mred"])
    monkeypatch.chdir(tmp_path)
    assert main(["run", "-e", "0.5*a + 0.5*a", "-m", "a=evil", "-o", "out", "--quiet"]) == 0
    file = tmp_path / "out" / "model.safetensors"
    flip(file, file.stat().st_size - 1)
    for command in (["verify", "out"], ["info", "out"], ["info", "evil"], ["info", "out", "--in-toto"]):
        main(command)
        shown = capsys.readouterr()
        assert not {"\x1b", "\x07", "\x9b"} & set(shown.out + shown.err), command
        assert shown.out + shown.err


def test_info_of_an_output(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "out"]) == 0
    told = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines() if not line.startswith(" "))
    assert told["recipe"].startswith("blend  sha256 ")
    assert told["inputs"].startswith("base  ./base  1.3 KiB in 1 file")
    assert told["seed"] == "0"
    assert told["tensors"].startswith("3; 1.")
    assert told["not"] == "finite none"
    assert told["verified"].startswith("not when it was made")
    assert main(["info", "out", "--json"]) == 0
    (found,) = lines_of(capsys.readouterr().out)
    assert found["provenance"] | {"tensors": {}} == json.loads((output / "mergegraph.json").read_text()) | {
        "tensors": {}
    }
    assert found["run"]["verified"] is False


def test_a_run_that_reads_back_says_so(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "blend.yaml", "--verify-output"]) == 0
    assert "nothing to do, and every byte is as it was written" in capsys.readouterr().out
    assert main(["run", "blend.yaml", "--verify-output", "--overwrite"]) == 0
    assert "read back from disk: every byte is as it was computed" in capsys.readouterr().out
    assert main(["info", "out"]) == 0
    assert "read back from disk before it was published" in capsys.readouterr().out
    assert main(["run", "blend.yaml", "--verify-output", "--json", "--quiet"]) == 0
    assert lines_of(capsys.readouterr().out)[-1]["verified"] is True


def test_info_of_a_model(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "base"]) == 0
    told = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert (told["kind"], told["tensors"], told["parameters"]) == ("llama", "3 F32", "256")
    assert main(["info", "base", "--json"]) == 0
    (found,) = lines_of(capsys.readouterr().out)
    assert (found["space"], found["dtypes"], found["files"][0]["file"]) == ("weights", {"F32": 3}, "model.safetensors")
    assert len(tensors()) == found["tensors"]
    assert main(["info", "nowhere"]) == 2
    assert main(["info", "base", "--in-toto"]) == 2


def test_info_reads_a_longer_header_where_that_is_asked_for(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lengthen(output.parent / "base" / "model.safetensors", 25_000_001)
    assert main(["info", "base"]) == 2
    assert "--max-header-mb 26" in capsys.readouterr().err
    assert main(["info", "base", "--max-header-mb", "26"]) == 0


def test_a_statement_is_one_json_document(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "out", "--in-toto"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["_type"] == "https://in-toto.io/Statement/v1"
    assert shown.err == ""
    flip(output / "README.md", 3)
    assert main(["info", "out", "--in-toto"]) == 1
    assert capsys.readouterr().out == ""


def test_a_partial_folder(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    partial = output.rename(output.with_name("out.partial"))
    (partial / "journal").write_bytes(b"")
    assert main(["verify", "out"]) == 2
    assert "out.partial" in capsys.readouterr().err
    assert main(["verify", "out.partial"]) == 0
    assert "not finished; of 3 tensors, 0 recorded" in capsys.readouterr().out
    assert main(["info", "out.partial"]) == 0
    assert "not finished; 0 tensors recorded" in capsys.readouterr().out
    assert main(["info", "out.partial", "--in-toto"]) == 2


def test_neither_imports_torch(output: Path) -> None:
    code = (
        "import sys\nfrom mergegraph.cli import main\n"
        "assert not (main(['verify', 'out']) or main(['info', 'out']) or main(['info', 'base'])"
        " or main(['info', 'out', '--in-toto']))\n"
        "raise SystemExit(' '.join(sys.modules.keys() & {'torch', 'numpy', 'networkx', 'textual', 'rich'}))"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=output.parent, capture_output=True, text=True, check=False)
    assert ended.stderr.strip() == ""
