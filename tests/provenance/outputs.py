"""Finished outputs of a few kilobytes, made by real runs."""

from __future__ import annotations

from pathlib import Path

from tests.tiny_models import llama_tensors, write_model

NODES = """base: {op: load, model: ./base}
code: {op: load, model: ./code}
m: base + 0.5*(code - base)
out: {op: save, input: m, path: out}"""
SHARDED = NODES.replace("path: out", "path: out, max_shard_size: 1KB")
CONFIG = {"model_type": "llama", "hidden_size": 8}


def write_inputs(folder: Path) -> Path:
    base = llama_tensors(layers=1)
    write_model(folder / "base", base, config=CONFIG)
    write_model(folder / "code", llama_tensors(noise_of=base, seed=1), config=CONFIG, shards=2)
    return folder


def flip(path: Path, offset: int) -> None:
    """Change one byte of a file."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x40
    path.write_bytes(bytes(content))
