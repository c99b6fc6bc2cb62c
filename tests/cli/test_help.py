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
