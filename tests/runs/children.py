"""Merges of the tiny llamas as child processes that wait at a gate."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
LLAMAS = REPOSITORY / "recipes" / "models" / "tiny-llama"
PYTHON = sys.executable
PATHS = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tui")])

T = TypeVar("T")


class Workshop:
    """A folder with a recipe; runs that are started here wait while `gate` exists."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch = folder, patch
        self.gate = folder / "gate"
        self.output = folder / "out"
        self.partial = folder / "out.partial"
        self.recipe = self.write("merge.yaml", "out")
        python = folder / "python"
        python.write_text(f'#!/bin/sh\nshift 3\nexec {PYTHON} -P {REPOSITORY}/tests/runs/gated.py "$@"\n')
        python.chmod(0o755)
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        patch.setenv("PYTHONPATH", PATHS)
        patch.setenv("GATE", str(self.gate))
        patch.setenv("STARTS", str(python))
        patch.setattr("mergegraph_tui.model.runs.sys.executable", str(python))
        patch.chdir(folder)

    def write(self, name: str, output: str, second: Path = LLAMAS / "french") -> Path:
        recipe = self.folder / name
        recipe.write_text(
            f"mergegraph: 1\nmodels: {{base: {LLAMAS}/base, tuned: {second}}}\n"
            f"nodes:\n  merged: base + 0.5*(tuned - base)\n  out: {{op: save, input: merged, path: {output}}}\n"
        )
        return recipe

    def close(self, open_for: int = 0) -> None:
        self.gate.touch()
        self.patch.setenv("OPEN_FOR", str(open_for))

    def is_reached(self) -> bool:
        """Whether a run waits at the gate."""
        return (self.folder / "reached").exists()

    def open(self) -> None:
        self.gate.unlink()


def wait_for(what: Callable[[], T | None], seconds: float = 60.0) -> T:
    """The first answer that says something."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if answer := what():
            return answer
        time.sleep(0.01)
    raise AssertionError(f"nothing within {seconds} s")
