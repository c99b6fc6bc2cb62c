"""Every command says what it is for and how it is typed; a shell completes its name."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import pytest
import typer

from mergegraph.cli import main
from mergegraph.cli.app import app

COMMANDS = vars(typer.main.get_command(app))["commands"]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_a_command_are_command_lines_that_it_takes(name: str) -> None:
    _, heading, *examples = COMMANDS[name].epilog.split("\n")
    assert heading == "Examples:"
    assert examples
    for example in examples:
        program, command, *arguments = shlex.split(example.partition(" > ")[0])
        assert (program, command) == ("mergegraph", name)
        COMMANDS[name].make_context(name, arguments)


def test_no_summary_of_a_command_is_cut_short(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "..." not in capsys.readouterr().out.partition("Commands:")[2]


@pytest.mark.parametrize(
    ("words", "completed"),
    [("mergegraph se", ["search"]), ("mergegraph ops so", ["soup"]), ("mergegraph run --bud", ["--budget"])],
)
def test_a_shell_completes_commands_options_and_operations(words: str, completed: list[str]) -> None:
    told = {"_MERGEGRAPH_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    ended = subprocess.run(
        [sys.executable, "-m", "mergegraph"], env={**os.environ, **told}, capture_output=True, text=True, check=False
    )
    assert ended.stdout.split() == completed


def test_an_option_says_that_it_may_be_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    described = shown.partition("--sweep NODE.FIELD")[2].partition(" --overwrite")[0]
    assert described.endswith("May be repeated.")


def test_an_option_with_one_value_is_taken_and_not_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "--help"]) == 0
    assert "--dtype" not in capsys.readouterr().out
    assert main(["convert", "nowhere", "-o", "out", "--dtype", "bf16"]) == 2
    assert "--dtype" in capsys.readouterr().err
