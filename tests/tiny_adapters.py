"""PEFT adapters of a few kilobytes, as peft 0.21 writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor

PREFIX = "base_model.model."
DEFAULTS: dict[str, Any] = {
    "alora_invocation_tokens": None, "alpha_pattern": {}, "arrow_config": None, "auto_mapping": None,
    "base_model_name_or_path": "org/base", "bias": "none", "corda_config": None, "ensure_weight_tying": False,
    "eva_config": None, "exclude_modules": None, "fan_in_fan_out": False, "inference_mode": True,
    "init_lora_weights": True, "kasa_config": None, "layer_replication": None, "layers_pattern": None,
    "layers_to_transform": None, "loftq_config": {}, "lora_alpha": 6, "lora_bias": False, "lora_dropout": 0.05,
    "lora_ga_config": None, "megatron_config": None, "megatron_core": "megatron.core", "modules_to_save": None,
    "monteclora_config": None, "peft_type": "LORA", "peft_version": "0.21.2", "qalora_group_size": 16, "r": 3,
    "rank_pattern": {}, "revision": None, "target_modules": ["q_proj"], "target_parameters": None,
    "task_type": "CAUSAL_LM", "trainable_token_indices": None, "use_bdlora": None, "use_dora": False,
    "use_qalora": False, "use_rslora": False, "velora_config": None,
}  # fmt: skip
"""What peft writes for a plain adapter."""


def matrices(
    modules: Mapping[str, tuple[int, int]], rank: int = 3, seed: int = 0, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """A and B of modules that map [in] to [out], given as (out, in), under the names peft gives them."""
    generator = torch.Generator().manual_seed(seed)
    made: dict[str, Tensor] = {}
    for module, (rows, columns) in modules.items():
        made[f"{PREFIX}{module}.lora_A.weight"] = torch.randn(rank, columns, generator=generator).to(dtype)
        made[f"{PREFIX}{module}.lora_B.weight"] = torch.randn(rows, rank, generator=generator).to(dtype)
    return made


def write_adapter(folder: Path, tensors: Mapping[str, Tensor], **config: Any) -> Path:
    """`folder`, made with an adapter in it; `config` changes what is not at its default."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(tensors), folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(DEFAULTS | config, indent=2))
    return folder
