"""One worker's memory, cut for a computation: slots, staging buffers, and room to reduce in. No step allocates."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mergegraph.execute.factors import byte_view
from mergegraph.execute.reduce import Scratch
from mergegraph.plan.memory import REDUCE_BYTES, TileShape, tile_shape
from mergegraph.plan.program import Computation
from mergegraph.plan.steps import Program

_VIEWS_KEPT = 256
"""Nearly all tiles have one size, and so the same views."""


class Arena:
    """One worker's memory, cut for tiles of `tile_elements`: `shape.tile_set_bytes(tile_elements)` bytes.

    `storage` is memory to cut; new memory without it.
    """

    def __init__(self, shape: TileShape, tile_elements: int, storage: Tensor | None = None) -> None:
        self._bytes = new_storage(shape.tile_set_bytes(tile_elements)) if storage is None else storage
        self._memory = byte_view(self._bytes)
        self._typed: dict[torch.dtype, Tensor] = {}
        self._views: dict[tuple[int, int, torch.dtype], Tensor] = {}
        self._slot_bytes = _aligned(tile_elements * shape.slot_bits // 8)
        self._slots_at = shape.reduce_bytes
        self._raw_at = self._slots_at + shape.slots * self._slot_bytes
        self._out_at = self._raw_at + _aligned(-(-tile_elements * shape.raw_bits // 8))
        end = self._bytes.numel() // 64 * 64
        self._reduce_bytes = shape.reduce_bytes or (REDUCE_BYTES if shape.piece_bytes >= REDUCE_BYTES else 0)
        self._reduce_at = 0 if shape.reduce_bytes else end - shape.piece_bytes
        self._room_at = self._out_at + _aligned(-(-tile_elements * shape.out_bits // 8))

    @property
    def reduction(self) -> Scratch:
        """Where statistics are reduced; new memory where none was set aside."""
        if not self._reduce_bytes:
            return Scratch()
        return Scratch(self._bytes[self._reduce_at : self._reduce_at + self._reduce_bytes])

    @property
    def room(self) -> Tensor:
        """Where products are computed and matrices put together."""
        return self._bytes[self._room_at :]

    def slot(self, index: int, elements: int, dtype: torch.dtype) -> Tensor:
        """The first `elements` of a slot."""
        return self._view(self._slots_at + index * self._slot_bytes, elements, dtype)

    def slot_bytes(self, index: int, nbytes: int) -> memoryview:
        start = self._slots_at + index * self._slot_bytes
        return self._memory[start : start + nbytes]

    def raw(self, elements: int, dtype: torch.dtype) -> Tensor:
        return self._view(self._raw_at, elements, dtype)

    def raw_bytes(self, nbytes: int) -> memoryview:
        return self._memory[self._raw_at : self._raw_at + nbytes]

    def out(self, elements: int, dtype: torch.dtype) -> Tensor:
        return self._view(self._out_at, elements, dtype)

    def pieces(self, count: int, elements: int) -> list[Tensor]:
        """`count` slots of a piece, as float32. They lie at the end, behind the room to reduce in."""
        begin = self._bytes.numel() // 64 * 64 - count * elements * 4
        return [self._view(begin + index * elements * 4, elements, torch.float32) for index in range(count)]

    def side_by_side(
        self, raw_bits: Sequence[int], out_bits: Sequence[int], elements: int
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Buffers of bytes for `elements` of everything that a tile reads, and of everything that it writes."""
        place, buffers = self._raw_at, list[Tensor]()
        for bits in (*raw_bits, *out_bits):
            buffers.append(self._view(place, elements * bits // 8, torch.uint8))
            place += _aligned(elements * bits // 8)
        return buffers[: len(raw_bits)], buffers[len(raw_bits) :]

    def _view(self, start: int, elements: int, dtype: torch.dtype) -> Tensor:
        """Buffers start at multiples of 64 bytes, so that one view of the whole arena serves each dtype."""
        key = (start, elements, dtype)
        if key not in self._views:
            if dtype not in self._typed:
                self._typed[dtype] = self._bytes.view(dtype)
            if len(self._views) >= _VIEWS_KEPT:
                self._views.clear()
            first = start // dtype.itemsize
            self._views[key] = self._typed[dtype][first : first + elements]
        return self._views[key]


def new_storage(nbytes: int) -> Tensor:
    """Memory for an arena, one for each worker."""
    return torch.empty(max(-(-nbytes // 64) * 64, 64), dtype=torch.uint8)


class WorkerMemory:
    """One worker's storage, and how it is cut for the computation that it works on."""

    def __init__(self, storage: Tensor) -> None:
        self._storage = storage
        self._program: Program | None = None
        self._tile = 0
        self._arena: Arena | None = None

    def arena(self, work: Computation, tile_elements: int) -> Arena:
        """The storage, cut for tiles of a computation; cut anew only where program or tile are others."""
        if self._arena is None or self._program is not work.program or self._tile != tile_elements:
            self._arena = arena_for(work, tile_elements, self._storage)
            self._program, self._tile = work.program, tile_elements
        return self._arena


def arena_for(work: Computation, tile_elements: int, storage: Tensor) -> Arena:
    """A worker's storage, cut for one computation."""
    return Arena(tile_shape([work.program]), tile_elements, storage)


def _aligned(count: int) -> int:
    return -(-count // 64) * 64
