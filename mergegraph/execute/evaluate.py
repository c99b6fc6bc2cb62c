"""One tile of a program, computed with torch. The first module that imports it.

A worker owns an arena: one block of bytes, cut into slots, a staging buffer for raw bytes and one for the
rounded result. Every tensor of a tile is a view of it, so no step allocates. Arithmetic is float32 (float64
where an input is), rounded once when the result is stored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from mergegraph.dtypes import BY_CODE
from mergegraph.execute.factors import Room, join, multiply, split
from mergegraph.execute.factors import byte_view as byte_view
from mergegraph.execute.noise import fill_uniform
from mergegraph.execute.reduce import Accumulator, Scratch, feed_in_runs
from mergegraph.execute.scales import scale_blocks
from mergegraph.execute.views import Source as Source
from mergegraph.execute.views import read_view
from mergegraph.expr import Read
from mergegraph.methods.base import Method
from mergegraph.methods.kernel import Piece
from mergegraph.methods.registry import kernels
from mergegraph.plan.extent import Extent
from mergegraph.plan.memory import TileShape, tile_shape
from mergegraph.plan.program import Computation
from mergegraph.plan.steps import (
    Accumulate,
    Call,
    Copy,
    Fetch,
    Join,
    Multiply,
    Reduce,
    Scaled,
    Split,
    Step,
    Store,
    Zero,
)  # fmt: skip
from mergegraph.statistic import Found

TORCH_DTYPES: Mapping[str, torch.dtype] = {
    code: getattr(torch, dtype.torch_name) for code, dtype in BY_CODE.items() if hasattr(torch, dtype.torch_name or "-")
}


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
    """One worker's memory, cut for tiles of `tile_elements`: `shape.tile_set_bytes(tile_elements)` bytes.

    `storage` is memory to cut; new memory without it.
    """

    def __init__(self, shape: TileShape, tile_elements: int, storage: Tensor | None = None) -> None:
        self._bytes = new_storage(shape.tile_set_bytes(tile_elements)) if storage is None else storage
        self._memory = byte_view(self._bytes)
        self._typed: dict[torch.dtype, Tensor] = {}
        self._slot_bytes = _aligned(tile_elements * shape.slot_bits // 8)
        self._raw_at = shape.slots * self._slot_bytes
        self._out_at = self._raw_at + _aligned(-(-tile_elements * shape.raw_bits // 8))
        self._reduce_at = self._out_at + _aligned(-(-tile_elements * shape.out_bits // 8))
        self._reduce_bytes = shape.reduce_bytes
        self._room_at = self._reduce_at + shape.reduce_bytes

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
    stats: Sequence[Any]
    noise_key: int
    start: int
    ops: Any = torch

    def scratch(self) -> Tensor:
        return self.spare.pop()

    def uniform(self, out: Tensor) -> Tensor:
        """The last spare slot was taken for this."""
        fill_uniform(out.view(-1), self.noise_key, self.start, self.spare[0].view(-1))
        return out


def new_storage(nbytes: int) -> Tensor:
    """Memory for an arena, one for each worker."""
    return torch.empty(max(-(-nbytes // 64) * 64, 64), dtype=torch.uint8)


@dataclass(frozen=True, slots=True)
class Statistics:
    """The statistics of a computation by number: those that are `found`, and those that this pass feeds."""

    found: list[Found | None]
    fed: Mapping[int, Accumulator]


_NONE = Statistics([], {})


def evaluate(
    work: Computation,
    start: int,
    elements: int,
    arena: Arena,
    source: Source,
    sink: Sink,
    *,
    index: int = 0,
    cut: Extent | None = None,
    statistics: Statistics = _NONE,
) -> None:
    """Run pass `index` of a program on elements `start … start + elements` of its tensors; each root goes to `sink`
    in turn, and each statistic that is fed to its accumulator.

    What `sink` gets is valid until it returns. `cut` is needed for rows, matrices and statistics.
    """
    tile = _Tile(work, start, elements, arena, source, cut, statistics)
    for step in work.program.passes[index]:
        finished = tile.run(step)
        if finished is not None:
            sink(finished)


def arena_for(work: Computation, tile_elements: int, storage: Tensor) -> Arena:
    """A worker's storage, cut for one computation."""
    return Arena(tile_shape([work.program]), tile_elements, storage)


