"""How many bytes the tiles of a run take, and the largest tile that fits the budget. Pure arithmetic.

A worker reserves its whole tile set at once: slots in the compute dtype, one staging buffer for raw bytes, one
for the rounded result, room to reduce in. The pool is the workers' tile sets and the histograms they share, and
nothing that grows with a model is outside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from mergegraph.plan.rooms import room_bytes
from mergegraph.plan.steps import Program, Reduce
from mergegraph.statistic import CHUNK_ELEMENTS, SPARSE_BINS

BLOCK_ELEMENTS = 65_536
"""A tile is whole blocks, so that checksums do not depend on the tile."""
TILE_ELEMENTS = 1_048_576
"""4 MiB of float32. What a worker does between two tiles holds the interpreter's lock: with two workers, tiles of
262,144 take a soup from 1.4 s to 2.4 s. Larger ones gain nothing, and the pool grows."""
TEXTS_KEPT = 16
"""So many compiled passes are kept (see `execute.script`), the last that were used."""
TEXT_BYTES = 1 << 20
"""What one takes: 0.8 MiB measured."""
COUNTED_BYTES = 12 * CHUNK_ELEMENTS
"""What may fall into a quantile's window of a run, with its places."""
POOL_CEILING = 128 << 20
DEFAULT_BUDGET = 2 << 30
REDUCE_BYTES = 2 << 20
"""Two runs of 65,536 float64, and as much again for what torch takes to count a run."""
WORKER_BYTES = 1 << 20
"""What a worker takes beside its tile set: its stack, and what torch, numpy and Python hold while a step runs."""
LEAST_SAMPLE = 16_384
"""So many elements of a tensor are counted at least, or all: a share of one half is then known to 0.4 percent."""
DIRECT_STRIDE = 32
"""Where one element in so many is counted, or more, a run's sample is counted by itself: from here on with others."""
LOOK_BYTES = 1 << 20
"""What a compiled pass takes more where it measures: the text of all that is counted is part of it."""
COUNTING_BYTES = 4 << 20
"""What a worker's counting leaves in glibc's heaps, which keep as much before they hand anything back (see
`execute.memory.bound_arenas`): up to 3 MiB measured, where all elements are counted."""
_RECORD_BYTES = 2 << 10
"""Of one row of a tensor: some 20 exponents, and sums; 1.2 KB measured."""
_COUNTED_TOGETHER = 4_096
"""Elements of the samples of several runs that are counted together."""
_LARGEST_STRIDE = 512
PLACES_BYTES = 4 * CHUNK_ELEMENTS
"""Which elements are counted, for one stride; `STRIDES_KEPT` of them are kept."""
STRIDES_KEPT = 4
RUNS_TOGETHER = 64
"""The sums of so many runs are added up as soon as all are there."""
_ARRAY_BYTES = 256
"""What a small tensor takes beside its numbers."""
HISTOGRAM_BYTES = 4 * SPARSE_BINS
"""What a quantile is counted in: 32 bits a bin, or 64 where there are few."""


