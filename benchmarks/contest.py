"""Who takes part in a timing, and the rounds: every contestant once a round, in turn, so that a slow minute hits all.

Between two runs the output is deleted and the disk waited for, so that nobody pays for what another left behind.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from child import REPOSITORY, Finished, run_child

DROP_CACHES: Final = Path("/proc/sys/vm/drop_caches")
FLOOR: Final = REPOSITORY / "benchmarks" / "floor.py"


@dataclass(frozen=True, slots=True)
class Contestant:
    """A command to time. `command` may write files into the folder it is given, and makes `out` there."""

    name: str
    command: Callable[[Path], Sequence[str]]
    environment: Mapping[str, str] | None = None


def mergegraph_command(recipe: str, scratch: Path, *options: str) -> list[str]:
    path = scratch / "recipe.yaml"
    path.write_text(recipe)
    output = ("-o", str(scratch / "out")) if "--sweep" not in options else ()
    return [sys.executable, "-m", "mergegraph", "run", str(path), "--quiet", "--json", *output, *options]


def floor_command(inputs: Sequence[Path], scratch: Path, *options: str) -> list[str]:
    # -I -S: nothing but the standard library, so its start-up is the interpreter's.
    return [sys.executable, "-I", "-S", str(FLOOR), *options, str(scratch / "out"), *map(str, inputs)]


def rounds(
    contestants: Sequence[Contestant], repeats: int, folder: Path, *, cold: bool, log: Callable[[str], None]
) -> dict[str, list[Finished]]:
    """`repeats` measured rounds after one that is not, by contestant. Ends the program when a command fails."""
    finished: dict[str, list[Finished]] = {contestant.name: [] for contestant in contestants}
    for number in range(repeats + 1):
        for contestant in contestants:
            once = run_once(contestant, folder, cold=cold)
            log(f"round {number}  {contestant.name:24} {once.wall_seconds:7.2f} s")
            if number:
                finished[contestant.name].append(once)
    return finished


def run_once(contestant: Contestant, folder: Path, *, cold: bool = False) -> Finished:
    """One run in a new folder below `folder`, which is gone afterwards. Ends the program when the command fails."""
    scratch = folder / "scratch"
    scratch.mkdir(parents=True)
    try:
        command = contestant.command(scratch)
        os.sync()
        if cold:
            DROP_CACHES.write_text("3\n")
        finished = run_child(command, contestant.environment)
    finally:
        shutil.rmtree(scratch)
    if finished.exit_code:
        sys.exit(f"{' '.join(command)}\nexit code {finished.exit_code}\n{finished.stdout}{finished.stderr}")
    return finished
