"""The forward pass of a ViT image classifier, over the tensor names that transformers gives it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, gelu, layer_norm, linear, scaled_dot_product_attention


def vit_logits(tensors: Mapping[str, Tensor], config: Mapping[str, Any], images: Tensor) -> Tensor:
    """Class scores `[images, classes]` of `images` `[images, channels, height, width]`, in the tensors' dtype."""
    x = _embed(tensors, config["patch_size"], images)
    for layer in range(config["num_hidden_layers"]):
        at = f"vit.encoder.layer.{layer}"
        x = x + _attend(tensors, config, at, _norm(tensors, config, f"{at}.layernorm_before", x))
        hidden = gelu(_dense(tensors, f"{at}.intermediate.dense", _norm(tensors, config, f"{at}.layernorm_after", x)))
        x = x + _dense(tensors, f"{at}.output.dense", hidden)
    return _dense(tensors, "classifier", _norm(tensors, config, "vit.layernorm", x)[:, 0])


def _embed(tensors: Mapping[str, Tensor], patch: int, images: Tensor) -> Tensor:
    """`[images, 1 + patches, hidden]`: the class token, then the patches row by row, with their positions."""
    at = "vit.embeddings"
    weight, bias = (tensors[f"{at}.patch_embeddings.projection.{part}"] for part in ("weight", "bias"))
    patches = conv2d(images, weight, bias, stride=patch).flatten(2).transpose(1, 2)
    first = tensors[f"{at}.cls_token"].expand(len(images), -1, -1)
    return torch.cat((first, patches), dim=1) + tensors[f"{at}.position_embeddings"]


def _attend(tensors: Mapping[str, Tensor], config: Mapping[str, Any], at: str, x: Tensor) -> Tensor:
    def heads(part: str) -> Tensor:
        projected = _dense(tensors, f"{at}.attention.attention.{part}", x)
        return projected.view(*x.shape[:2], config["num_attention_heads"], -1).transpose(1, 2)

    mixed = scaled_dot_product_attention(heads("query"), heads("key"), heads("value"))
    return _dense(tensors, f"{at}.attention.output.dense", mixed.transpose(1, 2).flatten(2))


def _norm(tensors: Mapping[str, Tensor], config: Mapping[str, Any], at: str, x: Tensor) -> Tensor:
    weight = tensors[f"{at}.weight"]
    return layer_norm(x, weight.shape, weight, tensors[f"{at}.bias"], config["layer_norm_eps"])


def _dense(tensors: Mapping[str, Tensor], at: str, x: Tensor) -> Tensor:
    return linear(x, tensors[f"{at}.weight"], tensors[f"{at}.bias"])
