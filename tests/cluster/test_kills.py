"""Workers and drivers of a Ray cluster of three nodes that are killed at any moment: the output is that of one machine.

The long form is `make cluster`: 20 workers, 10 drivers.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.crash.merges import files_in, write_models, write_recipe

pytest.importorskip("ray", reason='ray is not installed: pip install "mergegraph[ray]"')

Count = Callable[[str, dict[str, int]], None]
ROOT = Path(__file__).parents[2]
SHARDS = 12


def environment() -> dict[str, str]:
    return {**os.environ, "RAY_AUTH_MODE": "disabled", "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tui")])}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.cluster.three_nodes"], cwd=ROOT, env=environment(), stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as cluster:  # fmt: skip
        assert cluster.stdout is not None
        yield cluster.stdout.readline().strip()
        cluster.communicate()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cluster")
    write_models(folder / "models")
    write_recipe(folder, "dropped", SHARDS, folder / "models")
    subprocess.run(
        [sys.executable, "-m", "mergegraph", "run", "merge.yaml", "-o", "whole", "--quiet"], cwd=folder,
        env=environment(), check=True,
    )  # fmt: skip
    return folder


def started(place: Path, address: str) -> subprocess.Popen[str]:
    command = ["run", "merge.yaml", "--executor", "ray", "--address", address, "--threads", "1", "--json"]
    return subprocess.Popen(
        [sys.executable, "-m", "mergegraph", *command], cwd=place, env=environment(), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def at_work() -> list[int]:
    """The processes that make a shard now; Ray names them after their task."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::perform"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def as_one_machine(place: Path) -> bool:
    """Whether the output is that of one machine; it is deleted then."""
    same = files_in(place / "out") == files_in(place / "whole")
    subprocess.run(["rm", "-r", str(place / "out")], check=True)
    return same and not (place / "out.partial").exists()


def kill_workers(place: Path, address: str, kills: int, seed: int) -> int:
    """Kill so many workers at random moments of one run. How many were hit."""
    chance, hit = random.Random(seed), 0
    driver = started(place, address)
    deadline = time.monotonic() + 180
    while hit < kills and driver.poll() is None and time.monotonic() < deadline:
        if victims := at_work():
            time.sleep(chance.uniform(0, 0.15))
            try:
                os.kill(chance.choice(victims), signal.SIGKILL)
            except ProcessLookupError:
                continue
            hit += 1
            time.sleep(chance.uniform(0.2, 1.0))
        time.sleep(0.01)
    said, problems = driver.communicate(timeout=180)
    assert driver.returncode == 0, problems or said
    # Ray's own warnings of killed workers stand neither between the JSON nor beside it
    assert all(json.loads(line)["kind"] for line in said.splitlines())
    assert "raylet" not in problems
    return hit


def kill_drivers(place: Path, address: str, kills: int, seed: int) -> int:
    """Kill so many drivers in a row at random moments, then let one end."""
    chance, hit = random.Random(seed), 0
    while hit < kills:
        driver = started(place, address)
        try:
            driver.wait(timeout=chance.uniform(3.0, 9.0))
            break
        except subprocess.TimeoutExpired:
            driver.kill()
            driver.communicate()
            hit += 1
            assert not (place / "out").exists() or files_in(place / "out") == files_in(place / "whole")
    else:
        driver = started(place, address)
    said, problems = driver.communicate(timeout=180)
    assert driver.returncode == 0, problems or said
    return hit


@pytest.mark.slow
def test_a_killed_worker_changes_nothing(place: Path, address: str, record_property: Count) -> None:
    hit = kill_workers(place, address, 2, 0)
    assert hit
    assert as_one_machine(place)
    record_property("Ray worker kills", {"killed": hit, "different": 0})


@pytest.mark.slow
def test_a_killed_driver_is_started_again(place: Path, address: str, record_property: Count) -> None:
    hit = kill_drivers(place, address, 1, 1)
    assert as_one_machine(place)
    record_property("Ray driver kills", {"killed": hit, "different": 0})


@pytest.mark.crash
def test_twenty_workers_are_killed(place: Path, address: str, record_property: Count) -> None:
    killed = 0
    for seed in range(20):
        killed += kill_workers(place, address, min(3, 20 - killed), 100 + seed)
        assert as_one_machine(place), f"seed {100 + seed}"
        if killed >= 20:
            break
    assert killed == 20
    record_property("Ray worker kills", {"killed": killed, "different": 0})


@pytest.mark.crash
def test_ten_drivers_are_killed(place: Path, address: str, record_property: Count) -> None:
    killed = 0
    for seed in range(20):
        killed += kill_drivers(place, address, min(2, 10 - killed), 200 + seed)
        assert as_one_machine(place), f"seed {200 + seed}"
        if killed >= 10:
            break
    assert killed == 10
    record_property("Ray driver kills", {"killed": killed, "different": 0})
