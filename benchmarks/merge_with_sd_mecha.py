"""One merge of sd-mecha, in its own environment: `python merge_with_sd_mecha.py REQUEST.json`.

REQUEST: {models: {name: folder}, call: {call, of, with}, output}. sd-mecha takes any model whose tensors are declared
to it, and any way to store one that is registered with it: so the Llama is declared from the headers of the first
model, and a folder of shards is read through sd-mecha's own reader of each file. Its defaults otherwise, but for the
dtype of the output. Needs nothing of this repository.
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
sd_mecha: Any = import_module("sd_mecha")
streaming: Any = import_module("sd_mecha.streaming")
model_configs: Any = import_module("sd_mecha.extensions.model_configs")
model_formats: Any = import_module("sd_mecha.extensions.model_formats")
merge_methods: Any = import_module("sd_mecha.extensions.merge_methods")

KIND = "llama-measured"


class Shards(streaming.SafetensorsMapping):  # type: ignore[misc]
    """A folder of safetensors files as one mapping; a tensor comes from the file that has it."""

    def __init__(self, folder: Path, buffer_bytes: int) -> None:
        self.files = [streaming.InSafetensorsDict(path, buffer_bytes) for path in sorted(folder.glob("*.safetensors"))]
        self.file_of = {name: file for file in self.files for name in file.keys()}  # noqa: SIM118

    def __getitem__(self, name: str) -> Any:
        if name not in self.file_of:
            raise streaming.StateDictKeyError(name)
        return self.file_of[name][name]

    def __iter__(self) -> Any:
        return iter(self.file_of)

    def __len__(self) -> int:
        return len(self.file_of)

    def __contains__(self, name: object) -> bool:
        return name in self.file_of

    def keys(self) -> Any:
        return self.file_of.keys()

    def metadata(self) -> Any:
        return (pair for file in self.files for pair in file.metadata())

    def values(self) -> Any:
        return (self[name] for name in self.file_of)

    def items(self) -> Any:
        return ((name, self[name]) for name in self.file_of)

    def close(self) -> None:
        for file in self.files:
            file.close()


@model_formats.register_model_format(identifier="shards")
class ShardsFormat:
    """What sd-mecha asks of a way to store a model."""

    def matches(self, path: Path) -> bool:
        return path.is_dir()

    def get_read_dict(self, path: Path, buffer_size: int) -> Shards:
        return Shards(path, buffer_size)

    def get_write_dict(self, path: Path, *_: object) -> Any:
        raise NotImplementedError(f"{path}: outputs are single files")


def main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text())
    models = {name: Path(folder) for name, folder in request["models"].items()}
    _declare(next(iter(models.values())))
    Path(request["output"]).parent.mkdir(parents=True)
    sd_mecha.merge(
        _node(models, request["call"]),
        output=request["output"],
        output_dtype=torch.bfloat16,
        tqdm=partial(tqdm.tqdm, disable=True),
    )


def _declare(folder: Path) -> None:
    """Make the tensors of the model in `folder` a kind of model that sd-mecha knows."""
    found = Shards(folder, 0)
    keys = {name: model_configs.KeyMetadata(list(each.shape), each.dtype) for name, each in found.metadata()}
    found.close()
    component = model_configs.ModelComponent(keys)
    model_configs.register_aux(model_configs.ModelConfigImpl(KIND, {"model": component}))


def _node(models: dict[str, Path], call: Any) -> Any:
    if isinstance(call, str):
        return sd_mecha.model(models[call], config=KIND)
    return merge_methods.resolve(call["call"])(*(_node(models, part) for part in call["of"]), **call.get("with", {}))


main()
