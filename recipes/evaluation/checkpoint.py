"""A model folder in Hugging Face layout, read whole into memory. For models of a few megabytes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load


class CannotEvaluate(Exception):
    """The folder holds no model that can be evaluated; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`tensors` are in the dtype of the file, under the names of the file."""

    folder: Path
    config: dict[str, Any]
    tensors: dict[str, torch.Tensor]

    def as_dtype(self, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        """Every tensor as `dtype`."""
        return {name: tensor.to(dtype) for name, tensor in self.tensors.items()}


def read_checkpoint(folder: Path) -> Checkpoint:
    """Config and tensors of `folder`, sharded or not. Raises `CannotEvaluate` where one of them is missing."""
    config_file = folder / "config.json"
    shards = sorted(folder.glob("model*.safetensors"))
    if not config_file.is_file() or not shards:
        raise CannotEvaluate(
            f"{folder} is not a model folder.\n"
            f"  why     it has no {'model*.safetensors' if config_file.is_file() else 'config.json'}\n"
            f"  fix     give a folder such as recipes/models/digits-vit/base, or the output of a run"
        )
    tensors = {name: tensor for shard in shards for name, tensor in load(shard.read_bytes()).items()}
    return Checkpoint(folder, json.loads(config_file.read_text(encoding="utf-8")), tensors)
