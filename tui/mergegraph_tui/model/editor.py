"""A text in the editor that the user has: `$VISUAL`, else `$EDITOR`, else `vi`. The caller frees the terminal first."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from mergegraph.errors import Problem
from mergegraph_tui.model.files import read_text, write_text


def editor_command() -> tuple[str, ...] | Problem:
    """The words of the user's editor command."""
    named = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        words = tuple(shlex.split(named))
    except ValueError:
        words = ()
    return words or Problem(f"$EDITOR is no command: {named}.", fix="export EDITOR=vi")


def edit_outside(text: str, name: str = "recipe.yaml") -> str | Problem:
    """`text` as the editor leaves it, every character of it; waits until the editor ends.

    A Problem, and the text as it was, when the editor cannot be started, fails, or leaves something that is no text.
    """
    command = editor_command()
    if isinstance(command, Problem):
        return command
    with tempfile.TemporaryDirectory(prefix="mergegraph-") as folder:
        path = Path(folder) / name
        if problem := write_text(path, text, 0o600):
            return problem
        try:
            code = subprocess.run([*command, str(path)], check=False).returncode
        except OSError as error:
            fact = f"The editor {command[0]} cannot be started: {error.strerror}."
            return Problem(fact, fix="export EDITOR=vi, or another editor that is installed")
        if code:
            return Problem(
                f"The editor {command[0]} ended with code {code}: the text is as it was.", fix="try it again"
            )
        found = read_text(path)
        return found if isinstance(found, Problem) else found[0]
