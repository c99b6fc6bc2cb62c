"""Where models enter the graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from mergegraph.errors import Unfit
from mergegraph.expr import Space
from mergegraph.fields import FieldModel
from mergegraph.methods.base import Method


class Vocab(FieldModel):
    """The vocabulary that a model is to have: another's, or that of several together."""

    align: str | None = Field(default=None, description="the load node whose vocabulary embedding and head get")
    union: tuple[str, ...] | None = Field(
        default=None, description="the load nodes whose tokens it has, the first's first"
    )
    missing: Literal["mean", "zero", "base"] = Field(
        default="mean", description="the row of a token that it lacks: the mean of its own, zeros, or the other node's"
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Vocab:
        if (self.align is None) == (not self.union):
            fix = "leave out one of them" if self.union else "write `align: NODE`, or `union: [NODE, NODE]`"
            raise Unfit("`vocab:` takes `align` or `union`, one of the two", fix)
        return self

    @property
    def nodes(self) -> tuple[str, ...]:
        """The load nodes that it names."""
        return (self.align,) if self.align is not None else self.union or ()


class Load(Method):
    """A checkpoint: a folder in the Hugging Face layout, or one .safetensors file.

    y = the stored tensors, byte for byte

    Hugging Face, the safetensors format, https://github.com/huggingface/safetensors
    """

    example = "base: {op: load, model: ./models/base}"

    op: Literal["load"] = "load"
    model: str = Field(
        min_length=1,
        description="a folder or a .safetensors file, relative to the recipe; org/name[@revision] of the Hub; hf://, "
        "s3://, gs://, az://, https://",
    )
    subfolder: str | None = Field(default=None, description="the folder inside the model that holds this component")
    rename: dict[str, str] = Field(default_factory=dict[str, str], description="{OLD_PREFIX: NEW_PREFIX} of names")

    vocab: Vocab | None = Field(
        default=None,
        description="{align: NODE} or {union: [NODES]}, rows matched by token text; missing: mean, zero, base",
    )

    def space(self, spaces: Sequence[Space]) -> Space:
        """Weights, unless the file's own metadata says otherwise (the graph is told)."""
        return "weights"

    def renamed(self, name: str) -> str:
        """The name a stored tensor has in the graph: the longest matching prefix is replaced."""
        prefix = max((old for old in self.rename if name.startswith(old)), key=len, default=None)
        return name if prefix is None else self.rename[prefix] + name[len(prefix) :]
