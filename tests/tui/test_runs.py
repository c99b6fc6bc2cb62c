"""Runs as children: they outlive their starter; are found, paused, stopped, gone on with; tell how they ended."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from mergegraph_tui.model import runs
from mergegraph_tui.model.followed import Followed
from mergegraph_tui.model.on_disk import finished_tensors, tensor_bytes
from mergegraph_tui.model.runs import Done, Failed, Lost, Options, Progress, RegisteredRun, Run, Stopped
from safetensors.torch import load_file, save_file

from mergegraph.errors import OutputError
from mergegraph.runs.folder import ALIVE, END, STDOUT
from mergegraph.tensors.lock import FolderLock
from tests.runs.children import LLAMAS, PYTHON, Workshop, wait_for

OPTIONS = Options(threads=1)

STARTER = """import os, sys, time
from pathlib import Path
from mergegraph_tui.model import runs
runs.sys.executable = os.environ["STARTS"]
print(runs.start(Path("merge.yaml"), runs.Options(threads=1)).folder, flush=True)
time.sleep(60)
"""


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    yield Workshop(tmp_path, monkeypatch)
    for run in runs.living():
        os.kill(run.pid, signal.SIGKILL)
        wait_for(lambda run=run: not run.is_alive())
    runs.reap()


def at(run: Run, *states: str) -> Callable[[], Progress | None]:
    def look() -> Progress | None:
        shown = run.progress()
        return shown if shown is not None and shown.state in states else None

    return look


def ended(run: Run) -> runs.End:
    return wait_for(run.end)


def killed(process: subprocess.Popen[bytes], master: int) -> None:
    os.kill(process.pid, signal.SIGKILL)


def hung_up(process: subprocess.Popen[bytes], master: int) -> None:
    os.close(master)


@pytest.mark.parametrize("ends", [killed, hung_up])
def test_a_run_outlives_whoever_started_it(
    workshop: Workshop, ends: Callable[[subprocess.Popen[bytes], int], None]
) -> None:
    """The starter has a terminal of its own, as from a shell."""
    workshop.close()
    master, slave = pty.openpty()
    starter = subprocess.Popen(
        ["setsid", "--ctty", PYTHON, "-c", STARTER], stdin=slave, stdout=subprocess.PIPE, stderr=slave
    )
    os.close(slave)
    assert starter.stdout is not None
    with starter, starter.stdout:
        folder = Path(starter.stdout.readline().decode().strip())
        ends(starter, master)
        starter.wait()
    if ends is killed:
        os.close(master)
    run = RegisteredRun(folder)
    assert runs.living() == [run]
    wait_for(at(run, "merging"))
    os.kill(run.pid, signal.SIGHUP)
    assert os.getsid(run.pid) == run.pid
    workshop.open()
    match ended(run):
        case Done(report=report):
            assert report["tensors"] == 38
        case other:
            pytest.fail(f"{other} {run.said()}")
    assert (workshop.output / "model.safetensors").is_file()


def test_pause_stop_and_go_on(workshop: Workshop) -> None:
    workshop.close(open_for=20)
    run = runs.start(workshop.recipe, OPTIONS)
    assert not runs.pause(run), "it has not begun to merge"
    wait_for(workshop.is_reached)
    shown = wait_for(at(run, "merging"))
    assert shown.began >= run.began
    assert shown.resident_bytes > 10 << 20
    assert run.outputs == (workshop.output,)
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, run.pid) == min(own + runs.GIVES_WAY, 19), "keys come before computing"
    assert runs.find(Path("out")) == runs.find(Path("out.partial")) == run
    assert run.end() is None
    assert runs.pause(run)
    wait_for(at(run, "paused"))
    workshop.open()
    time.sleep(0.3)  # three looks of the engine: it does not go on by itself
    shown = at(run, "paused")()
    assert shown is not None
    assert shown.tensors_done < 38
    workshop.close()
    runs.go_on(run)
    assert not (workshop.partial / "pause").exists()
    wait_for(at(run, "merging"))
    assert runs.stop(run)
    workshop.open()
    match ended(run):
        case Stopped(problems=(problem,), exit_code=130):
            assert "of 38 tensors are on disk" in problem.fact
        case other:
            pytest.fail(f"{other} {run.said()}")
    assert not runs.stop(run)
    assert run.progress() is not None, "the partial folder is kept"
    again = runs.start_again(run)
    match ended(again):
        case Done(report={"resumed": int(resumed), "tensors": 38}):
            assert resumed >= 20
        case other:
            pytest.fail(f"{other} {again.said()}")


def test_a_failure_names_node_and_tensor(workshop: Workshop) -> None:
    tensors = load_file(LLAMAS / "french" / "model.safetensors")
    name = sorted(tensors)[3]
    tensors[name] = tensors[name].clone().index_fill(0, torch.tensor([1]), float("nan"))
    spoilt = workshop.folder / "spoilt"
    spoilt.mkdir()
    for file in (LLAMAS / "french").iterdir():
        (spoilt / file.name).write_bytes(file.read_bytes())
    save_file(tensors, spoilt / "model.safetensors", {"format": "pt"})
    run = runs.start(workshop.write("bad.yaml", "out", spoilt), OPTIONS)
    match ended(run):
        case Failed(problems=(problem, *_), exit_code=1):
            assert problem.tensor == name
            assert problem.node == "merged"
            shown = Followed(run).look().shown
            assert shown is not None
            kept = finished_tensors(run.outputs)
            assert shown.progress.tensors_done == len(kept), "not what it published last"
            sizes = tensor_bytes(run.outputs)
            assert len(sizes) == 38
            assert shown.progress.bytes_done == sum(sizes[each] for each in kept)
        case other:
            pytest.fail(f"{other} {run.said()}")


def test_a_recipe_that_is_refused_says_so(workshop: Workshop) -> None:
    """Before a plan there is no registration: the end is on stdout."""
    run = runs.start(workshop.folder / "none.yaml", OPTIONS)
    match ended(run):
        case Failed(problems=(problem,), exit_code=2):
            assert "none.yaml" in problem.fact
        case other:
            pytest.fail(f"{other} {run.said()}")


def test_two_runs_at_once_and_one_that_is_killed(workshop: Workshop) -> None:
    workshop.close()
    first = runs.start(workshop.recipe, OPTIONS, outputs={"out": workshop.output})
    second = runs.start(workshop.write("other.yaml", "other"), OPTIONS)
    assert runs.find(workshop.output) == first, "known before it has a plan"
    wait_for(at(first, "merging"))
    wait_for(at(second, "merging"))
    assert runs.living() == [second, first]
    os.kill(first.pid, signal.SIGKILL)
    assert isinstance(ended(first), Lost)
    assert runs.living() == [second]
    workshop.open()
    assert isinstance(ended(second), Done)
    assert [runs.find(path) for path in (Path("out"), Path("other"))] == [first, second]


def test_a_number_that_another_process_got_is_not_the_run(workshop: Workshop) -> None:
    """The folder of a run that died names a process that lives: ours."""
    folder = workshop.folder / "state" / "mergegraph" / "runs" / "20250101T000000.000000-1-aa"
    folder.mkdir(parents=True)
    (folder / ALIVE).write_text(str(os.getpid()))
    run = RegisteredRun(folder)
    assert not run.is_alive()
    assert not runs.stop(run)
    assert isinstance(run.end(), Lost)


def test_a_run_that_only_its_lock_tells_of(workshop: Workshop) -> None:
    workshop.partial.mkdir()
    lock = FolderLock.take(workshop.partial / "lock")
    (workshop.partial / "progress.json").write_bytes(Progress("stopped", 3, 7).as_json())
    run = runs.find(workshop.output)
    assert isinstance(run, runs.UnregisteredRun)
    assert run.is_alive()
    assert run.pid == os.getpid()
    lock.release()
    assert not run.is_alive()
    assert run.end() == Stopped((), 130)
    assert runs.find(workshop.output) is None


def test_what_cannot_be_started_leaves_nothing(workshop: Workshop) -> None:
    with pytest.raises(OutputError, match="was not started"):
        runs.start(workshop.recipe, folder=workshop.folder / "gone")
    assert runs.known() == []
    (workshop.folder / "file").touch()
    workshop.patch.setenv("XDG_STATE_HOME", str(workshop.folder / "file"))
    with pytest.raises(OutputError, match="set XDG_STATE_HOME"):
        runs.start(workshop.recipe)


def test_torn_ends_are_no_ends(tmp_path: Path) -> None:
    (tmp_path / END).write_bytes(b'{"kind": "done", "tens')
    (tmp_path / STDOUT).write_bytes(b'{"kind": "plan"}\n{"kind": "error", "exit_code": 3, "problems": []}\n{"ki')
    assert RegisteredRun(tmp_path).end() == Failed((), 3)


def test_options_become_the_command_line() -> None:
    options = Options(Path("-o"), "1GiB", "cpu", 2, ("boost.by=0.5",), overwrite=True, stats=True)
    assert options.arguments(Path("-x.yaml")) == (
        "run", "--json", "--quiet", "--output=-o", "--budget=1GiB", "--device=cpu", "--threads=2",
        "--set=boost.by=0.5", "--overwrite", "--stats", "--", "-x.yaml",
    )  # fmt: skip
