"""What an adapter adds to its base."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mergegraph.fields import Coefficient, Weights
from mergegraph.methods.base import Method


class Lora(Method):
    """A LoRA adapter as a task vector: computed block by block of rows, never a merged model on disk.

    y = scale * alpha / r * B A  (alpha / sqrt(r) for rank-stabilised LoRA), of each module that adapter has

    Tensors that the adapter does not change are exact zeros. The product is transposed for an embedding, and where
    adapter_config.json says `fan_in_fan_out`; ranks and alphas of single modules are honoured. What is no plain sum
    of the base and B A (DoRA, PiSSA, trained biases or whole modules) is refused by name.

    Hu et al., "LoRA: Low-rank adaptation of large language models", ICLR 2022, arXiv 2106.09685; Kalajdzievski,
    "A rank stabilization scaling factor for fine-tuning with LoRA", arXiv 2312.03732.
    """

    gives = "delta"
    example = "style: {op: lora, adapter: ./adapters/style, base: base, scale: 0.8}"

    op: Literal["lora"] = "lora"
    adapter: str = Field(min_length=1, description="a folder with adapter_config.json and adapter_model.safetensors")
    base: Weights = Field(description="the model that the adapter was trained on")
    scale: Coefficient = Field(default=1.0, description="the strength, on top of the adapter's own")
