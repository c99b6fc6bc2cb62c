"""Asked to stop, a run finishes its tiles, records what is done, and says by its exit code who asked."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.crash.conftest import Count
from tests.crash.forks import Forks
from tests.crash.merges import files_in, kept_tensors, write_recipe

RUN = ("run", "merge.yaml", "--json", "--quiet", "--threads", "1")
RARELY = ("commit_often", {"nbytes": 2**40})


@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
@pytest.mark.parametrize(
    ("signum", "code", "told"),
    [
        pytest.param(signal.SIGTERM, 75, "Stopped by SIGTERM", id="a scheduler: 75 asks it to start the job again"),
        pytest.param(signal.SIGINT, 130, "Stopped by Ctrl-C", id="a person"),
    ],
)
def test_a_signal_ends_the_run_with_everything_done_recorded(
    forks: Forks, place: Path, small_models: Path, count: Count, signum: int, code: int, told: str, times: int
) -> None:
    """No commit was due yet: it is the signal that makes one."""
    write_recipe(place, "average", 5, small_models)
    tensors = forks.run(place, *RUN, "-o", "reference").report["tensors"]
    pipe = place / "go"
    os.mkfifo(pipe)
    pid = forks.start(place, *RUN, prepare=(RARELY, ("wait", {"pipe": str(pipe), "tensors": 9})))
    opened = os.open(pipe, os.O_WRONLY)  # returns when the ninth tensor is done
    for _ in range(times):
        os.kill(pid, signum)
        time.sleep(0.2)  # two signals at once are one
    os.close(opened)
    ended = forks.wait(pid)
    assert ended.code == code
    assert told in ended.report["problems"][0]["fact"]
    assert "9 of 57 tensors are on disk" in ended.report["problems"][0]["fact"]
    assert not (place / "out").exists()
    kept = kept_tensors(place / "out.partial", tensors)
    assert kept == 9
    again = forks.run(place, *RUN)
    redone = again.report["computed"] + again.report["copied"] - (tensors - kept)
    count("signals", tried=1, redone=redone, kept=kept)
    assert redone == 0
    assert files_in(place / "out") == files_in(place / "reference")


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_before_the_run_leaves_nothing(
    forks: Forks, place: Path, small_models: Path, signum: int, code: int
) -> None:
    write_recipe(place, "average", 5, small_models)
    pipe = place / "go"
    os.mkfifo(pipe)
    pid = forks.start(place, *RUN, prepare=(("wait_in_planning", {"pipe": str(pipe)}),))
    opened = os.open(pipe, os.O_WRONLY)
    os.kill(pid, signum)
    assert forks.wait(pid).code == code
    os.close(opened)
    assert sorted(entry.name for entry in place.iterdir()) == ["go", "merge.yaml"]
