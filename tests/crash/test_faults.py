"""Every system call of a run fails, or is where it is killed: it ends cleanly, and the same command goes on.

strace puts the fault into the n-th call, of the main thread or of the only worker, at one path. The command line is
as it is, but that it commits often; it is a fork of a process that has imported torch already.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.crash.conftest import Count
from tests.crash.forks import Ended, Forks
from tests.crash.merges import files_in, kept_tensors, write_recipe

RUN = ("run", "merge.yaml", "--json", "--quiet", "--threads", "1")
PARTIAL = "out.partial"
SHARD = f"{PARTIAL}/model-00002-of-00005.safetensors"
JOURNAL = f"{PARTIAL}/journal"
DRAFT = f"{PARTIAL}/.journal.tmp"
OLD = {"model.safetensors": b"of another tool"}


@dataclass(frozen=True)
class Fault:
    """`fault` (a signal, an error, or what is returned in place of the call) at the `when`-th `call` at `path`.

    `survived`: the run is to end well all the same.
    """

    call: str
    fault: str
    when: int
    path: str
    survived: bool = False
    overwrite: bool = False

    @property
    def injection(self) -> str:
        kind = "signal=" if self.fault.startswith("SIG") else "error=" if self.fault.startswith("E") else ""
        return f"{self.call}:{kind}{self.fault}:when={self.when}"

    def __str__(self) -> str:
        return f"{self.call} {self.when} of {Path(self.path).name} {self.fault}{' overwriting' * self.overwrite}"


def rows(call: str, path: str, whens: tuple[int, ...], faults: str, *, overwrite: bool = False) -> list[Fault]:
    """`faults`: names, those that a run is to survive with a plus behind them."""
    return [
        Fault(call, fault.removesuffix("+"), when, path, fault.endswith("+"), overwrite)
        for fault in faults.split()
        for when in whens
    ]


FAULTS = [
    # laying out: nothing is computed yet, and a failure leaves nothing
    *rows("mkdir", PARTIAL, (1,), "SIGKILL EIO ENOSPC EDQUOT EINTR"),
    *rows("flock", PARTIAL, (1,), "SIGKILL EIO ENOLCK+"),  # no locks here: the name in the file decides
    *rows("fallocate", SHARD, (1,), "SIGKILL EIO ENOSPC EDQUOT EINTR+ EOPNOTSUPP+"),
    *rows("pwrite64", SHARD, (1,), "SIGKILL EIO ENOSPC EINTR+"),  # its header
    *rows("fsync", SHARD, (1,), "SIGKILL EIO EINTR+"),
    *rows("fallocate", DRAFT, (1,), "SIGKILL ENOSPC EDQUOT EINTR+"),
    *rows("pwrite64", DRAFT, (1,), "SIGKILL EIO ENOSPC"),
    *rows("rename", DRAFT, (1,), "SIGKILL EIO ENOSPC"),
    *rows("fsync", PARTIAL, (1, 2), "SIGKILL EIO"),  # its names: before the first record, and with the journal's
    # merging
    *rows("preadv2", "models", (1, 40), "SIGKILL EIO EINTR+"),
    *rows("openat", SHARD, (2,), "SIGKILL EIO EMFILE"),
    *rows("pwrite64", SHARD, (3, 20), "SIGKILL EIO ENOSPC EDQUOT EINTR+"),
    *rows("fdatasync", SHARD, (1, 5), "SIGKILL EIO ENOSPC EINTR+"),
    *rows("pwrite64", JOURNAL, (1, 9), "SIGKILL EIO ENOSPC"),
    *rows("fdatasync", JOURNAL, (1, 9), "SIGKILL EIO"),
    # finishing
    *rows("pwrite64", f"{PARTIAL}/.mergegraph.json.tmp", (1,), "SIGKILL EIO ENOSPC"),
    *rows("rename", f"{PARTIAL}/.model.safetensors.index.json.tmp", (1,), "SIGKILL EIO"),
    *rows("fsync", SHARD, (2,), "SIGKILL EIO"),
    *rows("unlink", JOURNAL, (1,), "SIGKILL EIO"),
    *rows("rename", PARTIAL, (1,), "SIGKILL EIO ENOSPC"),
    *rows("renameat2", PARTIAL, (1,), "SIGKILL EIO EINVAL+", overwrite=True),  # a disk that cannot exchange names
    *rows("rename", PARTIAL, (1,), "SIGKILL EIO", overwrite=True),  # what was exchanged is moved aside
    *rows("fsync", ".", (2,), "SIGKILL EIO"),
]


def test_there_are_enough_points() -> None:
    assert len(set(FAULTS)) == len(FAULTS) >= 60


@pytest.fixture(scope="module")
def strace(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program; a skip where it is not, or may not attach itself to a process."""
    program = shutil.which("strace")
    if program is None:
        pytest.skip("strace is not installed")
    with subprocess.Popen(["sleep", "60"]) as sleeping:
        attached = subprocess.Popen([program, "-qq", "-p", str(sleeping.pid)], stderr=subprocess.PIPE)
        tracing = _is_traced(sleeping.pid, attached)
        sleeping.kill()
        _, complaint = attached.communicate()
    if not tracing:
        pytest.skip(f"strace may not trace here: {complaint.decode()}")
    return program


def _is_traced(pid: int, tracer: subprocess.Popen[Any]) -> bool:
    while tracer.poll() is None:
        if "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text():
            return True
        time.sleep(0.001)
    return False