class _Tile:
    """The steps of one tile."""

    def __init__(
        self,
        work: Computation,
        start: int,
        elements: int,
        arena: Arena,
        source: Source,
        cut: Extent | None,
        statistics: Statistics,
    ) -> None:
        self.work, self.reads, self.cut, self.statistics = work, work.reads, cut, statistics
        self.start, self.elements, self.arena, self.source = start, elements, arena, source
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
            case Call():
                self.call(step)
            case Reduce(stat, sources):
                assert self.cut is not None
                tiles = tuple([self.slots[source] for source in sources])
                feed_in_runs(self.statistics.fed[stat], self.start, tiles, self.cut.leaf, self.arena.reduction)
            case Multiply(slot, left, right):
                multiply(step, self.reads[left], self.reads[right], self.start, self.slots[slot], self.room)
            case Split(left, right, source):
                split(step, *(self.slots[n] for n in (source, left, right)))
            case Join(root):
                value, rounded = join(step, self.slots, self.reads, self.room)
                return self.finished(root, value, rounded)
            case Store(root, slot, dtype):
                return self.finished(root, self.slots[slot], self.arena.out(self.elements, TORCH_DTYPES[dtype]))
            case Copy(root, read):
                return Finished(root, self.raw_bytes(self.reads[read]), 0, 0)
        return None

    @property
    def room(self) -> Room:
        return Room(self.arena.room, self.dtype, self.source)

    def call(self, step: Call) -> None:
        """A kernel on the whole tile, or on one matrix of it after the other."""
        kernel = kernels()[step.kernel]
        if kernel.granularity != "matrix":
            self.call_on(step, kernel, 0, self.elements)
            return
        assert self.cut is not None
        for first in range(0, self.elements, self.cut.unit):
            self.call_on(step, kernel, first, self.cut.unit)

    def call_on(self, step: Call, kernel: type[Method] | type[Piece], first: int, elements: int) -> None:
        def view(slot: int) -> Tensor:
            flat = self.slots[slot][first : first + elements]
            return flat if kernel.granularity == "element" or self.cut is None else flat.view(-1, self.cut.columns)

        stats = [self.statistics.found[n] for n in step.stats]
        given = _TileKernel(
            out=view(step.slot),
            p=SimpleNamespace(**dict(step.parameters)),
            spare=[view(slot) for slot in step.scratch],
            stats=[each for each in stats if each is not None],
            noise_key=self.work.noises[step.noise].key if step.noise is not None else 0,
            start=self.start + first,
        )
        kernel.tile(given, *(view(source) for source in step.sources))

    def raw_bytes(self, read: Read) -> memoryview:
        """The read's bytes for this tile, in the staging buffer; read once where several outputs copy them."""
        bits = BY_CODE[read.dtype].bits
        content = self.arena.raw_bytes(self.elements * bits // 8)
        if self.staged is not read:
            read_view(read, self.start * bits // 8, content, self.source)
            self.staged = read
        return content

    def fetch(self, slot: int, read: Read) -> None:
        """Straight into the slot where the stored dtype is the compute dtype, else through the staging buffer."""
        stored = TORCH_DTYPES[read.dtype]
        if stored == self.dtype:
            content = self.arena.slot_bytes(slot, self.elements * stored.itemsize)
            read_view(read, self.start * stored.itemsize, content, self.source)
        else:
            self.raw_bytes(read)
            self.slots[slot].copy_(self.arena.raw(self.elements, stored))
        if read.scale is not None:
            scale_blocks(self.slots[slot], read, self.start, self.source)

    def finished(self, root: int, value: Tensor, rounded: Tensor) -> Finished:
        """Round once, into `rounded`. The sum is probed first: only when it is not finite are elements counted."""
        nonfinite = 0 if _sums_finite(value) else int(value.isfinite().logical_not_().sum())
        overflowed = round_once(value, rounded)
        return Finished(root, byte_view(rounded.view(torch.uint8)), nonfinite, overflowed)


_FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)
_NARROW_RANGE = (torch.float16, *_FLOAT8)
_CAREFUL_ELEMENTS = 8_192
"""What needs temporaries works in pieces of this, so that they stay small beside the pool."""


def round_once(value: Tensor, rounded: Tensor) -> int:
    """Write `value` to `rounded` in its dtype, to nearest. Returns how many finite values were too large for it.

    float16 and bfloat16 overflow to infinity; float8 has little or no infinity and saturates.
    """
    dtype = rounded.dtype
    from_double = value.dtype == torch.float64 and dtype != torch.float64
    is_direct = not from_double or dtype == torch.float32
    narrows = from_double or dtype in _NARROW_RANGE
    if is_direct and not (narrows and _exceeds(value, dtype)):
        rounded.copy_(value)
        # Only the last 0.4 % of float32's range is beyond bfloat16: a probe of the sum is half as dear as the extremes.
        if dtype != torch.bfloat16 or _sums_finite(rounded):
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


def _aligned(count: int) -> int:
    return -(-count // 64) * 64
