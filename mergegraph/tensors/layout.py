"""Where every tensor of an output lies, known before a byte is computed: file names, headers, sizes, offsets.

Pure: touches no disk and no tensor. The same tensors in the same order give the same bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import xxhash

from mergegraph.dtypes import DType
from mergegraph.errors import OutputError, Problem
from mergegraph.units import format_bytes

# Headers are padded to this, so that the data of a mapped file begins on a cache line.
_DATA_ALIGNMENT = 64

# The safetensors library refuses a longer header.
_MAX_HEADER_BYTES = 100_000_000


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor of the output: its name, dtype and shape."""

    name: str
    dtype: DType
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        bits = math.prod(self.shape) * self.dtype.bits
        assert bits % 8 == 0, f"{self.name} does not fill whole bytes"
        return bits // 8


@dataclass(frozen=True)
class FileLayout:
    """One safetensors file. `header` is everything before the data: 8-byte length, JSON, padding.

    `offsets` counts from the start of the file; each is a multiple of the tensor's element width.
    """

    name: str
    header: bytes
    file_bytes: int
    offsets: Mapping[str, int]


@dataclass(frozen=True)
class Layout:
    """The files of one output. `file_of` gives a tensor's index in `files`; `total_bytes` is tensor data alone.

    `file_of` and `specs` keep the order the tensors were given in.
    """

    files: tuple[FileLayout, ...]
    file_of: Mapping[str, int]
    specs: Mapping[str, TensorSpec]
    total_bytes: int
    index_name: str

    @property
    def file_bytes(self) -> int:
        """Bytes of all files, headers included: what the disk must hold."""
        return sum(file.file_bytes for file in self.files)

    def index_json(self) -> bytes | None:
        """The content of `index_name`; None where one file needs no index."""
        if len(self.files) == 1:
            return None
        weight_map = {name: self.files[index].name for name, index in self.file_of.items()}
        index = {"metadata": {"total_size": self.total_bytes}, "weight_map": weight_map}
        return (json.dumps(index, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()

    def digest(self) -> str:
        """32 hex digits that differ when any name, header or offset does."""
        whole = xxhash.xxh3_128()
        for file in self.files:
            whole.update(f"{file.name}\n{len(file.header)}\n".encode())
            whole.update(file.header)
        return whole.hexdigest()


def lay_out(
    tensors: Sequence[TensorSpec], max_shard_bytes: int, metadata: Mapping[str, str], stem: str = "model"
) -> Layout:
    """Place `tensors`, in the order given, into files of at most `max_shard_bytes` of tensor data each.

    A tensor larger than that has a file of its own. OutputError when a header is longer than readers accept.
    """
    shards = _shards(tensors, max_shard_bytes)
    names = _file_names(stem, len(shards))
    file_of = {tensor.name: index for index, shard in enumerate(shards) for tensor in shard}
    assert len(file_of) == len(tensors), "two tensors have one name"
    return Layout(
        files=tuple(_file(name, shard, metadata) for name, shard in zip(names, shards, strict=True)),
        file_of=file_of,
        specs={tensor.name: tensor for tensor in tensors},
        total_bytes=sum(tensor.nbytes for tensor in tensors),
        index_name=f"{stem}.safetensors.index.json",
    )


def _shards(tensors: Sequence[TensorSpec], max_shard_bytes: int) -> list[list[TensorSpec]]:
    shards: list[list[TensorSpec]] = [[]]
    filled = 0
    for tensor in tensors:
        nbytes = tensor.nbytes
        if shards[-1] and filled + nbytes > max_shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(tensor)
        filled += nbytes
    return shards


def _file_names(stem: str, count: int) -> list[str]:
    if count == 1:
        return [f"{stem}.safetensors"]
    return [f"{stem}-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]


def _file(name: str, tensors: Sequence[TensorSpec], metadata: Mapping[str, str]) -> FileLayout:
    """Widest elements first: the format allows no holes, so this is what keeps every tensor aligned."""
    entries: dict[str, object] = {"__metadata__": {**dict(sorted(metadata.items())), "format": "pt"}}
    starts: dict[str, int] = {}
    end = 0
    for tensor in sorted(tensors, key=lambda tensor: -tensor.dtype.bits):
        start, end = end, end + tensor.nbytes
        assert tensor.name != "__metadata__", "the format keeps this name for itself"
        entries[tensor.name] = {"dtype": tensor.dtype.code, "shape": tensor.shape, "data_offsets": (start, end)}
        starts[tensor.name] = start
    header = _header(name, entries)
    offsets = {tensor: len(header) + start for tensor, start in starts.items()}
    return FileLayout(name, header, len(header) + end, offsets)


def _header(file_name: str, entries: Mapping[str, object]) -> bytes:
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(8 + len(text)) % _DATA_ALIGNMENT)
    if len(text) > _MAX_HEADER_BYTES:
        raise OutputError(
            Problem(
                f"The header of {file_name} is {format_bytes(len(text))}; "
                f"safetensors reads at most {format_bytes(_MAX_HEADER_BYTES)}.",
                why=f"{len(entries) - 1:,} tensors are in this one file",
                fix="set a smaller max_shard_size on the save node",
            )
        )
    return len(text).to_bytes(8, "little") + text
