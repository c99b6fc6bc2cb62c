"""What each command prints, and how it ends."""

from __future__ import annotations

import inspect
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mergegraph.pipeline
from mergegraph.cli import main
from mergegraph.execute.events import Event, Publisher
from mergegraph.methods.registry import methods
from tests.cli.tiny_models import BLEND, read_file, tensors, tree, write_blend

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPES = sorted((REPOSITORY / "recipes").glob("*.yaml"))


@pytest.fixture
def blend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The blend recipe with its models, in the current folder."""
    recipe = write_blend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return recipe


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_run_writes_the_output_and_sums_up(blend: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "blend.yaml"]) == 0
    shown = capsys.readouterr()
    made = read_file(blend.parent / "out" / "model.safetensors")
    for name, (_, values) in tensors().items():
        assert made[name] == pytest.approx([value + 0.125 for value in values], abs=1e-6)
    assert shown.err == ""
    assert re.search(r"^out -> out  1\.\d KiB in 1 file$", shown.out, re.MULTILINE)
    assert "3 tensors: 3 computed, 0 copied" in shown.out
    assert re.search(r"memory .* measured, of .* reserved \+ .* budget", shown.out)
    assert "\x1b" not in shown.out


def test_a_run_that_is_done_already_does_nothing(blend: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "blend.yaml", "--quiet"]) == 0
    before = tree(blend.parent)
    assert main(["run", "blend.yaml"]) == 0
    assert "complete before this run\n  nothing to do" in capsys.readouterr().out
    assert tree(blend.parent) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_behind_stdout_is_told_and_the_output_stands(blend: Path) -> None:
    command = [sys.executable, "-m", "mergegraph", "run", "blend.yaml"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "What was to be shown could not be written: No space left on device.\n",
    )
    assert (blend.parent / "out" / "model.safetensors").is_file()


def test_streams_that_are_closed_are_not_missed(blend: Path) -> None:
    for closed in (">&-", ">&- 2>&-"):
        done = subprocess.run(f"exec '{sys.executable}' -m mergegraph run blend.yaml {closed}", shell=True, check=False)
        assert done.returncode == 0
    assert (blend.parent / "out" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("arguments", "kinds"),
    [
        (["run", "blend.yaml", "--json"], ["plan", "done"]),
        (["run", "blend.yaml", "--json", "--quiet"], ["done"]),
        (["run", "blend.yaml", "--json", "--budget", "1KiB"], ["error"]),
        (["plan", "blend.yaml", "--json"], ["plan"]),
        (["plan", "blend.yaml", "--json", "--budget", "1KiB"], ["plan", "error"]),
        (["check", "blend.yaml", "--json"], ["check"]),
        (["check", "missing.yaml", "--json"], ["error"]),
    ],
    ids=" ".join,
)
def test_json_is_one_object_a_line(
    arguments: list[str], kinds: list[str], blend: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(arguments)
    found = [line["kind"] for line in lines_of(capsys.readouterr().out)]
    without_progress = [kind for kind in found if kind != "progress"]
    assert without_progress[-len(kinds) :] == kinds
    assert found[-1] == kinds[-1]


def test_the_last_object_of_a_run_reports_it(blend: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "blend.yaml", "--json", "--budget", "64MiB"]) == 0
    *_, report = lines_of(capsys.readouterr().out)
    folder = str(blend.parent / "out")
    size = (blend.parent / "out" / "model.safetensors").stat().st_size
    assert report["outputs"] == [{"node": "out", "path": folder, "bytes": size, "files": 1}]
    assert report["budget_bytes"] == 64 << 20
    assert 0 < report["pool_bytes"] <= report["budget_bytes"]
    assert 0 < report["reserved_bytes"] <= report["measured_bytes"]
    assert (report["tensors"], report["computed"], report["copied"]) == (3, 3, 0)
    assert report["read_bytes"] == 2 * report["write_bytes"] == 2 * 4 * 256
    assert report["seconds"] > 0


def test_an_error_in_json_has_every_part_of_its_problems(blend: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blend.write_text(BLEND.replace("by: 0.5", "bye: 0.5"))
    assert main(["run", "blend.yaml", "--json"]) == 2
    (error,) = lines_of(capsys.readouterr().out)
    (problem,) = error["problems"]
    assert error["exit_code"] == 2
    assert problem == {
        "fact": 'scale has no "bye".',
        "where": 'blend.yaml:7, node "boost"',
        "file": "blend.yaml",
        "line": 7,
        "node": "boost",
        "tensor": "",
        "model": "",
        "why": "",
        "fix": "Did you mean by?",
        "severity": "error",
    }


def test_quiet_prints_nothing_but_errors(blend: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "blend.yaml", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    blend.write_text(BLEND.replace("./code", "./coed"))
    assert main(["run", "blend.yaml", "--quiet"]) == 2
    assert "coed" in capsys.readouterr().err


def test_check_counts_what_it_checked(blend: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(blend.parent)
    assert main(["check", "blend.yaml"]) == 0
    assert capsys.readouterr().out == "blend.yaml: fine (6 nodes, 2 models, 3 tensors)\n"
    assert tree(blend.parent) == before


def test_check_shows_warnings(blend: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blend.write_text(BLEND + "  idle: {op: negate, input: boost}\n")
    assert main(["check", "blend.yaml"]) == 0
    shown = capsys.readouterr()
    assert 'warning: Node "idle" is not used' in shown.err
    assert "1 warning)" in shown.out


def test_a_saved_delta_is_a_delta_again(blend: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blend.write_text(BLEND.replace("input: merged, path: out", "input: d_code, path: learnt, format: delta"))
    assert main(["run", "blend.yaml", "--quiet"]) == 0
    again = blend.with_name("again.yaml")
    again.write_text(
        "mergegraph: 1\nmodels: {base: ./base, learnt: ./learnt}\n"
        "nodes:\n  m: {op: sum, inputs: [base, learnt]}\n  out: {op: save, input: m, path: out}\n"
    )
    capsys.readouterr()
    assert main(["graph", "again.yaml", "--rail"]) == 0
    assert "learnt  delta" in capsys.readouterr().out
    assert main(["run", "again.yaml"]) == 0
    made = read_file(blend.parent / "out" / "model.safetensors")
    for name, values in read_file(blend.parent / "code" / "model.safetensors").items():
        assert made[name] == pytest.approx(values, abs=1e-6)


def test_plan_shows_formulas_and_writes_nothing(blend: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(blend.parent)
    assert main(["plan", "blend.yaml", "--explain", "-o", "elsewhere"]) == 0
    shown = capsys.readouterr().out
    assert "base + 0.5 (code - base)" in shown
    assert f"out -> {blend.parent / 'elsewhere'}" in shown
    assert "model.layers.1.mlp.up_proj.weight  [8, 8] float32" in shown
    assert tree(blend.parent) == before


def test_a_plan_that_does_not_fit_is_shown_all_the_same(blend: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "blend.yaml", "--budget", "1KiB"]) == 3
    shown = capsys.readouterr()
    assert "of a budget of 1.0 KiB" in shown.out
    assert "the budget is 1.0 KiB" in shown.err


def test_settings_and_sweeps_reach_the_run(blend: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blend.write_text(BLEND.replace("path: out", '"path": "out/{boost.by}"'))
    assert main(["run", "blend.yaml", "--sweep", "boost.by=0:1:0.5", "--set", "code.model=./code"]) == 0
    assert sorted(path.name for path in (blend.parent / "out").iterdir()) == ["0", "0.5", "1"]
    base, whole = (read_file(blend.parent / name / "model.safetensors") for name in ("base", "out/1"))
    assert whole["model.embed_tokens.weight"][7] == pytest.approx(base["model.embed_tokens.weight"][7] + 0.25)


def test_an_expression_needs_no_file(blend: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "-e", "base + 2*(code - base)", "-m", "base=base", "-m", "code=code", "-o", "far"]) == 0
    made = read_file(blend.parent / "far" / "model.safetensors")
    for name, (_, values) in tensors().items():
        assert made[name] == pytest.approx([value + 0.5 for value in values], abs=1e-5)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_signal_in_the_run_ends_it_in_order(
    signum: int, code: int, blend: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    emit = Publisher.emit

    def interrupted(publisher: Publisher, event: Event) -> None:
        monkeypatch.setattr(Publisher, "emit", emit)
        signal.raise_signal(signum)

    monkeypatch.setattr(Publisher, "emit", interrupted)
    assert main(["run", "blend.yaml"]) == code
    message = capsys.readouterr().err
    assert message.startswith("Stopped by ")
    assert "run the same command again" in message
    assert not (blend.parent / "out").exists()
    assert main(["run", "blend.yaml"]) == 0


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_signal_before_the_run_ends_the_command(
    signum: int, code: int, blend: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object, **__: object) -> None:
        signal.raise_signal(signum)

    monkeypatch.setattr(mergegraph.pipeline, "check", stopped)
    before = signal.getsignal(signal.SIGTERM)
    assert main(["check", "blend.yaml", "--json"]) == code
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    assert lines_of(shown.out)[-1]["exit_code"] == code
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_bug_says_that_it_is_one(
    blend: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("tile-7")

    monkeypatch.setattr(mergegraph.pipeline, "check", broken)
    assert main(["check", "blend.yaml"]) == 1
    message = capsys.readouterr().err
    assert message.startswith("This is a bug in mergegraph: KeyError: 'tile-7'\n")
    assert 'raise KeyError("tile-7")' in message


def test_a_file_that_the_system_refuses_is_no_bug(
    blend: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "/models/base")

    monkeypatch.setattr(mergegraph.pipeline, "check", refused)
    assert main(["check", "blend.yaml"]) == 1
    assert (
        capsys.readouterr().err
        == "/models/base: Permission denied.\n  fix     change the permissions, or choose another place\n"
    )


def test_control_characters_in_a_name_are_made_visible(blend: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blend.write_text(BLEND.replace("./code", '"./co\\x1b[31mde"'))
    assert main(["check", "blend.yaml"]) == 2
    assert main(["graph", "blend.yaml", "--rail"]) == 0
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err
    assert r"\x1b[31m" in shown.out


def test_ops_lists_every_operation_and_describes_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ops"]) == 0
    listed = capsys.readouterr().out.splitlines()
    for name, cls in methods().items():
        paragraph = inspect.cleandoc(str(cls.__doc__)).split("\n\n")[0]
        assert any(line.startswith(f"{name} ") and line.endswith(" ".join(paragraph.split())) for line in listed)
        summary = paragraph.split("\n")[0]
        assert main(["ops", name]) == 0
        described = capsys.readouterr().out
        assert summary in described
        assert cls.example in described
        for field, info in cls.model_fields.items():
            assert field == "op" or re.search(rf"^{info.alias or field}  ", described, re.MULTILINE)
        assert not re.search(r"typing|class '|Annotated|EdgeTo", described)


@pytest.mark.parametrize(
    ("name", "head", "line"),
    [
        ("delta", "delta: weights, weights -> delta", r"model +node \(weights\) +required"),
        ("soup", "soup: any… -> same", r"inputs +list of node or \{from, weight\} +-"),
        ("load", "load: - -> weights", r"subfolder +text +- +the folder inside"),
        ("scale", "scale: any -> same", r"by +number or schedule +required"),
    ],
)
def test_an_operation_shows_its_spaces_and_fields(
    name: str, head: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ops", name]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[0] == head
    assert re.search(line, shown)


def test_version_is_the_package_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert re.fullmatch(r"mergegraph \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_the_repository_can_be_drawn(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", str(recipe), "--rail"]) == 0
    drawing = capsys.readouterr().out
    assert "■" in drawing.splitlines()[-1]
    assert "○" in drawing or "checkpoints" in drawing


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, "-m", "mergegraph", "ops"], stdout=writing, stderr=subprocess.PIPE, cwd=REPOSITORY, check=False
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, b"")
