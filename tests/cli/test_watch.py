"""`watch`: a run of another process is found, shown on a terminal, and its exit code handed on."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from mergegraph_tui.model import runs

from mergegraph.cli import main
from mergegraph.errors import Problem
from mergegraph.runs.ending import error_json
from mergegraph.runs.folder import END, make_folder, put, put_pid
from mergegraph.runs.following import living
from tests.runs.children import PYTHON, Workshop, wait_for
from tests.test_imports import LOADED, python


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def registered(output: str, *, alive: bool = False) -> tuple[Path, int]:
    """A run that says it lives in this process, or has ended; the folder, and the file that holds its lock."""
    place, fd = make_folder(["run", "m.yaml"], {"out": Path(output)}, Path.cwd())
    put_pid(fd, os.getpid())
    if not alive:
        os.close(fd)
    return place, fd


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    yield Workshop(tmp_path, monkeypatch)
    for run in living():
        os.kill(run.pid, signal.SIGKILL)
        wait_for(lambda run=run: not run.is_alive())
    runs.reap()


def seen(master: int, until: bytes) -> bytes:
    """What a terminal shows up to and with `until`."""
    shown = b""
    while until not in shown:
        shown += os.read(master, 4096)
    return shown


def test_a_terminal_shows_the_bar_and_ctrl_c_leaves_the_run_alone(workshop: Workshop) -> None:
    workshop.close(open_for=20)
    run = runs.start(workshop.recipe, runs.Options(threads=1))
    wait_for(workshop.is_reached)
    for stops_watching in (True, False):
        master, slave = pty.openpty()
        watch = [PYTHON, "-P", "-m", "mergegraph", "watch", *(["out"] if stops_watching else [])]
        watching = subprocess.Popen(
            watch, stdin=slave, stdout=slave, stderr=slave, env={**os.environ, "COLUMNS": "100"}
        )
        os.close(slave)
        seen(master, b"of 38")
        if stops_watching:
            watching.send_signal(signal.SIGINT)
            assert f"kill -INT {run.pid}".encode() in seen(master, b"keep what is done")
            assert watching.wait() == 130
            assert run.is_alive()
        else:
            workshop.open()
            seen(master, b"38 tensors: 38 computed, 0 copied")
            assert watching.wait() == 0
        os.close(master)


def test_a_run_of_the_command_is_known_and_how_it_ended(workshop: Workshop) -> None:
    """Started in a shell, without a file of ours for its streams."""
    arguments = [PYTHON, "-P", "-m", "mergegraph", "run", "merge.yaml", "--quiet"]
    assert subprocess.run(arguments, check=False).returncode == 0
    (run,) = runs.known()
    assert run.arguments == ("run", "merge.yaml", "--quiet")
    assert isinstance(run.end(), runs.Done)
    assert not (run.folder / "stdout").exists()


@pytest.mark.parametrize(
    ("end", "exit_code", "told"),
    [
        ({"kind": "done"}, 0, "/out  complete"),
        (error_json((Problem("It broke.", node="m", tensor="w"),), 1), 1, 'node "m", tensor w'),
        (error_json((Problem("It does not fit."),), 3), 3, "It does not fit."),
        (error_json((), 130), 130, "The run was stopped."),
        (error_json((), 75), 75, "The run was stopped."),
        ({}, 1, "The run ended without a word."),
    ],
)
def test_the_exit_code_is_that_of_the_run(
    end: dict[str, object], exit_code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place, _ = registered("out")
    if end:
        put(place / END, end)
    assert main(["watch", "out"]) == exit_code
    assert told in "".join(capsys.readouterr())


def test_several_runs_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    fds = [registered(output, alive=True)[1] for output in ("one", "two")]
    assert main(["watch"]) == 2
    shown = capsys.readouterr()
    assert [line.split("  ")[0].rsplit("/", 1)[1] for line in shown.out.splitlines()] == ["two", "one"]
    assert "2 runs are going" in shown.err
    for fd in fds:
        os.close(fd)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["watch"], "No run is going on this machine."), (["watch", "out"], "No run is writing out.")],
)
def test_nothing_to_watch(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert told in capsys.readouterr().err


def test_what_a_stopped_run_left_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "out.partial").mkdir()
    assert main(["watch", "out"]) == 2
    assert "mergegraph info out.partial" in capsys.readouterr().err


def test_only_the_last_runs_are_kept() -> None:
    for number in range(25):
        registered(f"out{number}")
    assert [run.outputs[0].name for run in runs.known()] == [f"out{number}" for number in range(24, 3, -1)]


def test_a_state_folder_that_cannot_be_written_fails_nothing(workshop: Workshop) -> None:
    (workshop.folder / "state").write_text("a file")
    ended = subprocess.run([PYTHON, "-P", "-m", "mergegraph", "run", "merge.yaml", "--json"], capture_output=True,
                           check=False)  # fmt: skip
    assert ended.returncode == 0
    assert json.loads(ended.stdout.splitlines()[-1])["kind"] == "done"


def test_watching_imports_no_torch(folder: Path) -> None:
    code = (f"import sys\nfrom mergegraph.cli import main\nassert main(['watch', 'out']) == 2\n"
            f"{LOADED}")  # fmt: skip
    assert python(code, "torch,textual,numpy,networkx,mergegraph.methods", folder=folder) == "\n"
