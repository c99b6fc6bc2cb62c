"""Checkpoints of a few kilobytes with Llama's tensor names, and fine-tunes of them that the lineage checks accept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]

Tensors = dict[str, torch.Tensor]


def write_model(
    folder: Path,
    tensors: Mapping[str, torch.Tensor],
    *,
    config: Mapping[str, object] | None = None,
    shards: int = 1,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """`folder`, made with `tensors` in it: one file, or `shards` files with an index. `config` is its config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(dict(config), indent=2))
    stored = dict(metadata or {}) or None
    if shards == 1:
        save_file(dict(tensors), folder / "model.safetensors", metadata=stored)
        return folder
    weight_map: dict[str, str] = {}
    for shard in range(shards):
        name = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = dict(list(tensors.items())[shard::shards])
        save_file(part, folder / name, metadata=stored)
        weight_map |= dict.fromkeys(part, name)
    index = {"metadata": {"total_size": sum(t.nbytes for t in tensors.values())}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def llama_tensors(
    layers: int = 2,
    hidden: int = 8,
    vocab: int = 16,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    noise_of: Mapping[str, torch.Tensor] | None = None,
    scale: float = 0.01,
) -> Tensors:
    """A Llama's tensors from `seed`. With `noise_of`, a fine-tune of those: each plus noise, `scale` of its spread.

    `noise_of` gives names and shapes then; its tensors that are not floating point are kept as they are.
    """
    generator = torch.Generator().manual_seed(seed)
    if noise_of is not None:
        return {name: _tuned(tensor, generator, scale, dtype) for name, tensor in noise_of.items()}
    return {
        name: (torch.randn(shape, generator=generator) * 0.1 + (len(shape) == 1)).to(dtype)
        for name, shape in _shapes(layers, hidden, vocab).items()
    }


def _tuned(tensor: torch.Tensor, generator: torch.Generator, scale: float, dtype: torch.dtype) -> torch.Tensor:
    if not tensor.is_floating_point():
        return tensor.clone()
    noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
    return (tensor.to(torch.float64) + 0.1 * scale * noise).to(dtype)


def _shapes(layers: int, hidden: int, vocab: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, hidden)}
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        shapes |= {f"{prefix}.self_attn.{part}_proj.weight": (hidden, hidden) for part in "qkvo"}
        shapes |= {f"{prefix}.mlp.{part}_proj.weight": (2 * hidden, hidden) for part in ("gate", "up")}
        shapes[f"{prefix}.mlp.down_proj.weight"] = (hidden, 2 * hidden)
        shapes |= {f"{prefix}.{norm}_layernorm.weight": (hidden,) for norm in ("input", "post_attention")}
    return shapes | {"model.norm.weight": (hidden,), "lm_head.weight": (vocab, hidden)}
