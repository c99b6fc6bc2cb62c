"""Run merges in sd-mecha's own environment: `python run_sd_mecha.py INPUTS < requests.json`.

`requests`: a list of {config, space, seed, output}; every `output` becomes a safetensors file in float32. sd-mecha
takes any model whose tensors are declared to it, so the Llama of the inputs is declared from the shapes of its file.
Needs nothing of this repository.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

torch: Any = import_module("torch")
tqdm: Any = import_module("tqdm")
safetensors: Any = import_module("safetensors")
sd_mecha: Any = import_module("sd_mecha")
model_configs: Any = import_module("sd_mecha.extensions.model_configs")
merge_methods: Any = import_module("sd_mecha.extensions.merge_methods")


def main() -> None:
    inputs = Path(sys.argv[1])
    for name in ("base", "large_base"):
        _declare(name, inputs / name / "model.safetensors")
    for request in json.load(sys.stdin):
        recipe = _node(inputs, request["config"], request["seed"])
        sd_mecha.merge(
            recipe,
            output=request["output"],
            strict_merge_space=request["space"],
            merge_dtype=torch.float32,
            output_dtype=torch.float32,
            threads=1,
            tqdm=partial(tqdm.tqdm, disable=True),
        )


def _declare(name: str, file: Path) -> None:
    """Make the shapes in `file` a kind of model that sd-mecha knows as llama-`name`."""
    with safetensors.safe_open(file, "pt") as opened:
        shapes = {key: list(opened.get_slice(key).get_shape()) for key in opened.keys()}  # noqa: SIM118
    keys = {key: model_configs.KeyMetadata(shape, "float32") for key, shape in shapes.items()}
    model_configs.register_aux(
        model_configs.ModelConfigImpl(f"llama-{name}", {"model": model_configs.ModelComponent(keys)})
    )


def _node(inputs: Path, config: Any, seed: int | None) -> Any:
    """The recipe of a model's name, or of {call, of, with} whose outermost call draws with `seed`."""
    if isinstance(config, str):
        kind = "large_base" if config.startswith("large") else "base"
        return sd_mecha.model(inputs / config / "model.safetensors", config=f"llama-{kind}")
    parameters = dict(config.get("with", {})) | ({} if seed is None else {"seed": seed})
    return merge_methods.resolve(config["call"])(*(_node(inputs, part, None) for part in config["of"]), **parameters)


main()
