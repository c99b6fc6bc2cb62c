"""One tile of a program, computed with torch. The first module that imports it.

A worker owns an arena: one block of bytes, cut into slots, a staging buffer for raw bytes and one for the
rounded result. Every tensor of a tile is a view of it, so no step allocates. Arithmetic is float32 (float64
where an input is), rounded once when the result is stored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Protocol

import torch
from torch import Tensor

from mergegraph.dtypes import BY_CODE
from mergegraph.expr import Read
from mergegraph.methods.registry import methods
from mergegraph.plan.memory import TileShape
from mergegraph.plan.program import Accumulate, Call, Computation, Copy, Fetch, Scaled, Step, Store, Zero

TORCH_DTYPES: Mapping[str, torch.dtype] = {
    code: getattr(torch, dtype.torch_name) for code, dtype in BY_CODE.items() if hasattr(torch, dtype.torch_name or "-")
}


class Source(Protocol):
    """Where raw bytes come from: fills `buffer` from `offset` of `path`, or raises."""

    def __call__(self, path: str, offset: int, buffer: memoryview, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Finished:
    """One root's tile, ready to be written. `nonfinite` counts NaN and Inf in the computed values, before the
    rounding; `overflowed` counts finite values that the output dtype could not hold."""

    root: int
    content: memoryview
    nonfinite: int
    overflowed: int


Sink = Callable[[Finished], None]


class Arena:
    """One worker's memory: `shape.tile_set_bytes(tile_elements)` bytes, reserved at once."""

    def __init__(self, shape: TileShape, tile_elements: int) -> None:
        self._bytes = torch.empty(max(shape.tile_set_bytes(tile_elements), 64), dtype=torch.uint8)
        self._memory = byte_view(self._bytes)
        self._typed: dict[torch.dtype, Tensor] = {}
        self._slot_bytes = _aligned(tile_elements * shape.slot_bits // 8)
        self._raw_at = shape.slots * self._slot_bytes
        self._out_at = self._raw_at + _aligned(-(-tile_elements * shape.raw_bits // 8))

    def slot(self, index: int, elements: int, dtype: torch.dtype) -> Tensor:
        """The first `elements` of a slot."""
        return self._view(index * self._slot_bytes, elements, dtype)

    def slot_bytes(self, index: int, nbytes: int) -> memoryview:
        start = index * self._slot_bytes
        return self._memory[start : start + nbytes]

    def raw(self, elements: int, dtype: torch.dtype) -> Tensor:
        return self._view(self._raw_at, elements, dtype)

    def raw_bytes(self, nbytes: int) -> memoryview:
        return self._memory[self._raw_at : self._raw_at + nbytes]

    def out(self, elements: int, dtype: torch.dtype) -> Tensor:
        return self._view(self._out_at, elements, dtype)

    def out_bytes(self, nbytes: int) -> memoryview:
        return self._memory[self._out_at : self._out_at + nbytes]

    def _view(self, start: int, elements: int, dtype: torch.dtype) -> Tensor:
        """Buffers start at multiples of 64 bytes, so that one view of the whole arena serves each dtype."""
        if dtype not in self._typed:
            self._typed[dtype] = self._bytes.view(dtype)
        first = start // dtype.itemsize
        return self._typed[dtype][first : first + elements]


@dataclass
class _TileKernel:
    """What a method's `tile` is given (see `methods.base.Kernel`)."""

    out: Tensor
    p: Any
    spare: list[Tensor]
    ops: Any = torch

    def scratch(self) -> Tensor:
        return self.spare.pop()


def evaluate(work: Computation, start: int, elements: int, arena: Arena, source: Source, sink: Sink) -> None:
    """Run a program on elements `start … start + elements` of its tensors; each root goes to `sink` in turn.

    What `sink` gets is valid until it returns.
    """
    tile = _Tile(work, start, elements, arena, source)
    for step in work.program.steps:
        finished = tile.run(step)
        if finished is not None:
            sink(finished)


class _Tile:
    """The steps of one tile."""

    def __init__(self, work: Computation, start: int, elements: int, arena: Arena, source: Source) -> None:
        self.reads, self.start, self.elements, self.arena, self.source = work.reads, start, elements, arena, source
        self.staged: Read | None = None
        self.dtype = torch.float64 if work.program.double else torch.float32
        self.slots = [arena.slot(index, elements, self.dtype) for index in range(work.program.slots)]

    def run(self, step: Step) -> Finished | None:
        match step:
            case Fetch(slot, read):
                self.fetch(slot, self.reads[read])
            case Zero(slot):
                self.slots[slot].zero_()
            case Scaled(slot, source, coefficient):
                torch.mul(self.slots[source], coefficient, out=self.slots[slot])
            case Accumulate(slot, source, coefficient):
                self.slots[slot].add_(self.slots[source], alpha=coefficient)
            case Call(slot, op, sources, parameters, scratch):
                kernel = _TileKernel(
                    self.slots[slot], SimpleNamespace(**dict(parameters)), [self.slots[index] for index in scratch]
                )
                methods()[op].tile(kernel, *(self.slots[source] for source in sources))
            case Store(root, slot, dtype):
                return self.store(root, self.slots[slot], dtype)
            case Copy(root, read):
                return Finished(root, self.raw_bytes(self.reads[read]), 0, 0)
        return None

    def raw_bytes(self, read: Read) -> memoryview:
        """The read's bytes for this tile, in the staging buffer; read once where several outputs copy them."""
        bits = BY_CODE[read.dtype].bits
        content = self.arena.raw_bytes(self.elements * bits // 8)
        if self.staged is not read:
            self.source(read.path, read.offset + self.start * bits // 8, content)
            self.staged = read
        return content

    def fetch(self, slot: int, read: Read) -> None:
        """Straight into the slot where the stored dtype is the compute dtype, else through the staging buffer."""
        stored = TORCH_DTYPES[read.dtype]
        if stored == self.dtype:
            content = self.arena.slot_bytes(slot, self.elements * stored.itemsize)
            self.source(read.path, read.offset + self.start * stored.itemsize, content)
        else:
            self.raw_bytes(read)
            self.slots[slot].copy_(self.arena.raw(self.elements, stored))

    def store(self, root: int, value: Tensor, code: str) -> Finished:
        """Round once. The sum of a tile is probed first: only when it is not finite are elements counted."""
        dtype = TORCH_DTYPES[code]
        rounded = self.arena.out(self.elements, dtype)
        nonfinite = 0 if _sums_finite(value) else int(value.isfinite().logical_not_().sum())
        overflowed = round_once(value, rounded)
        return Finished(root, self.arena.out_bytes(self.elements * dtype.itemsize), nonfinite, overflowed)


_FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)
_NARROW_RANGE = (torch.float16, *_FLOAT8)
_CAREFUL_ELEMENTS = 8_192
"""What needs temporaries works in pieces of this, so that they stay small beside the pool."""


def round_once(value: Tensor, rounded: Tensor) -> int:
    """Write `value` to `rounded` in its dtype, to nearest. Returns how many finite values were too large for it.

    float16 overflows to infinity; float8 has little or no infinity and saturates.
    """
    dtype = rounded.dtype
    from_double = value.dtype == torch.float64 and dtype != torch.float64
    is_direct = not from_double or dtype == torch.float32
    narrows = from_double or dtype in _NARROW_RANGE
    if is_direct and not (narrows and _exceeds(value, dtype)):
        rounded.copy_(value)
        return 0
    pieces = [slice(start, start + _CAREFUL_ELEMENTS) for start in range(0, value.numel(), _CAREFUL_ELEMENTS)]
    return sum([_round_carefully(value[piece], rounded[piece]) for piece in pieces])


def _round_carefully(value: Tensor, rounded: Tensor) -> int:
    dtype = rounded.dtype
    single = _as_single_to_odd(value) if value.dtype == torch.float64 and dtype != torch.float32 else value
    if dtype in _FLOAT8:
        limit = torch.finfo(dtype).max
        rounded.copy_(single.clamp(-limit, limit))
        return int((value.isfinite() & (value.abs() > limit)).sum())
    rounded.copy_(single)
    return int((rounded.isinf() & value.isfinite()).sum())


def _as_single_to_odd(value: Tensor) -> Tensor:
    """float64 as float32, cut towards zero, with the last bit set where that loses something.

    torch rounds float64 to a half type through float32, and so twice; from a number that was rounded to odd, the
    second rounding gives what a single one gives.
    """
    single = value.to(torch.float32)
    back = single.to(torch.float64)
    bits = single.view(torch.int32)
    bits -= (back.abs() > value.abs()).to(torch.int32)
    bits |= (back != value).to(torch.int32)
    return single


def _sums_finite(value: Tensor) -> bool:
    return math.isfinite(value.sum().item())


def _exceeds(value: Tensor, dtype: torch.dtype) -> bool:
    """Whether a value lies beyond the dtype's largest. Also where a NaN hides whether one does."""
    if not value.numel():
        return False
    low, high = torch.aminmax(value)
    return not max(float(high), -float(low)) <= torch.finfo(dtype).max


def byte_view(tensor: Tensor) -> memoryview:
    """The memory of a contiguous uint8 tensor, shared with it."""
    shared: Any = tensor.numpy()  # pyright: ignore[reportUnknownMemberType]
    return memoryview(shared)


def _aligned(count: int) -> int:
    return -(-count // 64) * 64
