"""Statistics of a recipe that writes no model: `mergegraph stats RECIPE --json FILE` as a child process.

It is asked how it is, and never waited for. Unlike a run it does not outlive whoever started it: it keeps nothing.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from mergegraph.errors import Problem

_SHOWN = 2_000


@dataclass
class Measurement:
    """One that was started; `into` is the file that it makes."""

    recipe: Path
    into: Path
    child: subprocess.Popen[bytes]
    said: IO[bytes]
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def ended(self) -> Path | Problem | None:
        """None while it goes on; then the file, or why there is none."""
        code = self.child.poll()
        if code is None:
            return None
        self.said.seek(0)
        words = self.said.read(_SHOWN).decode(errors="replace").strip()
        self.said.close()
        if code == 0:
            return self.into
        return Problem(f"{self.recipe.name} could not be measured.", why=words or f"it ended with code {code}",
                       fix=f"mergegraph stats {self.recipe}")  # fmt: skip

    def stop(self) -> None:
        """End it, and wait until it is gone."""
        if self.child.poll() is None:
            self.child.terminate()
            self.child.wait()
        self.said.close()


def measure(recipe: Path, into: Path) -> Measurement | Problem:
    """Begin. `recipe`: a file; of one with several saves each gets a file with its name behind that of `into`."""
    try:
        into.parent.mkdir(parents=True, exist_ok=True)
        said = tempfile.TemporaryFile()  # noqa: SIM115 - the child writes to it while it lives
    except OSError as error:
        return Problem("Nothing was measured.", why=str(error), fix="set XDG_STATE_HOME to a folder of yours")
    command = [sys.executable, "-P", "-m", "mergegraph", "stats", "--quiet", f"--json={into}", "--", str(recipe)]
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=recipe.parent)
    except OSError as error:
        said.close()
        return Problem("Nothing was measured.", why=str(error), fix=f"mergegraph stats {recipe}")
    return Measurement(recipe, into, child, said)
