"""What a shell completes: commands, options, recipes, operations, and the values of options that choose."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mergegraph.cli import main


def completed(line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What bash is told of `line`, whose last word is begun."""
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))
    monkeypatch.setenv("_MERGEGRAPH_COMPLETE", "complete_bash")
    assert main([]) == 0
    return capsys.readouterr().out.split()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for file in ("soup.yaml", "solo/base/model.safetensors", "solo/last.yml", "souvenirs/a", ".hidden/b", "notes.txt"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("mergegraph pl", ["plan"]),
        ("mergegraph plan --expl", ["--explain"]),
        ("mergegraph ops ti", ["ties"]),
        ("mergegraph graph --size ", ["pill", "box", "card"]),
        ("mergegraph graph --direction r", ["right"]),
        ("mergegraph run --executor r", ["ray"]),
        ("mergegraph run --device c", ["cpu", "cuda", "cuda:all"]),
        ("mergegraph tui --theme l", ["light"]),
        ("mergegraph stats x --metric rete", ["retention"]),
        ("mergegraph stats x --sort rete", ["retention"]),
        ("mergegraph plan so", ["soup.yaml", "solo/", "souvenirs/"]),  # files first, no hidden folder, no notes
        ("mergegraph plan solo", []),  # one folder: the shell goes into it
        ("mergegraph run solo/", ["solo/last.yml", "solo/base/"]),
        ("mergegraph check nowhere/", []),
        ("mergegraph search soup", ["soup.yaml"]),
        ("mergegraph import soup", ["soup.yaml"]),
        ("mergegraph tui soup", ["soup.yaml"]),
        ("mergegraph verify so", []),  # an output: the shell offers folders
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_begun_word_is_completed(
    line: str, expected: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert completed(line, monkeypatch, capsys) == expected


def test_bash_takes_what_show_completion_prints(tmp_path: Path, folder: Path) -> None:
    program = tmp_path / "bin" / "mergegraph"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m mergegraph "$@"\n')
    program.chmod(0o755)
    script = """eval "$(mergegraph --show-completion)"
        COMP_WORDS=(mergegraph check soup) COMP_CWORD=2
        _mergegraph_completion mergegraph
        echo "${COMPREPLY[@]}" """
    env = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    ended = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, cwd=folder, env=env, timeout=60, check=False
    )
    assert (ended.stdout, ended.stderr) == ("soup.yaml\n", "")
