"""kill -9 of the command as people start it, at random moments: nothing is lost, nothing is done twice.

Kills come in chains: each run goes on from where the one before was killed. The moment is found by looking at the
partial folder, and a random delay of up to a few milliseconds after that.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.crash.conftest import Count
from tests.crash.forks import Forks, last_object
from tests.crash.merges import RECIPES, SHARDS, believed, files_in, kept_tensors, write_models, write_recipe

OFTEN = Path(__file__).parent / "often"
REPOSITORY = Path(__file__).resolve().parents[2]
OLD = {"model.safetensors": b"of another tool"}

# The last run may be over before it is killed; then the chain begins again with an empty folder.
ATTEMPTS_PER_POINT = 4


def command(folder: Path, *options: str, often: bool = True) -> subprocess.Popen[str]:
    paths = [str(OFTEN)] * often + [str(REPOSITORY), str(REPOSITORY / "tui"), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, "-m", "mergegraph", "run", "merge.yaml", "--json", "--quiet", *options],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip


def completed(folder: Path, *options: str, often: bool = True) -> dict[str, object]:
    """Run to the end; the report."""
    with command(folder, *options, often=often) as process:
        said, complained = process.communicate()
    assert process.returncode == 0, complained
    return last_object(said)


@dataclass
class Chain:
    """A folder in which one merge is killed again and again."""

    folder: Path
    options: tuple[str, ...]
    expected: dict[str, bytes]
    tensors: int
    chance: random.Random
    often: bool = True
    tried: int = 0
    lost: int = 0
    kept: dict[str, str] = field(default_factory=dict)
    moments: list[str] = field(default_factory=list)

    @property
    def partial(self) -> Path:
        return self.folder / "out.partial"

    def begin(self) -> None:
        """Nothing there, or an old model that may be replaced."""
        if "--overwrite" in self.options:
            (self.folder / "out").mkdir(exist_ok=True)
            for entry in (self.folder / "out").iterdir():
                entry.unlink()
            (self.folder / "out" / "model.safetensors").write_bytes(OLD["model.safetensors"])
        self.kept = {}

    def kill(self, name: str, due: Callable[[], bool], within_seconds: float) -> bool:
        """Kill a run some time after `due`. False when the run was over before."""
        process = command(self.folder, *self.options, often=self.often)
        with process:
            while process.poll() is None and not due():
                time.sleep(0.0003 if self.partial.exists() else 0.003)
            time.sleep(self.chance.random() * within_seconds)
            process.kill()
            process.communicate()
        self.check()
        if process.returncode == -9:
            self.tried += 1
            self.moments.append(name)
            return True
        assert process.returncode == 0
        return False

    def check(self) -> None:
        """What must be so at any moment: the final name, the journal's word, and that it only grows."""
        out = self.folder / "out"
        if "--overwrite" in self.options:
            assert out.exists(), self.moments
        if out.exists():
            assert files_in(out) in (self.expected, OLD), self.moments
        found = believed(self.partial)
        self.lost += len(found.untrue)
        if (self.partial / "journal").exists():
            self.lost += len(self.kept.items() - found.tensors.items())
            self.kept = dict(found.tensors)

    def recorded(self) -> int:
        try:
            return (self.partial / "journal").read_bytes().count(b"\n") - 1
        except FileNotFoundError:
            return -1

    def complete(self) -> int:
        """The same command, to the end. How many journaled tensors it did again."""
        done = (self.folder / "out").exists() and files_in(self.folder / "out") == self.expected
        kept = kept_tensors(self.partial, self.tensors)
        report = completed(self.folder, *self.options, often=self.often)
        assert files_in(self.folder / "out") == self.expected, self.moments
        assert not self.partial.exists()
        made = int(str(report["computed"])) + int(str(report["copied"]))
        if done:  # to overwrite a finished output is to make it again, whole
            assert made == (self.tensors if "--overwrite" in self.options else 0)
            return 0
        redone = made - (self.tensors - kept)
        assert int(str(report["resumed"])) == kept, self.moments
        return redone


def moment(chain: Chain, point: int, points: int) -> tuple[str, Callable[[], bool], float]:
    """Which phase the point falls into: starting, laying out, merging (most of them), finishing."""
    if point == 0:
        until = time.monotonic() + chain.chance.random()
        return "starting", lambda: time.monotonic() > until, 0.3
    if point == 1:
        return "laying out", chain.partial.exists, 0.004
    if point == points - 1:
        return "finishing", (chain.partial / "mergegraph.json").exists, 0.003
    # Later points of a chain find more recorded: this leaves something for each of them.
    more = chain.chance.randint(0, max(1, (chain.tensors - len(chain.kept)) // (points - point)))
    wanted = len(chain.kept) + more
    return "merging", lambda: chain.recorded() >= wanted, 0.004


def killed(chain: Chain, points: int, chain_points: int = 7) -> tuple[int, int]:
    """So many kills, in chains that each end with a complete run: tensors done again, and tensors kept by kills."""
    redone = kept = attempts = 0
    while chain.tried < points:
        chain.begin()
        length = min(chain_points, points - chain.tried)
        for point in range(length):
            attempts += 1
            assert attempts < ATTEMPTS_PER_POINT * points, "the runs are over before they can be killed"
            if not chain.kill(*moment(chain, point, length)):
                break
        kept += len(chain.kept)
        redone += chain.complete()
        if "--overwrite" not in chain.options:
            for entry in (chain.folder / "out").iterdir():
                entry.unlink()
            (chain.folder / "out").rmdir()
    return redone, kept


HEAVY = pytest.mark.crash


@pytest.mark.parametrize("points", [pytest.param(7, id="7"), pytest.param(28, id="28", marks=HEAVY)])
@pytest.mark.parametrize("shards", SHARDS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_killed_command_goes_on_with_the_same_command(
    place: Path, models: Path, forks: Forks, count: Count, recipe: str, shards: int, points: int
) -> None:
    """Into shards it overwrites: then there is a whole model at the final name at every moment."""
    write_recipe(place, recipe, shards, models)
    report = forks.run(place, "run", "merge.yaml", "--json", "--quiet").report
    expected = files_in(place / "out")
    assert sum(name.endswith(".safetensors") for name in expected) == shards
    (place / "out").rename(place / "reference")
    options = ("--overwrite",) if shards > 1 else ()
    chain = Chain(place, options, expected, int(str(report["tensors"])), random.Random(f"{recipe} {shards} {points}"))
    redone, kept = killed(chain, points)
    count("kill -9", tried=chain.tried, lost=chain.lost, redone=redone, kept=kept, **Counter(chain.moments))
    assert (chain.lost, redone) == (0, 0), chain.moments
    assert kept > 0


@pytest.mark.crash
def test_a_killed_command_goes_on_where_commits_are_as_rare_as_they_are(place: Path, count: Count) -> None:
    """600 MB, and nothing of the command is changed: three commits on the way."""
    if shutil.disk_usage(place).free < 4 * 1024**3:
        pytest.skip(f"{place} has less than 4 GiB free")
    write_models(place / "models", layers=24, hidden=1024, vocab=16384)
    write_recipe(place, "average", 5, place / "models")
    report = completed(place, often=False)
    expected = files_in(place / "out")
    (place / "out").rename(place / "reference")
    tensors = int(str(report["tensors"]))
    chain = Chain(place, (), expected, tensors, random.Random(1), often=False)
    redone, kept = killed(chain, 32, chain_points=4)
    count("kill -9", tried=chain.tried, lost=chain.lost, redone=redone, kept=kept, **Counter(chain.moments))
    assert (chain.lost, redone) == (0, 0), chain.moments
    assert kept > 0
