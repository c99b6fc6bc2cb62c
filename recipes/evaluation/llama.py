"""The forward pass of a Llama language model, over the tensor names that transformers gives it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, rms_norm, scaled_dot_product_attention, silu


def llama_logits(tensors: Mapping[str, Tensor], config: Mapping[str, Any], tokens: Tensor) -> Tensor:
    """Scores `[windows, length, vocabulary]` of the token after each of `tokens` `[windows, length]`.

    A model without `lm_head.weight` is tied: its embedding is its head.
    """
    embedding = tensors["model.embed_tokens.weight"]
    x = embedding[tokens]
    rotation = _rotation(config, tokens.shape[1], x)
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        before = _norm(tensors, config, f"{at}.input_layernorm", x)
        x = x + _attend(tensors, config, f"{at}.self_attn", before, rotation)
        x = x + _feed_forward(tensors, f"{at}.mlp", _norm(tensors, config, f"{at}.post_attention_layernorm", x))
    return linear(_norm(tensors, config, "model.norm", x), tensors.get("lm_head.weight", embedding))


def _attend(
    tensors: Mapping[str, Tensor], config: Mapping[str, Any], at: str, x: Tensor, rotation: tuple[Tensor, Tensor]
) -> Tensor:
    def heads(part: str, count: int) -> Tensor:
        return linear(x, tensors[f"{at}.{part}_proj.weight"]).view(*x.shape[:2], count, -1).transpose(1, 2)

    query_heads, key_heads = config["num_attention_heads"], config["num_key_value_heads"]
    q, k, v = heads("q", query_heads), heads("k", key_heads), heads("v", key_heads)
    q, k = _rotate(q, rotation), _rotate(k, rotation)
    mixed = scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return linear(mixed.transpose(1, 2).flatten(2), tensors[f"{at}.o_proj.weight"])


def _feed_forward(tensors: Mapping[str, Tensor], at: str, x: Tensor) -> Tensor:
    gate, up = (linear(x, tensors[f"{at}.{part}_proj.weight"]) for part in ("gate", "up"))
    return linear(silu(gate) * up, tensors[f"{at}.down_proj.weight"])


def _norm(tensors: Mapping[str, Tensor], config: Mapping[str, Any], at: str, x: Tensor) -> Tensor:
    weight = tensors[f"{at}.weight"]
    return rms_norm(x, weight.shape, weight, config["rms_norm_eps"])


def _rotation(config: Mapping[str, Any], length: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines `[length, head_dim]` of the angle of each position and coordinate."""
    head_dim: int = config["head_dim"]
    theta: float = config["rope_parameters"]["rope_theta"]
    frequency = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angle = torch.outer(torch.arange(length, dtype=torch.float32), frequency).repeat(1, 2).to(like)
    return angle.cos(), angle.sin()


def _rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Each coordinate of the first half turns with its partner in the second."""
    cosine, sine = rotation
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat((-second, first), dim=-1) * sine
