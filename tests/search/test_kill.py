"""kill -9 of the command at random moments: no finished evaluation is made again, and the end is the same."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.search.searches import calls, is_running, write_search

REPOSITORY = Path(__file__).resolve().parents[2]
KILLS = 4
VARYING = {"seconds", "made_seconds", "timeout"}


def command(folder: Path) -> subprocess.Popen[str]:
    paths = [str(REPOSITORY), str(REPOSITORY / "tui"), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, "-m", "mergegraph", "search", "search.yaml", "--quiet"],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip


def completed(folder: Path) -> None:
    with command(folder) as process:
        _, complained = process.communicate(timeout=120)
    assert process.returncode == 0, complained


def whole_lines(folder: Path) -> list[dict[str, Any]]:
    path = folder / "found" / "ledger.jsonl"
    raw = path.read_bytes() if path.exists() else b""
    return [json.loads(line) for line in raw[: raw.rfind(b"\n") + 1].splitlines()]


def lasting(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What does not depend on when a process was killed."""
    return [{k: v for k, v in line.items() if k not in VARYING} for line in lines if line["event"] != "started"]


def test_a_killed_search_goes_on_and_repeats_no_evaluation(tmp_path: Path) -> None:
    chance = random.Random(8)
    evaluator = {"python": "judge:score", "arguments": {"seconds": 0.05}}
    write_search(tmp_path, evaluator=evaluator)
    kills = 0
    for _ in range(4 * KILLS):
        before = whole_lines(tmp_path)
        there = len(before)
        with command(tmp_path) as process:
            while process.poll() is None and len(whole_lines(tmp_path)) <= there:
                time.sleep(0.002)
            time.sleep(chance.random() * 0.15)
            process.kill()
            process.communicate()
        kills += process.returncode != 0
        assert whole_lines(tmp_path)[:there] == before, "a ledger only grows"
        if process.returncode == 0 or kills == KILLS:
            break
    assert kills >= 3
    completed(tmp_path)
    lines = whole_lines(tmp_path)
    keys = Counter(line["key"] for line in lines if line["event"] == "evaluated")
    assert set(keys.values()) == {1}
    # A kill may come between the evaluator's answer and the ledger: at most one evaluation a kill is lost.
    assert sum(calls(tmp_path).values()) <= len(keys) + kills

    # The same search, never killed, in the same place: the same ledger.
    found = (tmp_path / "found" / "found.yaml").read_text()
    (tmp_path / "found").rename(tmp_path / "killed")
    completed(tmp_path)
    assert lasting(whole_lines(tmp_path)) == lasting(lines)
    assert (tmp_path / "found" / "found.yaml").read_text() == found


def test_what_an_evaluator_started_ends_with_a_killed_search(tmp_path: Path) -> None:
    script = "import sys, time, os; open('pid', 'w').write(str(os.getpid())); time.sleep(300)"
    argv = ["{python}", "-c", script, "{model}", "{result}", "{split}"]
    write_search(tmp_path, evaluator={"command": argv})
    with command(tmp_path) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
        process.communicate()
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while is_running(pid):
        assert time.monotonic() < deadline, "the evaluator goes on without its search"
        time.sleep(0.02)
