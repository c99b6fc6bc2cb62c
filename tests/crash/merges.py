"""Small models and three recipes over them, and what must be true of an output at any moment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from mergegraph.dtypes import BY_CODE
from mergegraph.tensors.checksum import bytes_per_block, file_checksum
from mergegraph.tensors.journal import read_journal
from tests.tiny_models import llama_tensors, write_model

RECIPES = {
    # one pass, and everything is computed
    "average": ["m: 0.25*base + 0.5*code + 0.25*chat"],
    # two passes: the run that goes on must find the threshold of a tensor again
    "trimmed": [
        "d: {op: ties, inputs: [code, chat], base: base, density: 0.4}",
        "m: {op: sum, inputs: [base, d]}",
    ],
    # random numbers, which the run that goes on must draw as the first would have
    "dropped": [
        "d: {op: dare, input: code, base: base, density: 0.7}",
        "m: {op: sum, inputs: [base, d]}",
    ],
}

SHARDS = (1, 5)


def write_models(folder: Path, *, layers: int = 16, hidden: int = 128, vocab: int = 2048) -> Path:
    """`base`, `code` and `chat`: bf16, and a tokenizer file to copy along. 12 MB each by default."""
    base = llama_tensors(layers, hidden, vocab, dtype=torch.bfloat16)
    for seed, name in enumerate(("base", "code", "chat")):
        tensors = base if not seed else llama_tensors(seed=seed, noise_of=base, scale=0.3, dtype=torch.bfloat16)
        write_model(folder / name, tensors, config={"model_type": "llama"}, shards=1 + seed)
        (folder / name / "tokenizer_config.json").write_text("{}")
    return folder


def write_recipe(folder: Path, recipe: str, shards: int, models: Path, name: str = "merge.yaml") -> Path:
    """A recipe in `folder` that saves to `out` beside it, in so many files."""
    total = sum(file.stat().st_size for file in (models / "base").glob("*.safetensors"))
    size = f", max_shard_size: {total // shards + total // 25}" if shards > 1 else ""
    loads = "".join(f"  {name}: {{op: load, model: {models / name}}}\n" for name in ("base", "code", "chat"))
    nodes = "".join(f"  {line}\n" for line in (*RECIPES[recipe], f"out: {{op: save, input: m, path: out{size}}}"))
    path = folder / name
    path.write_text(f"mergegraph: 1\nname: tested\nseed: 7\nnodes:\n{loads}{nodes}")
    return path


def files_in(folder: Path) -> dict[str, bytes]:
    """Every file of a flat folder with its bytes; of a record that speaks of one run, with its time, only the names."""
    return {entry.name: _lasting(entry.name, entry.read_bytes()) for entry in folder.iterdir()}


def _lasting(name: str, content: bytes) -> bytes:
    return json.dumps(sorted(json.loads(content))).encode() if name == "mergegraph.run.json" else content


@dataclass(frozen=True)
class Believed:
    """What the journal of a partial folder claims, and which of it is not so on disk."""

    tensors: Mapping[str, str]
    untrue: tuple[str, ...]


def believed(partial: Path) -> Believed:
    """Every journaled tensor against its bytes, found through the headers of the files as they lie there."""
    try:
        contents = read_journal(partial / "journal")
    except FileNotFoundError:
        return Believed({}, ())
    said = {str(record["tensor"]): str(record["checksum"]) for record in contents.records if "tensor" in record}
    stored = _stored_checksums(partial, said)
    return Believed(said, tuple(name for name, checksum in said.items() if stored.get(name) != checksum))


def kept_tensors(partial: Path, tensors: int) -> int:
    """How many of so many tensors the next run need not do: those recorded, or all where only the renaming is missing.

    AssertionError where the journal is wrong.
    """
    if (partial / "mergegraph.json").exists() and not (partial / "journal").exists():
        return tensors
    found = believed(partial)
    assert not found.untrue
    return len(found.tensors)


def _stored_checksums(folder: Path, wanted: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in (*folder.glob("*.safetensors"), *folder.glob("*.incomplete")):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length else {}
            for name in header.keys() & wanted.keys():
                begin, end = header[name]["data_offsets"]
                block = bytes_per_block(BY_CODE[header[name]["dtype"]])
                found[name] = file_checksum(file.fileno(), 8 + length + begin, end - begin, block)
    return found
