"""A disk of 8 MiB that fills at the worst moments: nothing is published, and with space freed the run goes on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.crash.conftest import Count
from tests.crash.forks import Forks, Prepared
from tests.crash.merges import files_in, kept_tensors, write_recipe

RUN = ("run", "merge.yaml", "--json", "--quiet", "--threads", "1")
KINDS = ("tmpfs", "ext4")


@dataclass(frozen=True)
class SmallDisk:
    """`folder` as the forks see it, `seen` the same folder as this process sees it."""

    folder: Path
    seen: Path


@pytest.fixture(params=KINDS)
def small_disk(request: pytest.FixtureRequest, mounts: Forks, place: Path) -> Iterator[SmallDisk]:
    folder = place / "disk"
    folder.mkdir()
    if request.param == "tmpfs":
        mounts.shell("mount", "-t", "tmpfs", "-o", "size=8m", "none", str(folder))
    else:
        image = place / "image"
        with image.open("wb") as file:
            file.truncate(8 * 1024**2)
        mounts.shell("mkfs.ext4", "-q", str(image))
        mounts.shell("mount", "-o", "loop", str(image), str(folder))
    yield SmallDisk(folder, mounts.root / folder.relative_to("/"))
    mounts.shell("umount", str(folder))


@pytest.mark.parametrize(
    ("prepare", "kept"),
    [
        pytest.param(("fill_disk_before_reserving", {"nth": 5}), False, id="at the fallocate of the last shard"),
        pytest.param(("fill_disk_before_reserving", {"nth": 6}), False, id="at the fallocate of the journal"),
        pytest.param(("fill_disk", {"before": "write"}), True, id="at mergegraph.json, all else being reserved"),
        pytest.param(("fill_disk", {"before": "finalize"}), True, id="at the index"),
    ],
)
def test_a_disk_that_is_full_stops_the_run_and_with_space_it_goes_on(
    small_disk: SmallDisk, mounts: Forks, small_models: Path, place: Path, count: Count, prepare: Prepared, kept: bool
) -> None:
    """Once laid out, tensors and journal have their space: every tensor is kept."""
    name, arguments = prepare
    filled = (name, {**arguments, "filler": str(small_disk.folder / "filler")})
    expected, tensors = reference(mounts, small_models, place)
    left = stopped_by(mounts, small_disk, small_models, (filled,), tensors)
    assert left == (tensors if kept else 0)
    goes_on(mounts, small_disk, expected, tensors, left, count)


@pytest.mark.parametrize("before", ["write", "commit"])
def test_a_disk_that_reserves_nothing_may_fill_between_any_two_writes(
    small_disk: SmallDisk, mounts: Forks, small_models: Path, place: Path, count: Count, before: str
) -> None:
    filled = ("fill_disk", {"before": before, "filler": str(small_disk.folder / "filler")})
    expected, tensors = reference(mounts, small_models, place)
    left = stopped_by(mounts, small_disk, small_models, (("reserve_nothing", {}), filled), tensors)
    goes_on(mounts, small_disk, expected, tensors, left, count)


def reference(mounts: Forks, models: Path, place: Path) -> tuple[dict[str, bytes], int]:
    """The output of a run that nothing stops, and its number of tensors."""
    folder = place / "reference"
    folder.mkdir()
    write_recipe(folder, "average", 5, models)
    report = mounts.run(folder, *RUN).report
    return files_in(folder / "out"), int(report["tensors"])


def stopped_by(mounts: Forks, disk: SmallDisk, models: Path, prepare: tuple[Prepared, ...], tensors: int) -> int:
    """A run that the full disk ends: how many tensors it leaves."""
    write_recipe(disk.seen, "average", 5, models)
    ended = mounts.run(disk.folder, *RUN, prepare=prepare)
    assert ended.code == 3, (ended.code, ended.said)
    assert "No space left on device" in ended.said
    assert "run the same command again after freeing space" in ended.said
    assert not (disk.seen / "out").exists()
    left = kept_tensors(disk.seen / "out.partial", tensors)
    assert (disk.seen / "out.partial").exists() == (left > 0)
    return left


def goes_on(mounts: Forks, disk: SmallDisk, expected: dict[str, bytes], tensors: int, left: int, count: Count) -> None:
    """Still full, the command says so again; with space, the same command does the rest."""
    assert mounts.run(disk.folder, *RUN).code == 3
    assert kept_tensors(disk.seen / "out.partial", tensors) == left
    (disk.seen / "filler").unlink()
    again = mounts.run(disk.folder, *RUN)
    assert again.code == 0, again.said
    assert files_in(disk.seen / "out") == expected
    redone = again.report["computed"] + again.report["copied"] - (tensors - left)
    count("full disk", tried=1, lost=0 if files_in(disk.seen / "out") == expected else 1, redone=redone, kept=left)
    assert redone == 0
