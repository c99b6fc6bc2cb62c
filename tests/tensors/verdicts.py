"""What two readers say of a file: the safetensors library, and our parser."""

from __future__ import annotations

from typing import Any

from safetensors import SafetensorError, safe_open

from mergegraph.errors import InputError, Problem
from mergegraph.tensors.header import parse_header

Described = dict[str, tuple[str, tuple[int, ...]]]
"""The dtype and shape of each tensor, by name."""


def of_library(path: str) -> Described | None:
    """What safetensors reads; None when it refuses the file."""
    try:
        opened: Any = safe_open(path, "np")
        with opened as file:
            slices: dict[str, Any] = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
    except SafetensorError:
        return None


def of_parser(path: str) -> tuple[Described | None, tuple[Problem, ...]]:
    """What the parser reads, or None and why it refuses the file."""
    try:
        tensors = parse_header(path).tensors
    except InputError as error:
        return None, error.problems
    return {name: (held.dtype.code, held.shape) for name, held in tensors.items()}, ()
