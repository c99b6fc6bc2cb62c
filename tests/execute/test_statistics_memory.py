"""Statistics take what the plan says: the peak of the process is at most what it held before and the budget."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import pytest
import torch

from mergegraph.cli import main
from tests.tiny_models import write_model

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="VmHWM is Linux's")]

MIB = 1 << 20
D = "base: base, inputs: [a, b]"
SHAPES = {"mlp.up_proj": (768, 512), "self_attn.q_proj": (512, 512), "input_layernorm": (512,)}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base and two fine-tunes: many tensors, whose records add up, and one that is sampled in many tiles."""
    folder = tmp_path_factory.mktemp("statistics")
    source = torch.Generator().manual_seed(7)
    shapes = {f"model.layers.{i}.{name}.weight": shape for i in range(30) for name, shape in SHAPES.items()}
    shapes["model.embed_tokens.weight"] = (6_000, 1_024)
    base = {name: torch.randn(shape, generator=source) for name, shape in shapes.items()}
    for number, name in enumerate(("base", "a", "b")):
        tuned = {key: w + 0.01 * number * torch.randn(w.shape, generator=source) for key, w in base.items()}
        write_model(folder / name, {key: w.to(torch.bfloat16) for key, w in tuned.items()})
    return folder


def ran(*arguments: str, budget: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mergegraph", *arguments, "--budget", f"{budget}MiB"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def finished(*arguments: str, budget: int) -> str:
    done = ran(*arguments, budget=budget)
    assert done.returncode == 0, done.stderr
    return done.stdout


def least(*arguments: str) -> int:
    """The smallest budget, in MiB, that the plan asks for."""
    told = StringIO()
    with redirect_stderr(told):
        assert main([*arguments, "--budget", "1MiB"]) == 3
    found = re.search(r"--budget (\d+)MiB", told.getvalue())
    assert found, told.getvalue()
    return int(found[1])


@pytest.mark.parametrize(
    ("budget", "options", "why"),
    [
        (0, (), "no room to spare"),
        (0, ("--exact",), "all elements"),
        (24, (), "tiles of some size"),
        (64, (), "whole tiles"),
        (0, ("--tier", "2"), "most matrices do not fit"),
        (32, ("--tier", "2"), "a matrix at a time"),
        (96, ("--tier", "2"), "matrices side by side"),
    ],
)
def test_statistics_of_models_fit_the_budget(models: Path, budget: int, options: tuple[str, ...], why: str) -> None:
    asked = ("stats", *(str(models / name) for name in ("a", "b")), "--base", str(models / "base"), *options)
    budget = budget or least(*asked)
    said = finished(*asked, budget=budget)
    cost = re.search(r"memory ([\d.]+) MiB measured, of ([\d.]+) MiB reserved \+ ([\d.]+) MiB", said)
    assert cost, said[-500:]
    measured, reserved, allowed = map(float, cost.groups())
    assert allowed == budget
    assert measured <= reserved + allowed, why


RECIPES = {
    "deltas": "merged: base + 0.6*(a - base) + 0.7*(b - base)",
    "soup": "merged: {op: soup, inputs: [a, b]}",
    "slerp": "merged: {op: slerp, a: a, b: b, t: 0.5}",
    "ties": f"d: {{op: ties, {D}, density: 0.5}}\n  merged: base + d",
    "dare": "d: {op: dare, base: base, input: a, density: 0.5}\n  merged: base + d",
    "low_rank": "d: {op: low_rank, base: base, input: a, rank: 8}\n  merged: base + d",
}


@pytest.mark.parametrize("room", ["none to spare", "plenty"])
@pytest.mark.parametrize("name", RECIPES)
def test_a_run_that_measures_fits_the_budget(models: Path, tmp_path: Path, name: str, room: str) -> None:
    nodes, path = RECIPES[name], tmp_path / "t.yaml"
    references = {each: str(models / each) for each in ("base", "a", "b") if each in nodes}
    save = f"out: {{op: save, input: merged, path: {json.dumps(str(tmp_path / 'out'))}}}"
    path.write_text(f"mergegraph: 1\nmodels: {json.dumps(references)}\nnodes:\n  {nodes}\n  {save}\n")
    asked = ("run", str(path), "--stats", "--json", "--quiet", "--no-sync")
    budget = 200 if room == "plenty" else least(*asked)
    report = json.loads(finished(*asked, budget=budget).splitlines()[-1])
    assert report["budget_bytes"] == budget * MIB
    assert report["measured_bytes"] <= report["reserved_bytes"] + report["budget_bytes"]
