"""Memory measured against budget, for ten kinds of merge, on inputs of `make_inputs.py`.

    python benchmarks/make_inputs.py DIR --shape 0.1b
    python benchmarks/budgets.py DIR [--budget 64MiB]

Each recipe runs in a child process beside DIR; its VmHWM must be at most reserved + budget. Needs free disk for two
outputs. Exits 1 when one does not hold.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from memory import HEAD, Case, memory_row, run_case
from safetensors.numpy import save_file
from table import table

_RANK = 16
_ADAPTED = ("q_proj", "v_proj", "down_proj")


def cases(inputs: Path, adapter: Path, budget: str) -> list[Case]:
    """One for each kind; `budget` is that of all but low_rank, which holds whole matrices."""
    every = {"base": inputs / "base", "a": inputs / "tune-0", "b": inputs / "tune-1"}
    half = json.loads((every["base"] / "config.json").read_text())["num_hidden_layers"] // 2
    slices = f'[{{from: a, layers: "0:{half + 2}"}}, {{from: b, layers: "{half}:"}}]'
    recipes: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = [
        ("soup", ("a", "b"), ("merged: {op: soup, inputs: [a, b]}",)),
        ("task arithmetic", ("base", "a", "b"), ("merged: base + 0.6*(a - base) + 0.7*(b - base)",)),
        ("slerp", ("a", "b"), ("merged: {op: slerp, a: a, b: b, t: 0.5}",)),
        ("ties, per tensor", ("base", "a", "b"), _delta("ties", "inputs: [a, b], density: 0.5")),
        ("ties, model-wide", ("base", "a", "b"), _delta("ties", "inputs: [a, b], density: 0.5, scope: model")),
        ("dare", ("base", "a"), _delta("dare", "input: a, density: 0.5")),
        ("della", ("base", "a"), _delta("della", "input: a, density: 0.3, epsilon: 0.2")),
        ("low_rank", ("base", "a"), _delta("low_rank", "input: a, rank: 8")),
        ("stack", ("a", "b"), (f"merged: {{op: stack, slices: {slices}}}",)),
        ("lora", ("base",), _delta("lora", f"adapter: {json.dumps(str(adapter))}")),
    ]
    return [
        Case(title, {name: every[name] for name in used}, nodes, None, "512MiB" if title == "low_rank" else budget)
        for title, used, nodes in recipes
    ]


def _delta(op: str, fields: str) -> tuple[str, ...]:
    return f"d: {{op: {op}, base: base, {fields}}}", "merged: base + 0.5*d"


def write_adapter(folder: Path, base: Path) -> Path:
    """A LoRA adapter of rank 16 for three projections of every layer of a Llama."""
    config = json.loads((base / "config.json").read_text())
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    narrow = hidden // heads * config["num_key_value_heads"]
    outputs = {"q_proj": hidden, "v_proj": narrow, "down_proj": hidden}
    numbers = np.random.default_rng(7)
    factors: dict[str, np.ndarray] = {}
    for layer in range(config["num_hidden_layers"]):
        for name in _ADAPTED:
            rows, columns = outputs[name], config["intermediate_size"] if name == "down_proj" else hidden
            module = f"base_model.model.model.layers.{layer}.{'mlp' if name == 'down_proj' else 'self_attn'}.{name}"
            factors[f"{module}.lora_A.weight"] = numbers.standard_normal((_RANK, columns), dtype=np.float32)
            factors[f"{module}.lora_B.weight"] = numbers.standard_normal((rows, _RANK), dtype=np.float32) * 1e-3
    folder.mkdir()
    save_file(factors, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": _RANK, "lora_alpha": _RANK, "target_modules": _ADAPTED, "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure memory against budget for ten kinds of merge.")
    parser.add_argument("inputs", metavar="DIR", type=Path, help="made by make_inputs.py")
    parser.add_argument("--budget", default="64MiB", help="of every run (default 64MiB)")
    options = parser.parse_args()
    inputs: Path = options.inputs.resolve()
    if not (inputs / "tune-1").is_dir():
        parser.error(f"{inputs} has no models; make them: python benchmarks/make_inputs.py {inputs} --shape 0.1b")
    with tempfile.TemporaryDirectory(dir=inputs.parent, prefix="mergegraph-budgets-") as scratch:
        adapter = write_adapter(Path(scratch) / "adapter", inputs / "base")
        rows = [memory_row(case, run_case(case, Path(scratch))[0]) for case in cases(inputs, adapter, options.budget)]
    print(table(HEAD, rows))
    if any("NO" in row for row in rows):
        sys.exit("something does not hold: see NO above")


if __name__ == "__main__":
    main()
