"""A run takes what it held before and its budget: the system is told to give no more, and gives enough.

And where it does not, there is a message, an exit code, and a folder that the next run goes on from, or none.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mergegraph.cli import main
from mergegraph.errors import DoesNotFit, RunError
from mergegraph.execute.memory import refusals_as_problems
from tests.tiny_models import write_model

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA covers mappings on Linux only")

MIB = 1 << 20
BUDGET = 20 * MIB
SLACK = 4 * MIB
"""What allocators keep in pieces: glibc's heaps, a block of Python's."""
LARGE = (3840, 4096)
"""60 MiB of float32, in each of three models."""

D = "base: base, inputs: [a, b]"
RECIPES = {
    "soup": "merged: {op: soup, inputs: [a, b]}",
    "slerp": "merged: {op: slerp, a: a, b: b, t: 0.5}",
    "ties": f"d: {{op: ties, {D}, density: 0.5}}\n  merged: base + d",
    "ties, model-wide": f"d: {{op: ties, {D}, density: 0.5, scope: model}}\n  merged: base + d",
    "dare": "d: {op: dare, base: base, input: a, density: 0.5}\n  merged: base + d",
    "della": "d: {op: della, base: base, input: a, density: 0.5}\n  merged: base + d",
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`small` and `large`: a base and two fine-tunes of it each."""
    folder = tmp_path_factory.mktemp("limits")
    source = torch.Generator().manual_seed(7)
    for size, shape in (("small", (256, 512)), ("large", LARGE)):
        base = torch.randn(shape, generator=source)
        tuned = {name: base + 0.01 * torch.randn(shape, generator=source) for name in "ab"}
        for name, matrix in {"base": base, **tuned}.items():
            weights = {"layers.0.mlp.up_proj.weight": matrix, "norm.weight": torch.ones(shape[1])}
            write_model(folder / size / name, weights)
    return folder


def recipe(models: Path, size: str, nodes: str, output: Path) -> Path:
    references = {name: str(models / size / name) for name in ("base", "a", "b") if name in nodes}
    path = output.with_suffix(".yaml")
    save = f"out: {{op: save, input: merged, path: {json.dumps(str(output))}}}"
    path.write_text(f"mergegraph: 1\nmodels: {json.dumps(references)}\nnodes:\n  {nodes}\n  {save}\n")
    return path


def limited(models: Path, folder: Path, nodes: str, extra_bytes: int) -> subprocess.CompletedProcess[str]:
    small = recipe(models, "small", nodes, folder / "warm")
    large = recipe(models, "large", nodes, folder / "out")
    program = Path(__file__).with_name("limited.py")
    command = [sys.executable, str(program), str(small), str(large), str(BUDGET), str(extra_bytes)]
    # coverage, where it measures children, needs memory of its own when they end.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_PROCESS")}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.parametrize("name", RECIPES)
def test_a_tensor_three_times_the_budget_fits_in_it(models: Path, tmp_path: Path, name: str) -> None:
    done = limited(models, tmp_path, RECIPES[name], SLACK)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["write_bytes"] > 3 * BUDGET
    assert report["measured_bytes"] <= report["reserved_bytes"] + BUDGET
    assert (tmp_path / "out" / "model.safetensors").stat().st_size > 3 * BUDGET


@pytest.mark.parametrize(
    ("extra_bytes", "reason"),
    [(-BUDGET + MIB, "enough to plan, and nothing for tiles"), (-BUDGET + 4 * MIB, "not all workers' tiles fit")],
)
def test_less_memory_than_the_budget_is_said_and_survived(
    models: Path, tmp_path: Path, extra_bytes: int, reason: str
) -> None:
    nodes = RECIPES["ties"]
    failed = limited(models, tmp_path, nodes, extra_bytes)
    assert failed.returncode == 3, (reason, failed.stderr)
    assert "The system gave no more memory" in failed.stderr
    assert "RLIMIT_DATA" in failed.stderr
    assert "fix     --threads 1 --budget" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert json.loads(failed.stdout.splitlines()[-1])["exit_code"] == 3
    assert not (tmp_path / "out").exists()
    partial = tmp_path / "out.partial"
    assert not partial.exists() or (partial / "journal").exists()
    assert main(["run", str(tmp_path / "out.yaml"), "--quiet"]) == 0, "the same command goes on"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "Python has none"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"), "torch has none"),
        (RuntimeError("can't start new thread"), "there is no room for a stack"),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), "the kernel has none"),
    ],
)
def test_every_way_of_having_no_memory_is_one_problem(error: Exception, reason: str) -> None:
    with pytest.raises(DoesNotFit, match="The system gave no more memory") as caught, refusals_as_problems(8 * MIB):
        raise error
    assert caught.value.__cause__ is error, reason
    assert "--threads 1 --budget 4MiB" in caught.value.problems[0].fix


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), OSError(errno.EIO, "I/O error")])
def test_other_errors_are_not_taken_for_it(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, refusals_as_problems(8 * MIB):
        raise error
    assert not isinstance(caught.value, RunError | DoesNotFit)
