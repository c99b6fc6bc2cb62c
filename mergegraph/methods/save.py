"""Where results leave the graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, field_validator

from mergegraph.dtypes import SAVE_NAMES
from mergegraph.errors import Unfit, did_you_mean
from mergegraph.expr import Expr, Space, linear
from mergegraph.fields import Either
from mergegraph.methods.base import Method, Parameters
from mergegraph.units import parse_bytes

_LEAST_SHARD = 16
"""Bytes. Whoever writes `5` or `10` means gigabytes."""


class Save(Method):
    """A folder that any tool of the ecosystem loads: shards, index, config, tokenizer, model card.

    y = x, each floating tensor rounded once to `dtype` (by default the dtype the trunk stores it in)

    Hugging Face, the layout `save_pretrained` writes.
    """

    example = "out: {op: save, input: merged, path: ./out/merged, dtype: bfloat16}"

    op: Literal["save"] = "save"
    input: Either = Field(description="what is written")
    path: str = Field(default="", description="the folder to make, relative to the recipe; -o overrides it")
    dtype: str | None = Field(
        default=None,
        description="one dtype for every floating tensor: bfloat16, float16, float32, …; default: as in the base, or "
        "the first input",
    )
    max_shard_size: str = Field(
        default="5GB", description="5GB, 500MB, 2GiB: a file is closed before it would grow past this"
    )
    files_from: str | None = Field(default=None, description="the load node whose config, tokenizer and card are used")
    tokenizer_from: str | None = Field(default=None, description="the load node whose tokenizer is used")
    chat_template: str | None = Field(default=None, description="a file with the chat template to write instead")
    pad_to_multiple_of: int | None = Field(
        default=None, ge=1, description="rows of zeros after embedding and head, up to a multiple; vocab_size follows"
    )
    format: Literal["weights", "delta", "peft"] = Field(
        default="weights",
        description="delta: the input is a delta, and stays one; peft: a delta of low rank, as a LoRA adapter",
    )

    @field_validator("dtype")
    @classmethod
    def _known_dtype(cls, name: str | None) -> str | None:
        if name is not None and name not in SAVE_NAMES:
            raise Unfit(f'"{name}" is not a dtype to save in', _nearest_dtype(name))
        return name

    @field_validator("max_shard_size", mode="before")
    @classmethod
    def _size(cls, size: object) -> object:
        if isinstance(size, int | str) and not isinstance(size, bool):
            try:
                parse_bytes(size)
            except ValueError as error:
                raise Unfit(str(error), "write `max_shard_size: 5GB`") from error
            if isinstance(size, int) and size < _LEAST_SHARD:
                raise Unfit(f"{size} is a number of bytes", f"write `max_shard_size: {size}GB`")
            return str(size)
        return size

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        (operand,) = inputs
        return operand if operand is not None else linear([], space)

    @property
    def max_shard_bytes(self) -> int:
        return parse_bytes(self.max_shard_size)


def _nearest_dtype(name: str) -> str:
    """What to type for `name`: a dtype spelt nearly so, one that it is called elsewhere, or all there are."""
    called = {"half": "float16", "float": "float32", "single": "float32", "double": "float64", "f16": "float16",
              "f32": "float32", "fp8": "float8_e4m3fn", "float8": "float8_e4m3fn"}  # fmt: skip
    known = did_you_mean(called.get(name.lower(), name), SAVE_NAMES)
    if known.startswith("Did"):
        return known
    return f"write one of {', '.join(SAVE_NAMES)}; a tool that quantises takes the merged model"
