"""Runs as child processes that outlive whoever started them: `mergegraph run` in a session of its own.

What lives, how far it is and how it ended is read as for any other run (`mergegraph.runs`), so a run is shown in the
same way by the interface that started it, by one that attaches, and by `mergegraph watch`. No Textual.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mergegraph.errors import OutputError, Problem
from mergegraph.runs.ending import Done, End, Failed, Lost, Stopped
from mergegraph.runs.folder import RUN_FOLDER, STDERR, STDOUT, forget, make_folder, put_pid
from mergegraph.runs.following import (
    RegisteredRun,
    Run,
    UnregisteredRun,
    find,
    go_on,
    known,
    living,
    partial_of,
    pause,
    stop,
)
from mergegraph.runs.progress import Progress, State

__all__ = [
    "Done", "End", "Failed", "Lost", "Options", "Progress", "RegisteredRun", "Run", "State", "Stopped",
    "UnregisteredRun", "find", "go_on", "known", "living", "partial_of", "pause", "start", "start_again", "stop",
]  # fmt: skip

# A shell that has a signal ignored hands that on: nothing that hangs up the terminal reaches the run.
IGNORING_SIGHUP = ("/bin/sh", "-c", 'trap "" HUP; exec "$@"', "sh")
GIVES_WAY: Final = 10
"""Niceness above the interface's own: keys are answered while a run computes on every core. Alone, a run is as fast."""
_children: list[subprocess.Popen[bytes]] = []
"""Those that this process started, to be reaped: what is known of them is read from their folders."""


@dataclass(frozen=True)
class Options:
    """What `mergegraph run` is asked beside the recipe; a default is not said."""

    output: Path | None = None
    budget: str = ""
    device: str = ""
    threads: int | None = None
    sets: tuple[str, ...] = ()
    overwrite: bool = False
    allow_non_finite: bool = False
    allow_unrelated: bool = False
    verify_output: bool = False
    stats: bool = False

    def arguments(self, recipe: Path) -> tuple[str, ...]:
        """What stands behind `mergegraph`."""
        valued = {"--output": self.output, "--budget": self.budget, "--device": self.device, "--threads": self.threads}
        flags = ("overwrite", "allow_non_finite", "allow_unrelated", "verify_output", "stats")
        return (
            "run", "--json", "--quiet",
            *(f"{name}={value}" for name, value in valued.items() if value not in (None, "")),
            *(f"--set={each}" for each in self.sets),
            *(f"--{flag.replace('_', '-')}" for flag in flags if getattr(self, flag)),
            "--", str(recipe),
        )  # fmt: skip


def start(
    recipe: Path, options: Options = Options(), *, folder: Path | None = None, outputs: Mapping[str, Path] | None = None
) -> RegisteredRun:
    """Begin a run that needs nobody. OutputError when its folder cannot be made.

    `folder`: where the run has its current folder; `outputs`: the plan's, by node, so that it is found from the start.
    """
    return _started(options.arguments(recipe), folder or _here(recipe), outputs or {})


def _here(recipe: Path) -> Path:
    """The current folder; where that is gone, the one of the recipe."""
    try:
        return Path.cwd()
    except OSError:
        return recipe.parent


def start_again(run: RegisteredRun) -> RegisteredRun:
    """The same command in the same place: it goes on behind what is on disk."""
    return _started(run.arguments, run.started_in, {str(path): path for path in run.outputs})


def _started(arguments: Sequence[str], started_in: Path, outputs: Mapping[str, Path]) -> RegisteredRun:
    reap()
    try:
        folder, alive = make_folder(arguments, outputs, started_in)
    except (OSError, RuntimeError) as error:
        why = f"the folder of the run could not be made: {error}"
        raise OutputError(Problem("The run was not started.", why=why, fix="set XDG_STATE_HOME")) from error
    try:
        with (folder / STDOUT).open("wb") as out, (folder / STDERR).open("wb") as err:
            # Without -P a folder with a json.py in it could not be merged in.
            child = subprocess.Popen(
                [*IGNORING_SIGHUP, sys.executable, "-P", "-m", "mergegraph", *arguments],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=started_in, start_new_session=True,
                pass_fds=(alive,), env={**os.environ, RUN_FOLDER: str(folder)},
            )  # fmt: skip
        leave(child)
        with suppress(OSError):
            put_pid(alive, child.pid)
            os.setpriority(os.PRIO_PROCESS, child.pid, os.getpriority(os.PRIO_PROCESS, 0) + GIVES_WAY)
    except OSError as error:
        forget(folder)
        raise OutputError(Problem("The run was not started.", why=str(error))) from error
    finally:
        os.close(alive)
    return RegisteredRun(folder)


def leave(child: subprocess.Popen[bytes]) -> None:
    """It goes on by itself; `reap` takes note of its end."""
    _children.append(child)


def reap() -> None:
    """Take note of children that have ended, so that the system can forget them."""
    _children[:] = [child for child in _children if child.poll() is None]
