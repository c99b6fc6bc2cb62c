"""Where the tiles of an output go: a folder that this run owns, or files of one that several share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Destination(Protocol):
    """`finished`: the tensors that need not be written, with their checksums where they are known. Threads may call."""

    @property
    def finished(self) -> Mapping[str, str]: ...

    def write(self, tensor: str, offset_in_tensor: int, buffer: memoryview) -> None: ...

    def checksum_of(self, tensor: str) -> str: ...

    def tensor_done(self, tensor: str, checksum: str, **facts: object) -> None: ...
