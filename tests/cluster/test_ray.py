"""The pool on a real Ray: three nodes on this machine. Skipped where Ray is not installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

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


def mergegraph(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_TMPDIR": "/tmp"}
    return subprocess.run(
        isolated(sys.executable, "-m", "mergegraph", *arguments), cwd=place, env=environment, capture_output=True,
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
def test_a_cluster_that_is_not_there_is_said(place: Path) -> None:
    ended = mergegraph(place, "run", "merge.yaml", "--executor", "ray", "--address", "127.0.0.1:1")
    assert ended.returncode == 2
    assert "no Ray cluster" in ended.stderr
    assert not (place / "out.partial").exists()
