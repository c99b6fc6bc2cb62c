"""The fenced blocks of a page: recipes that are written, commands that are run, and what is printed after them.

# first.yaml          the first line of a yaml block names the file
$ mergegraph …        a command; the lines up to the next one are what it prints, … standing for anything
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from mergegraph.cli import main
from recipes.evaluate import main as evaluate

DOCS = Path(__file__).resolve().parents[2] / "docs"
RECIPES = DOCS.parent / "recipes"
_FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Command:
    """A command with the lines that are printed beside it on the page; none says that it must succeed."""

    text: str
    shown: tuple[str, ...]

    @property
    def words(self) -> list[str]:
        return [word for word in shlex.split(self.text) if not re.fullmatch(r"[A-Z_]+=\w+", word)]


def commands(page: str) -> list[Command]:
    """In the order of the page."""
    return [command for kind, block in _FENCED.findall(page) if kind == "console" for command in _in_block(block)]


def write_recipes(page: str, folder: Path) -> list[str]:
    """The recipes of the page that have a name, as files in `folder`; their names."""
    named = [re.match(r"# (\S+\.yaml)\n", block) for kind, block in _FENCED.findall(page) if kind == "yaml"]
    found = [match for match in named if match]
    for match in found:
        (folder / match[1]).write_text(match.string)
    return [match[1] for match in found]


def run(command: Command) -> tuple[int, str]:
    """The exit code, and all that was printed. Runs in the current folder, in this process."""
    said = StringIO()
    program, *arguments = command.words
    with redirect_stdout(said), redirect_stderr(said):
        if program == "mergegraph":
            return main(arguments), said.getvalue()
        assert arguments[0] == "recipes/evaluate.py", command.text
        return evaluate(arguments[1:]), said.getvalue()


def is_as_shown(command: Command, said: str) -> bool:
    """Whether what was printed fits the page."""
    pattern = re.escape("\n".join(command.shown)).replace("…", ".*")
    here = said.replace(f"{Path.cwd()}/", "./")
    return re.fullmatch(pattern, here.strip("\n"), re.DOTALL) is not None


def _in_block(block: str) -> Iterator[Command]:
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        text, *shown = part.rstrip("\n").split("\n")
        yield Command(text, tuple(shown))
