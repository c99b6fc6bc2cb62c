"""What `convert` refuses to open, and that nothing of it is run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mergegraph.cli import main
from mergegraph.converting.archive import fits
from mergegraph.converting.convert import convert, require_torch
from mergegraph.converting.sources import examine
from mergegraph.converting.worker import Worker
from mergegraph.errors import InputError, RunError
from tests.cli.tiny_models import tree
from tests.converting.pickles import hostile, other_formats

_CANARY = Path("/tmp") / f"mergegraph-canary-{os.getpid()}"


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker(1 << 20) as one:
        yield one


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
@pytest.mark.parametrize("reason", hostile(_CANARY))
def test_a_hostile_file_is_refused_and_nothing_of_it_runs(worker: Worker, tmp_path: Path, reason: str) -> None:
    write, said = hostile(_CANARY)[reason]
    write(tmp_path / "x.pt")
    with pytest.raises(InputError) as caught:
        worker.open(str(tmp_path / "x.pt"), None)
    text = str(caught.value)
    assert said in text
    assert "weights_only" not in text, "torch's advice to load without protection is not passed on"
    assert not _CANARY.exists()


def test_the_canary_would_sing(tmp_path: Path) -> None:
    """Opened without protection, the file runs its command: what the table above holds is no harmless file."""
    path = tmp_path / "x.pt"
    hostile(tmp_path / "canary")["runs a command"][0](path)
    careless = "import sys, torch; torch.load(sys.argv[1], weights_only=False)"
    subprocess.run([sys.executable, "-W", "ignore", "-c", careless, str(path)], check=True)
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize("reason", other_formats())
def test_another_format_is_told_by_its_first_bytes(tmp_path: Path, reason: str) -> None:
    write, said = other_formats()[reason]
    write(tmp_path / "x.pt")
    with pytest.raises(InputError, match=said):
        examine(tmp_path / "x.pt")


def test_the_command_refuses_with_2_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile(tmp_path / "canary")["runs a command"][0](tmp_path / "pytorch_model.bin")
    before = tree(tmp_path)
    assert main(["convert", str(tmp_path)]) == 2
    assert main(["convert", str(tmp_path / "pytorch_model.bin"), "-o", str(tmp_path / "out")]) == 2
    assert "nothing of it was run" in capsys.readouterr().err
    assert tree(tmp_path) == before


LINKS = [
    ("pytorch_model.bin", "pytorch_model.bin", "is a link that leads nowhere", "itself"),
    ("pytorch_model.bin", "gone", "is a link that leads nowhere", "nothing"),
    ("pytorch_model.bin.index.json", "../secret", "leads out of its folder", "an index elsewhere"),
    ("pytorch_model.bin", "../secret", "leads out of its folder", "a file elsewhere"),
    ("pytorch_model.bin", "../blobs/0a1b", "leads out of its folder", "a folder that is called as the Hub's"),
]


@pytest.mark.parametrize(("name", "target", "told", "leads_to"), LINKS, ids=[row[3] for row in LINKS])
def test_a_link_stays_inside_the_folder(
    tmp_path: Path, name: str, target: str, told: str, leads_to: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("m", "blobs"):
        (tmp_path / folder).mkdir()
    for file in ("secret", "blobs/0a1b"):
        torch.save({"w": torch.ones(3)}, tmp_path / file)
    (tmp_path / "m" / name).symlink_to(target)
    before = tree(tmp_path)
    assert main(["convert", str(tmp_path / "m")]) == 2
    shown = capsys.readouterr().err
    assert told in shown
    assert "  fix     " in shown
    assert "Traceback" not in shown
    assert tree(tmp_path) == before


def test_the_links_of_the_hubs_cache_are_followed(tmp_path: Path) -> None:
    cache = tmp_path / "models--org--name"
    (cache / "blobs").mkdir(parents=True)
    (cache / "snapshots" / "f00").mkdir(parents=True)
    torch.save({"w": torch.ones(3)}, cache / "blobs" / "0a1b")
    (cache / "snapshots" / "f00" / "pytorch_model.bin").symlink_to("../../blobs/0a1b")
    assert convert(cache / "snapshots" / "f00", tmp_path / "out").tensors == 1


def test_the_child_is_confined() -> None:
    with Worker(5 << 20) as worker:
        process = Path("/proc") / str(worker._process.pid)
        limits = {line[:26].strip(): line[26:].split()[:2] for line in (process / "limits").read_text().splitlines()}
        network = (process / "ns" / "net").readlink()
        environment = {line.split(b"=")[0] for line in (process / "environ").read_bytes().split(b"\0")}
    assert limits["Max file size"] == ["0", "0"]
    assert limits["Max core file size"] == ["0", "0"]
    assert limits["Max cpu time"] == ["120", "120"]
    assert int(limits["Max address space"][0]) < 64 << 30
    assert environment <= {b"", b"PATH", b"LANG", b"LC_ALL", b"LD_LIBRARY_PATH", b"PYTHONPATH"}
    cut_off = network != Path("/proc/self/ns/net").readlink()
    assert cut_off == (not any("network" in each for each in worker.unconfined))


def test_a_child_that_dies_is_reported(tmp_path: Path) -> None:
    with Worker(1 << 20) as worker:
        worker._process.kill()
        with pytest.raises(RunError, match="ended early"):
            worker.open(str(tmp_path / "x.pt"), None)


@pytest.mark.parametrize("installed", ["2.9.1", "2.6.0+cu124", "1.13", "2.9.0a0+git"])
def test_an_older_torch_is_refused(installed: str) -> None:
    with pytest.raises(RunError, match=r"needs torch 2\.10 or newer"):
        require_torch(installed)


@pytest.mark.parametrize("installed", ["2.10.0", "2.13.0+cpu", "3.0"])
def test_a_newer_torch_is_taken(installed: str) -> None:
    require_torch(installed)


STORED = [(64, 40), (128, 4096), (4288, 40)]


@pytest.mark.parametrize(
    ("claimed", "fit", "reason"),
    [
        ([(64, 40), (128, 4096), (4288, 40)], True, "each its own, as loaded"),
        ([(4288, 40)], True, "a checkpoint need not use every storage"),
        ([], True, "nothing is claimed"),
        ([(0, 0), (128, 4096)], True, "an empty tensor has no storage"),
        ([(128, 4097)], False, "longer than its storage"),
        ([(64, 40), (128, 4095)], False, "shorter than its storage"),
        ([(64, 40), (192, 4096)], False, "right lengths, wrong distance"),
        ([(68, 40)], False, "a mapping begins at a page"),
    ],
)
def test_mapped_storages_are_whole_records(claimed: list[tuple[int, int]], fit: bool, reason: str) -> None:
    mapped_at = 0x7F0000000000
    assert fits([(mapped_at + at, nbytes) for at, nbytes in claimed], STORED) is fit, reason
