"""Run the peers and store what they give: `python -m tests.golden.make_golden --environments FOLDER`.

A peer that has no environment in FOLDER gets one from the package index that pip is set up with. Takes about five
minutes on two cores. Needs numpy, safetensors and PyYAML; torch only inside the environments.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml
from safetensors.numpy import load_file, save_file  # pyright: ignore[reportUnknownVariableType]

from tests.golden.cases import CASES, FOLDER, VERSIONS, Case, Peer, samples_file, values_file
from tests.golden.inputs import Array, digest, model, write_inputs
from tests.golden.sampling import Sample, describe

PACKAGES: Mapping[Peer, str] = {"mergekit": "mergekit", "sd_mecha": "sd-mecha"}
TORCH = "torch==2.13.0"
SEEDS = (7, 8, 9)
"""A random case is run with each, so that its samples show how far chance alone takes them."""

KEPT = (
    "model.embed_tokens.weight",
    "model.layers.1.input_layernorm.weight",
    "model.layers.1.self_attn.k_proj.weight",
    "model.layers.2.mlp.down_proj.weight",
    "model.norm.weight",
    "lm_head.weight",
)
KEPT_OF_EVERY_LAYER = ("input_layernorm.weight", "self_attn.k_proj.weight")
SAMPLED = (
    "model.embed_tokens.weight",
    "model.layers.0.self_attn.q_proj.weight",
    "model.layers.0.mlp.gate_proj.weight",
    "model.norm.weight",
)

Run = tuple[Case, int]
"""A case and its seed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--environments", type=Path, required=True, help="folder of the peers' virtual environments")
    environments: Path = parser.parse_args().environments.absolute()
    samples: dict[str, dict[str, dict[str, list[Sample]]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        inputs = Path(scratch) / "inputs"
        write_inputs(inputs)
        for peer in PACKAGES:
            programs = environment(environments, peer)
            files = {run: Path(scratch) / peer / f"{run[0].name}-{run[1]}" for run in _runs(peer)}
            (run_mergekit if peer == "mergekit" else run_sd_mecha)(programs, inputs, files)
            _store_values(peer, {run: _outcome(path) for run, path in files.items() if not run[0].random})
            samples[peer] = _samples({run: _outcome(path) for run, path in files.items() if run[0].random})
    samples_file().write_text(json.dumps(samples, indent=1) + "\n")


def environment(folder: Path, peer: Peer) -> Path:
    """The folder of the programs of `peer`'s environment, made if it is missing."""
    place = folder / PACKAGES[peer]
    if not (place / "bin" / "pip").exists():
        _call([sys.executable, "-m", "venv", place])
        _call([place / "bin" / "pip", "install", "--quiet", TORCH, f"{PACKAGES[peer]}=={VERSIONS[peer]}"])
    return place / "bin"


def run_mergekit(programs: Path, inputs: Path, files: Mapping[Run, Path]) -> None:
    """Run `mergekit-yaml` or `mergekit-multi` for each of `files`, two at a time, in the folder of the models."""
    options = ("--no-copy-tokenizer", "--no-write-model-card", "--quiet", "--random-seed")

    def one(run: Run, output: Path) -> None:
        case, seed = run
        text = output.with_suffix(".yaml")
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text(yaml.safe_dump_all(_documents(case), sort_keys=False))
        several = ["mergekit-multi", text, "-I", output / "stages", "--out-path", output]
        program, *arguments = several if isinstance(case.config, list) else ["mergekit-yaml", text, output]
        _call([programs / str(program), *arguments, *options, str(seed)], cwd=inputs)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, files.keys(), files.values()))


def run_sd_mecha(programs: Path, inputs: Path, files: Mapping[Run, Path]) -> None:
    """Run all of `files` in one process of sd-mecha's environment."""
    requests: list[dict[str, object]] = []
    for (case, seed), output in files.items():
        output.mkdir(parents=True)
        drawn = seed if case.random else None
        written = str(output / "model.safetensors")
        requests.append({"config": case.config, "space": case.space, "seed": drawn, "output": written})
    _call([programs / "python", FOLDER / "run_sd_mecha.py", inputs], stdin=json.dumps(requests))


def _runs(peer: Peer) -> list[Run]:
    cases = [case for case in CASES if case.peer == peer]
    return [(case, seed) for case in cases for seed in (SEEDS if case.random else SEEDS[:1])]


def _documents(case: Case) -> list[Any]:
    config: Any = case.config
    return config if isinstance(config, list) else [config]  # pyright: ignore[reportUnknownVariableType]


def _call(command: Iterable[Path | str], *, cwd: Path | None = None, stdin: str | None = None) -> None:
    """Run `command`; on failure end with what it printed."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)}\n{done.stdout}{done.stderr}")


def _outcome(folder: Path) -> dict[str, Array]:
    """All tensors of the file or the files in `folder`."""
    return {name: values for file in sorted(folder.glob("*.safetensors")) for name, values in load_file(file).items()}


def _store_values(peer: Peer, outcomes: Mapping[Run, Mapping[str, Array]]) -> None:
    kept = {
        f"{case.name}/{name}": values
        for (case, _), tensors in outcomes.items()
        for name, values in tensors.items()
        if name in KEPT or (case.keep_layers and name.endswith(KEPT_OF_EVERY_LAYER))
    }
    configs = {case.name: case.fingerprint() for case, _ in _runs(peer)}
    written_by = {"peer": PACKAGES[peer], "version": VERSIONS[peer], "inputs": digest(), "configs": configs}
    # One entry: safetensors 0.8 writes several in an order that changes from run to run.
    save_file(kept, values_file(peer), metadata={"golden": json.dumps(written_by)})


def _samples(outcomes: Mapping[Run, Mapping[str, Array]]) -> dict[str, dict[str, list[Sample]]]:
    samples: dict[str, dict[str, list[Sample]]] = {}
    for (case, _), tensors in outcomes.items():
        for name in SAMPLED:
            delta, inputs = _as_delta(case, name, tensors[name])
            samples.setdefault(case.name, {}).setdefault(name, []).append(describe(delta, inputs))
    return samples


def _as_delta(case: Case, name: str, outcome: Array) -> tuple[Array, list[Array]]:
    """The outcome less the base, and the deltas it was made from; all models of a random case have one base."""
    (base,) = (model_name for model_name in case.models if model_name.endswith("base"))
    start = model(base)[name]
    deltas = [model(tune)[name] - start for tune in case.models if tune != base]
    return (outcome if case.space == "delta" else outcome - start), deltas


if __name__ == "__main__":
    main()
