"""The pool on a real Ray: three nodes on this machine. Skipped where Ray is not installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch

from mergegraph.cli import main
from tests.tiny_models import llama_tensors, write_model

pytest.importorskip("ray", reason='ray is not installed: pip install "mergegraph[ray]"')

RECIPE = """mergegraph: 1
name: tested
seed: 3
models: {base: ./base, code: ./code}
nodes:
  d: {op: dare, input: code, base: base, density: 0.6}
  m: {op: sum, inputs: [base, d]}
  out: {op: save, input: m, path: out, max_shard_size: 60KB}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    base = llama_tensors(4, 64, 128, dtype=torch.bfloat16)
    for seed, name in enumerate(("base", "code")):
        tensors = base if not seed else llama_tensors(seed=seed, noise_of=base, scale=0.3, dtype=torch.bfloat16)
        write_model(tmp_path / name, tensors, config={"model_type": "llama"})
    (tmp_path / "merge.yaml").write_text(RECIPE)
    return tmp_path


def isolated(*command: str) -> list[str]:
    """In a network of its own with nothing but loopback, where that is allowed: Ray asks for the way out."""
    alone = ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    return [*alone, *command] if os.geteuid() == 0 else list(command)


def mergegraph(place: Path, *arguments: str, alone: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_TMPDIR": "/tmp"}
    command = [sys.executable, "-m", "mergegraph", *arguments]
    return subprocess.run(
        isolated(*command) if alone else command, cwd=place, env=environment, capture_output=True,
        text=True, timeout=240, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_a_cluster_makes_the_bytes_of_one_machine(place: Path) -> None:
    assert mergegraph(place, "run", "merge.yaml", "-o", "whole", "--quiet").returncode == 0
    ended = mergegraph(place, "run", "merge.yaml", "--executor", "ray", "--threads", "1", "--json")
    assert ended.returncode == 0, ended.stderr
    said = [json.loads(line) for line in ended.stdout.splitlines()]
    shards = next(each for each in said if each["kind"] == "shards done")
    assert shards["made"] == shards["shards"] > 3
    for path in (place / "whole").iterdir():
        if path.name != "mergegraph.run.json":
            assert (place / "out" / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.slow
def test_what_workers_wrote_is_not_read_back_where_they_are_believed(place: Path) -> None:
    """A byte that a disk lost after its shard was recorded: reading back would refuse it."""
    command = ["run", "merge.yaml", "--executor", "ray", "--threads", "1", "--quiet"]
    assert mergegraph(place, "run", "merge.yaml", "--shards", "1/1", "--quiet").returncode == 0
    shard = next(path for path in sorted((place / "out.partial" / "attempts").iterdir()) if path.suffix != ".json")
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    ended = mergegraph(place, *command, "--no-read-back")
    assert ended.returncode == 0, ended.stderr
    assert (place / "out" / shard.name.rpartition(".")[0]).read_bytes() == content


@pytest.mark.slow
def test_a_server_that_is_no_head_of_ray_is_said_in_seconds(place: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        address, began = f"127.0.0.1:{server.server_port}", time.monotonic()
        ended = mergegraph(place, "run", "merge.yaml", "--executor", "ray", "--address", address, alone=False)
        took = time.monotonic() - began
        server.shutdown()
        thread.join()
    assert ended.returncode == 2, ended.stderr
    # not a line of Ray's own before it
    assert ended.stderr.startswith("There is no Ray cluster to be reached.")
    assert f"{address} is open, but nothing answered as Ray's head does" in ended.stderr
    assert "HOST:6379" in ended.stderr
    assert took < 45


NO_ADDRESS = [
    ("ray://127.0.0.1:10001", "an address of Ray's client", "another protocol"),
    ("127.0.0.1:99999", "99999 is no port", "beyond the last port"),
]


@pytest.mark.parametrize(("address", "said", "_reason"), NO_ADDRESS, ids=[row[2] for row in NO_ADDRESS])
def test_what_is_no_address_of_a_cluster_is_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], address: str, said: str,
    _reason: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(place)
    assert main(["run", "merge.yaml", "--executor", "ray", "--address", address]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_said(place: Path) -> None:
    ended = mergegraph(place, "run", "merge.yaml", "--executor", "ray", "--address", "127.0.0.1:1")
    assert ended.returncode == 2
    assert "no Ray cluster" in ended.stderr
    assert not (place / "out.partial").exists()
