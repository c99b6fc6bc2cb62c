"""The read-only mapping that an evaluator may take in place of a folder: a tensor is read when it is asked for.

It is a model as stored, or the average of a few, computed tensor by tensor and written nowhere. What was read is kept
for the next evaluation up to a limit in bytes. In the worker's process.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import torch

from mergegraph.tensors.checkpoint import Checkpoint, open_checkpoint
from mergegraph.tensors.header import StoredTensor
from mergegraph.tensors.reader import FileReader


class Kept:
    """Tensors that were read, the latest used last, of at most `limit_bytes` together."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.read_bytes = 0
        """What was read from disk in all."""
        self._tensors: OrderedDict[tuple[str, int], torch.Tensor] = OrderedDict()
        self._held = 0

    def tensor(self, identity: str, stored: StoredTensor, reader: FileReader) -> torch.Tensor:
        key = (identity, stored.offset)
        if key in self._tensors:
            self._tensors.move_to_end(key)
            return self._tensors[key]
        tensor = _read(stored, reader)
        self.read_bytes += stored.nbytes
        while self._tensors and self._held + tensor.nbytes > self.limit_bytes:
            self._held -= self._tensors.popitem(last=False)[1].nbytes
        if tensor.nbytes <= self.limit_bytes:
            self._tensors[key] = tensor
            self._held += tensor.nbytes
        return tensor


class Tensors(Mapping[str, torch.Tensor]):
    """Tensors by name. `folder` and `config` are those of the first source, names and dtypes those of the last."""

    _kept: Kept | None = None

    def __init__(self, sources: Sequence[tuple[str, int]], kept: Kept) -> None:
        self._opened: list[tuple[Checkpoint, FileReader, int]] = []
        for reference, weight in sources:
            checkpoint = open_checkpoint(reference, Path.cwd())
            reader = FileReader({file.path: file.identity for file in checkpoint.files})
            self._opened.append((checkpoint, reader, weight))
        self.folder = self._opened[0][0].folder
        self.config: Mapping[str, Any] = MappingProxyType(dict(self._opened[0][0].config))
        self._store = kept

    @classmethod
    def of(cls, sources: Sequence[Sequence[Any]], keep_bytes: int) -> Tensors:
        """The mapping over folders with integer weights; the sources of all calls share what is kept."""
        if cls._kept is None or cls._kept.limit_bytes != keep_bytes:
            cls._kept = Kept(keep_bytes)
        return cls([(str(folder), int(weight)) for folder, weight in sources], cls._kept)

    def __getitem__(self, name: str) -> torch.Tensor:
        last = self._stored(self._opened[-1], name)
        total = sum(weight for _, _, weight in self._opened)
        if len(self._opened) == 1 or not last.is_floating_point():
            return last.clone()
        summed = torch.zeros_like(last, dtype=_wide(last))
        for opened in self._opened:
            summed.add_(self._stored(opened, name).to(summed.dtype), alpha=opened[2] / total)
        return summed.to(last.dtype)

    def __iter__(self) -> Iterator[str]:
        return iter(self._opened[-1][0].tensors)

    def __len__(self) -> int:
        return len(self._opened[-1][0].tensors)

    def close(self) -> None:
        for _, reader, _ in self._opened:
            reader.close()

    def _stored(self, opened: tuple[Checkpoint, FileReader, int], name: str) -> torch.Tensor:
        checkpoint, reader, _ = opened
        stored = checkpoint.tensors[name]
        identity = next(file.identity for file in checkpoint.files if file.path == stored.path)
        return self._store.tensor(identity, stored, reader)


def _wide(tensor: torch.Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def _read(stored: StoredTensor, reader: FileReader) -> torch.Tensor:
    if stored.scale is not None or not stored.dtype.torch_name:
        raise ValueError(f"{stored.name} is stored in blocks with scales: take the folder, not the tensors")
    raw = torch.empty(stored.nbytes, dtype=torch.uint8)
    if stored.nbytes:
        reader.read_into(stored.path, stored.offset, memoryview(cast("Any", raw.numpy())))
    return raw.view(getattr(torch, stored.dtype.torch_name)).reshape(stored.shape)
