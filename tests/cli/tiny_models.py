"""Checkpoints of a few kilobytes in the Hugging Face layout, and recipes over them, for the tests of the command."""

from __future__ import annotations

import json
import random
import struct
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path

Tensors = Mapping[str, tuple[Sequence[int], Sequence[float]]]

BLEND = """\
mergegraph: 1
name: blend
nodes:
  base: {op: load, model: ./base}
  code: {op: load, model: ./code}
  d_code: {op: delta, model: code, base: base}
  boost: {op: scale, input: d_code, by: 0.5}
  merged: {op: sum, inputs: [base, boost]}
  out: {op: save, input: merged, path: out}
"""


def tensors(seed: int = 0, shift: float = 0.0, *, vocabulary: int = 16) -> dict[str, tuple[list[int], list[float]]]:
    """Two layers and an embedding; relatives have one seed and differ by `shift`."""
    source = random.Random(seed)
    shapes = {
        "model.embed_tokens.weight": [vocabulary, 8],
        "model.layers.0.mlp.up_proj.weight": [8, 8],
        "model.layers.1.mlp.up_proj.weight": [8, 8],
    }
    return {
        name: (shape, [source.gauss(0, 1) + shift for _ in range(shape[0] * shape[1])])
        for name, shape in shapes.items()
    }


def write_file(path: Path, held: Tensors) -> None:
    """A safetensors file of float32 tensors."""
    header: dict[str, object] = {}
    content = b""
    for name, (shape, values) in held.items():
        raw = array("f", values).tobytes()
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [len(content), len(content) + len(raw)]}
        content += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)


def read_file(path: Path) -> dict[str, list[float]]:
    """The values of every float32 tensor in a file."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    body = raw[8 + length :]
    return {
        name: list(array("f", body[slice(*entry["data_offsets"])]))
        for name, entry in header.items()
        if name != "__metadata__"
    }


def write_model(folder: Path, held: Tensors, **config: object) -> None:
    folder.mkdir(parents=True)
    write_file(folder / "model.safetensors", held)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 8, **config}))


def write_sharded(folder: Path, held: Tensors) -> None:
    """One tensor a file, with an index."""
    folder.mkdir(parents=True)
    files = {name: f"model-{i:05}-of-{len(held):05}.safetensors" for i, name in enumerate(held, 1)}
    for name, file in files.items():
        write_file(folder / file, {name: held[name]})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 8}))


def write_blend(folder: Path) -> Path:
    """`base`, its relative `code`, and the recipe that blends them; the recipe's path."""
    write_model(folder / "base", tensors())
    write_model(folder / "code", tensors(shift=0.25))
    recipe = folder / "blend.yaml"
    recipe.write_text(BLEND)
    return recipe


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` with its bytes, and every folder."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}