@dataclass
class Bench:
    """One merge into five shards, done once without a fault."""

    forks: Forks
    strace: str
    folder: Path
    expected: dict[str, bytes]
    tensors: int

    def begin(self, *, overwrite: bool) -> None:
        for entry in self.folder.glob("out*"):
            shutil.rmtree(entry)
        if overwrite:
            (self.folder / "out").mkdir()
            (self.folder / "out" / "model.safetensors").write_bytes(OLD["model.safetensors"])

    def run(self, *options: str) -> Ended:
        return self.forks.run(self.folder, *RUN, *options)

    def run_with(self, fault: Fault, *options: str) -> Ended:
        """The run, with the fault in it; AssertionError where no such call was made."""
        go = self.folder / "go"
        go.unlink(missing_ok=True)
        os.mkfifo(go)
        pid = self.forks.start(self.folder, *RUN, *options, prepare=(("traceable", {}),), go=go)
        log = self.folder / "strace"
        paths = self._inputs() if fault.path == "models" else [self.folder / fault.path]
        at = [part for path in paths for part in ("-P", str(path))]
        inject = ["-e", f"trace={fault.call}", "-e", f"inject={fault.injection}"]
        with subprocess.Popen([self.strace, "-f", "-qq", "-o", str(log), *inject, *at, "-p", str(pid)]) as tracer:
            assert _is_traced(pid, tracer)
            go.write_bytes(b"")
            ended = self.forks.wait(pid)
        assert "INJECTED" in log.read_text() or ended.code == -9, f"no such call: {log.read_text()[-500:]}"
        return ended

    def _inputs(self) -> list[Path]:
        return sorted(self.folder.parent.glob("models/*/*.safetensors"))


@pytest.fixture(scope="module")
def bench(memory: Path, models: Path, forks: Forks, strace: str) -> Bench:
    folder = memory / "faults"
    folder.mkdir()
    write_recipe(folder, "average", 5, models)
    report = forks.run(folder, *RUN).report
    return Bench(forks, strace, folder, files_in(folder / "out"), int(report["tensors"]))


def check_going_on(bench: Bench, overwrite: bool, count: Count, kind: str) -> None:
    """At the final name is nothing, or the old, or the new; the same command makes it the new, and only the rest."""
    out = bench.folder / "out"
    assert out.exists() or not overwrite
    done = out.exists() and files_in(out) == bench.expected
    assert done or not out.exists() or files_in(out) == OLD
    kept = kept_tensors(bench.folder / PARTIAL, bench.tensors)
    again = bench.run(*["--overwrite"] * overwrite)
    assert again.code == 0, again.said
    assert files_in(out) == bench.expected
    assert sorted(entry.name for entry in bench.folder.glob("out*")) == ["out"]
    made = again.report["computed"] + again.report["copied"]
    if done:  # to overwrite a finished output is to make it again, whole
        assert made == (bench.tensors if overwrite else 0)
    redone = 0 if done else made - (bench.tensors - kept)
    count(kind, tried=1, lost=0 if files_in(out) == bench.expected else 1, redone=redone, kept=kept)
    assert redone == 0


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_fault_ends_the_run_cleanly_and_the_next_goes_on(bench: Bench, count: Count, fault: Fault) -> None:
    bench.begin(overwrite=fault.overwrite)
    ended = bench.run_with(fault, *["--overwrite"] * fault.overwrite)
    assert "bug in mergegraph" not in ended.said, ended.said
    if fault.fault == "SIGKILL":
        assert ended.code == -9
    elif fault.survived:
        assert ended.code == 0, ended.said
        assert files_in(bench.folder / "out") == bench.expected
    else:
        full = fault.fault in ("ENOSPC", "EDQUOT")
        assert ended.code == 3 if full else ended.code in (1, 2), (ended.code, ended.said)
        assert ended.report["kind"] == "error"
        assert ended.report["problems"][0]["fix"]
    check_going_on(bench, fault.overwrite, count, "strace")


@pytest.mark.parametrize("fraction", [0.1, 0.4, 0.9])
def test_a_write_that_is_cut_short_by_a_limit_ends_the_run_cleanly(bench: Bench, count: Count, fraction: float) -> None:
    """The kernel takes a part of one write, and nothing of the next: EFBIG."""
    bench.begin(overwrite=False)
    limited = ("limit_file_size", {"fraction": fraction})
    ended = bench.forks.run(bench.folder, *RUN, prepare=(limited,))
    assert ended.code == 1, ended.said
    assert "File too large while writing" in ended.said
    check_going_on(bench, False, count, "short write")


LIES = [Fault("pwrite64", "retval=4096", when, SHARD) for when in (2, 9, 20)]


@pytest.mark.parametrize("fault", LIES, ids=str)
def test_a_write_that_did_not_happen_is_caught_by_reading_back(bench: Bench, count: Count, fault: Fault) -> None:
    """The kernel says that 4096 bytes were written, and they were not: no other check can see this."""
    bench.begin(overwrite=False)
    assert bench.run_with(fault).code == 0
    assert files_in(bench.folder / "out") != bench.expected
    if (
        "--verify-output"
        not in subprocess.run(
            [sys.executable, "-m", "mergegraph", "run", "--help"], capture_output=True, text=True, check=True
        ).stdout
    ):
        pytest.skip("this version has no --verify-output")
    bench.begin(overwrite=False)
    ended = bench.run_with(fault, "--verify-output")
    assert ended.code == 1, ended.said
    assert not (bench.folder / "out").exists()
    assert bench.run().code == 0
    assert files_in(bench.folder / "out") == bench.expected
    count("lying write, with --verify-output", tried=1, caught=1)
