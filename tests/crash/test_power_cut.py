"""Power cuts on real file systems: what is journaled is there after them, and what is complete is at its name.

Loop devices in a mount namespace of their own. A cut comes before a numbered call of the run, or right after the
command has said that it is done. Writers with a fault put in must be found, or the cuts would show nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.crash.conftest import Count
from tests.crash.forks import Ended, Forks, Prepared
from tests.crash.merges import believed, files_in, write_recipe
from tests.crash.power import MUTANTS, cut

pytestmark = pytest.mark.crash

RUN = ("run", "merge.yaml", "--json", "--quiet", "--threads", "1")
OLD = {"model.safetensors": b"of another tool"}
NEVER = -1

KINDS = {
    # noauto_da_alloc: ext4 does not flush a file by itself because it is renamed over another
    "ext4": ("noauto_da_alloc,loop", ["mkfs.ext4", "-q"], 64),
    # the smallest that mkfs.xfs makes
    "xfs": ("loop", ["mkfs.xfs", "-q"], 320),
}


@dataclass(frozen=True)
class Found:
    """What a power cut did: tensors or outputs that are not as they were said to be, and tensors done again."""

    lost: tuple[str, ...]
    redone: int
    kept: int


@dataclass
class Disk:
    """A file system on a loop device, with one recipe on it. `seen`: the mount as this process sees it."""

    forks: Forks
    folder: Path
    image: Path
    options: str
    log: Path
    expected: dict[str, bytes]
    tensors: int
    overwrite: bool

    @property
    def seen(self) -> Path:
        return self.forks.root / self.folder.relative_to("/")

    @property
    def arguments(self) -> tuple[str, ...]:
        return (*RUN, *["--overwrite"] * self.overwrite)

    def mount(self) -> None:
        self.forks.shell("mount", "-o", self.options, str(self.image), str(self.folder))

    def unmount(self) -> None:
        self.forks.shell("umount", str(self.folder))

    def begin(self) -> None:
        """Nothing there, or an old model, on the disk itself."""
        for entry in self.seen.glob("out*"):
            shutil.rmtree(entry)
        if self.overwrite:
            (self.seen / "out").mkdir()
            (self.seen / "out" / "model.safetensors").write_bytes(OLD["model.safetensors"])
        self.forks.shell("sync", "--file-system", str(self.folder))

    def run(self, at: int, *prepare: Prepared) -> Ended:
        cutting = ("cut_power", {"at": at, "mount": str(self.folder), "log": str(self.log)})
        return self.forks.run(self.folder, *self.arguments, prepare=(*prepare, cutting))

    def calls(self, *prepare: Prepared) -> list[str]:
        """The calls of a run that nothing stops."""
        self.begin()
        assert self.run(NEVER, *prepare).code == 0
        return self.log.read_text().split()

    def after_a_cut(self, at: int, *prepare: Prepared) -> Found:
        """Run until the cut, or to the end and cut then; the power is back; what is there? Then go on."""
        self.begin()
        ended = self.run(at, *prepare)
        if ended.code != -9:
            assert ended.code == 0, ended.said
            cut(self.seen)
        self.unmount()
        self.mount()
        lost = list(self._lost(said_done=ended.code == 0))
        out, partial = self.seen / "out", self.seen / "out.partial"
        done = out.exists() and files_in(out) == self.expected
        whole = (partial / "mergegraph.json").exists() and not (partial / "journal").exists()
        kept = self.tensors if whole else len(believed(partial).tensors)
        again = self.forks.run(self.folder, *self.arguments)
        if again.code or files_in(out) != self.expected:
            lost.append(f"the next run ended with {again.code}, or other bytes")
        rest = again.report.get("computed", 0) + again.report.get("copied", 0)
        return Found(tuple(lost), 0 if done or lost else rest - (self.tensors - kept), kept)

    def _lost(self, *, said_done: bool) -> Iterator[str]:
        out = self.seen / "out"
        there = files_in(out) if out.exists() else None
        if there not in (self.expected, OLD if self.overwrite else None):
            yield "neither the old nor the new output, or a part of one, is at the final name"
        if said_done and there != self.expected:
            yield "the output that was said to be done is not there"
        yield from (f"{name} was recorded" for name in believed(self.seen / "out.partial").untrue)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if shutil.which(KINDS[name][1][0]) is None:
        pytest.skip(f"{KINDS[name][1][0]} is not installed")
    return name


@pytest.fixture(params=[1, 5], ids=["one file", "five shards over an old model"])
def disk(request: pytest.FixtureRequest, kind: str, mounts: Forks, small_models: Path, place: Path) -> Iterator[Disk]:
    shards: int = request.param
    options, make, mebibytes = KINDS[kind]
    folder, image = place / "disk", place / "image"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(mebibytes * 1024**2)
    mounts.shell(*make, str(image))
    disk = Disk(mounts, folder, image, options, place / "calls", {}, 0, shards > 1)
    disk.mount()
    write_recipe(disk.seen, "average", shards, small_models)
    report = mounts.run(folder, *RUN).report
    disk.expected, disk.tensors = files_in(disk.seen / "out"), int(report["tensors"])
    yield disk
    disk.unmount()


@pytest.mark.parametrize("points", [45])
def test_after_a_power_cut_the_run_goes_on(disk: Disk, kind: str, count: Count, points: int) -> None:
    points = points if kind == "ext4" else points // 2 + 1
    calls = len(disk.calls())
    lost: dict[int, tuple[str, ...]] = {}
    redone = kept = 0
    for at in (*(calls * point // (points - 1) for point in range(points - 1)), calls * 2):
        found = disk.after_a_cut(at)
        redone, kept = redone + found.redone, kept + found.kept
        if found.lost:
            lost[at] = found.lost
    count(f"power cut, {kind}", tried=points, lost=len(lost), redone=redone, kept=kept)
    assert not lost
    assert redone == 0
    assert kept > 0


@pytest.mark.parametrize("mutant", MUTANTS)
def test_power_cuts_find_a_writer_that_syncs_in_the_wrong_order(
    disk: Disk, kind: str, count: Count, mutant: str
) -> None:
    """Cuts before syncs, where what was not synced is still to be lost, and after the end."""
    changed = ("mutant", {"name": mutant})
    calls = disk.calls(changed)
    syncs = [at for at, name in enumerate(calls) if name in ("fdatasync", "fsync")]
    chosen = [*sorted({syncs[len(syncs) * point // 14] for point in range(14)}), len(calls) * 2]
    caught = [at for at in chosen if disk.after_a_cut(at, changed).lost]
    count(f"mutant, {kind}: {mutant}", tried=len(chosen), caught=len(caught))
    assert caught
