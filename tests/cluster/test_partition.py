"""A host that is cut off while it makes a shard, and goes on: another makes the shard, and nothing comes of the first.

Two hosts are two network namespaces of this one, which takes root.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.test_kills import SHARDS, Count, at_work, environment
from tests.crash.merges import files_in, write_models, write_recipe

pytest.importorskip("ray", reason='ray is not installed: pip install "mergegraph[ray]"')
pytestmark = [
    pytest.mark.crash,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces take root"),
]
RAY = [sys.executable, "-m", "ray.scripts.scripts"]
HEAD, HOST = ("mghead", "10.213.7.1"), ("mghost", "10.213.7.2")
PORT = 6413
KEEPALIVE = {f"RAY_grpc_{side}keepalive_{what}_ms": "3000" for side in ("", "client_") for what in ("time", "timeout")}


def sh(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def inside(space: tuple[str, str], *command: str) -> list[str]:
    return ["ip", "netns", "exec", space[0], *command]


@pytest.fixture
def link() -> Iterator[str]:
    """Two hosts with a cable between them; the name of its end at the head."""
    try:
        for name, _ in (HEAD, HOST):
            sh("ip", "netns", "add", name)
        sh("ip", "link", "add", "mgcable0", "netns", HEAD[0], "type", "veth", "peer", "mgcable1", "netns", HOST[0])
        for space, cable in ((HEAD, "mgcable0"), (HOST, "mgcable1")):
            sh(*inside(space, "ip", "address", "add", f"{space[1]}/24", "dev", cable))
            sh(*inside(space, "ip", "link", "set", cable, "up"))
            sh(*inside(space, "ip", "link", "set", "lo", "up"))
        yield "mgcable0"
    finally:
        for name, _ in (HEAD, HOST):
            pids = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False).stdout
            for pid in pids.split():
                os.kill(int(pid), signal.SIGKILL)
            subprocess.run(["ip", "netns", "delete", name], check=False)


def start_nodes() -> None:
    settings = {**environment(), **KEEPALIVE, "RAY_USAGE_STATS_ENABLED": "0"}
    shared = ["--num-cpus=1", "--object-store-memory=80000000", "--disable-usage-stats"]
    for space, place in (
        (HEAD, ["--head", f"--port={PORT}", f"--node-ip-address={HEAD[1]}", "--include-dashboard=false"]),
        (HOST, [f"--address={HEAD[1]}:{PORT}", f"--node-ip-address={HOST[1]}"]),
    ):
        subprocess.run(
            inside(space, *RAY, "start", *place, *shared), env=settings, check=True, capture_output=True, timeout=90
        )


def at_work_on(space: tuple[str, str]) -> list[int]:
    wanted = set(
        subprocess.run(["ip", "netns", "pids", space[0]], capture_output=True, text=True, check=True).stdout.split()
    )
    return [pid for pid in at_work() if str(pid) in wanted]


def test_a_host_that_is_cut_off_and_goes_on_changes_nothing(tmp_path: Path, link: str, record_property: Count) -> None:
    write_models(tmp_path / "models")
    write_recipe(tmp_path, "dropped", SHARDS, tmp_path / "models")
    command = [sys.executable, "-m", "mergegraph", "run", "merge.yaml"]
    subprocess.run([*command, "-o", "whole", "--quiet"], cwd=tmp_path, env=environment(), check=True)
    start_nodes()
    driver = subprocess.Popen(
        inside(HEAD, *command, "--executor", "ray", "--address", f"{HEAD[1]}:{PORT}", "--threads", "1", "--json"),
        cwd=tmp_path, env={**environment(), **KEEPALIVE}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (caught := at_work_on(HOST)):
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < deadline, "no shard was ever made on the other host"
    # Held in the middle of its shard, so that it is still at it when others have finished the output.
    os.kill(caught[0], signal.SIGSTOP)
    sh(*inside(HEAD, "ip", "link", "set", link, "down"))
    cut = time.monotonic()
    said, problems = driver.communicate(timeout=200)
    took = time.monotonic() - cut
    assert driver.returncode == 0, problems or said
    made = files_in(tmp_path / "out")
    os.kill(caught[0], signal.SIGCONT)
    time.sleep(3)
    assert made == files_in(tmp_path / "whole") == files_in(tmp_path / "out")
    assert not (tmp_path / "out.partial").exists()
    record_property("Ray, host cut off", {"cut": 1, "different": 0, "seconds until the output stood": round(took)})