@dataclass(frozen=True, slots=True)
class TileShape:
    """What one worker holds for one tile element: slot count, and bits a slot, staged in and staged out; and
    `reduce_bytes`, `room_bytes` (see `plan.rooms`) and `piece_bytes` whatever the tile. With pieces what is staged are
    `buffers` side by side."""

    slots: int
    slot_bits: int
    raw_bits: int
    out_bits: int
    reduce_bytes: int = 0
    room_bytes: int = 0
    piece_bytes: int = 0
    buffers: int = 0

    def tile_set_bytes(self, elements: int) -> int:
        """Bytes of a worker's tile set for tiles of `elements`; every buffer is a multiple of 64 bytes."""
        buffers = [self.slot_bits] * self.slots + [self.raw_bits, self.out_bits]
        return sum(_aligned(-(-elements * bits // 8)) for bits in buffers) + self.fixed_bytes

    @property
    def fixed_bytes(self) -> int:
        """What does not depend on the tile."""
        return self.reduce_bytes + self.room_bytes + self.piece_bytes + 64 * self.buffers


@dataclass(frozen=True, slots=True)
class Projection:
    """What a run will reserve: `workers` tile sets, for tiles of `tile_elements`, and `shared_bytes` beside them.

    `special_bytes`: the largest tile set of a tensor whose kernels need whole rows or matrices.
    """

    shape: TileShape
    tile_elements: int
    workers: int
    budget_bytes: int
    special_bytes: int = 0
    shared_bytes: int = 0

    @property
    def tile_set_bytes(self) -> int:
        return max(self.shape.tile_set_bytes(self.tile_elements), self.special_bytes)

    @property
    def pool_bytes(self) -> int:
        return self.workers * self.tile_set_bytes + self.shared_bytes


def tile_shape(programs: Iterable[Program]) -> TileShape:
    """The tile set that serves every program."""
    slots = raw = out = reduce = room = piece = buffers = 0
    slot_bits = 32
    for each in programs:
        if each.in_pieces:
            raw, out = max(raw, sum(each.staged)), max(out, sum(each.stored))
            piece, buffers = max(piece, piece_bytes(each)), max(buffers, len(each.staged) + len(each.stored))
            continue
        slots, raw, out = max(slots, each.slots), max(raw, each.raw_bits), max(out, each.out_bits)
        slot_bits = 64 if each.double else slot_bits
        reduce = REDUCE_BYTES if any(isinstance(step, Reduce) for step in each.steps) else reduce
        room = max(room, room_bytes(each))
    return TileShape(slots, slot_bits, raw, out, reduce, room, piece, buffers)


def piece_bytes(program: Program) -> int:
    """What a program in pieces holds beside the tile: the slots of a piece, and room to reduce in where a pass does."""
    needed: list[int] = []
    for index, steps in enumerate(program.passes):
        slots, elements = program.piece(index)
        reduces = any(isinstance(step, Reduce) for step in steps)
        quantiles = sum(program.reductions[n].kind == "abs_quantile" for n in program.fed_in(index))
        counted = COUNTED_BYTES * max(0, quantiles - 1)  # the room to reduce in has that of one
        needed.append(4 * slots * elements + REDUCE_BYTES * reduces + counted)
    return max(needed, default=0)


def text_bytes(programs: Iterable[Program], measured: Iterable[Program] = ()) -> int:
    """What the compiled passes of programs in pieces take, for all workers together. `measured`: those of them that
    statistics are taken of."""
    passes = {(each.passes[index]) for each in programs if each.in_pieces for index in range(len(each.passes))}
    looks = {each.passes[-1] for each in measured if each.in_pieces}
    return TEXT_BYTES * min(len(passes), TEXTS_KEPT) + LOOK_BYTES * min(len(looks), TEXTS_KEPT)


def histogram_bytes(program: Program) -> int:
    """What the quantiles that a program's busiest pass feeds count in; jobs hold it, not workers."""
    fed = [
        sum(program.reductions[n].kind == "abs_quantile" for n in program.fed_in(i)) for i in range(len(program.passes))
    ]
    return HISTOGRAM_BYTES * max(fed, default=0)


def sample_stride(elements: int) -> int:
    """One in so many elements of a tensor is counted: at least `LEAST_SAMPLE` of them, or all."""
    stride = 1
    while stride < _LARGEST_STRIDE and elements >= 2 * stride * LEAST_SAMPLE:
        stride *= 2
    return stride


def measure_bytes(rows: int, elements: int, *, double: bool) -> int:
    """What the statistics of a tensor are counted in until it is finished: exponents, the sums of runs that are not
    added up yet, and the sample of a tile, with what waits for that of its neighbours."""
    exponents = 16 * (2_048 if double else 279) * rows
    stride = sample_stride(elements)
    sample = min(TILE_ELEMENTS, elements) // stride + 2 * _COUNTED_TOGETHER if stride > DIRECT_STRIDE else 0
    sums = 2 * RUNS_TOGETHER * (8 * (rows * rows + 2 * rows) + _ARRAY_BYTES)
    return exponents + sums + sample * rows * (8 if double else 4)


def record_bytes(rows: int) -> int:
    """What is kept of a tensor when it is finished: its record, most of it exponents."""
    return _RECORD_BYTES * rows


def project(
    shape: TileShape, budget_bytes: int, workers: int, largest_tensor: int, shared_bytes: int = 0
) -> Projection:
    """The largest tile up to `TILE_ELEMENTS` whose pool fits; fewer workers only when one block does not.

    A projection above the budget (one worker, one block) is handed back too: `Plan.problems` says so.
    """
    wanted = min(TILE_ELEMENTS, -(-max(largest_tensor, 1) // BLOCK_ELEMENTS) * BLOCK_ELEMENTS)
    for count in range(workers, 0, -1):
        ceiling = min(budget_bytes - shared_bytes - count * WORKER_BYTES, POOL_CEILING)
        for elements in range(wanted, 0, -BLOCK_ELEMENTS):
            if count * shape.tile_set_bytes(elements) <= ceiling:
                return Projection(shape, elements, count, budget_bytes, 0, shared_bytes)
    return Projection(shape, BLOCK_ELEMENTS, 1, budget_bytes, 0, shared_bytes)


def with_special(projection: Projection, set_bytes: int) -> Projection:
    """The projection when some tensor needs a tile set of `set_bytes`: fewer workers where all do not fit.

    One worker always stays; `Plan.problems` says when even it does not fit.
    """
    if set_bytes <= projection.tile_set_bytes:
        return projection
    affordable = (projection.budget_bytes - projection.shared_bytes) // (set_bytes + WORKER_BYTES)
    workers = max(1, min(projection.workers, affordable))
    return replace(projection, workers=workers, special_bytes=set_bytes)


def _aligned(count: int) -> int:
    return -(-count // 64) * 64
