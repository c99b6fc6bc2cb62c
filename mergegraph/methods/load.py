"""Where models enter the graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from mergegraph.expr import Space
from mergegraph.methods.base import Method


class Load(Method):
    """A checkpoint: a folder in the Hugging Face layout, or one .safetensors file.

    y = the stored tensors, byte for byte

    Hugging Face, the safetensors format, https://github.com/huggingface/safetensors
    """

    example = "base: {op: load, model: ./models/base}"

    op: Literal["load"] = "load"
    model: str = Field(min_length=1, description="a folder or a .safetensors file, relative to the recipe")
    subfolder: str | None = Field(default=None, description="the folder inside the model that holds this component")
    rename: dict[str, str] = Field(default_factory=dict[str, str], description="{OLD_PREFIX: NEW_PREFIX} of names")

    def space(self, spaces: Sequence[Space]) -> Space:
        """Weights, unless the file's own metadata says otherwise (the graph is told)."""
        return "weights"

    def renamed(self, name: str) -> str:
        """The name a stored tensor has in the graph: the longest matching prefix is replaced."""
        prefix = max((old for old in self.rename if name.startswith(old)), key=len, default=None)
        return name if prefix is None else self.rename[prefix] + name[len(prefix) :]
