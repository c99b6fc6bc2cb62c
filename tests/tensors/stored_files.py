"""Small checkpoints on disk for the tests of this folder, and what is said when one is opened."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from mergegraph.errors import InputError, Problem
from mergegraph.tensors.checkpoint import Checkpoint, open_checkpoint

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = "model.safetensors.index.json"


def save(
    path: Path, names: Sequence[str] = ("a", "b"), *, length: int = 3, metadata: Mapping[str, str] | None = None
) -> None:
    """A safetensors file of float32 vectors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    for number, name in enumerate(names):
        offsets = [number * 4 * length, (number + 1) * 4 * length]
        header[name] = {"dtype": "F32", "shape": [length], "data_offsets": offsets}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(len(names) * 4 * length))


def save_index(folder: Path, weight_map: object, **metadata: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / INDEX).write_text(json.dumps({"metadata": metadata, "weight_map": weight_map}))


def save_sharded(folder: Path, **metadata: object) -> None:
    save(folder / SHARDS[0], ["z", "a"])
    save(folder / SHARDS[1], ["b"])
    save_index(folder, {"a": SHARDS[0], "b": SHARDS[1], "z": SHARDS[0]}, **metadata)


def refusal(reference: str, folder: Path, subfolder: str | None = None) -> str:
    """The text of the refusal, every part of which names the model."""
    with pytest.raises(InputError) as caught:
        open_checkpoint(reference, folder, subfolder)
    assert all(problem.model == reference for problem in caught.value.problems)
    return str(caught.value)


def said(warnings: Sequence[Problem]) -> str:
    return "\n".join(map(str, warnings))


def names_of(checkpoint: Checkpoint) -> list[str]:
    return list(checkpoint.tensors)
