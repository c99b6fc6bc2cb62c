"""One tile of a program, computed with torch.

Every tensor of a tile is a view of a worker's arena, so no step allocates. Arithmetic is float32 (float64 where an
input is), rounded once when the result is stored. Most programs are computed in pieces (`pieces.py`); here are those
that need rows, matrices, float64 or operations of their own, a whole tile at a time. `TileSteps` is what the processor
and other devices share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from mergegraph.dtypes import BY_CODE
from mergegraph.execute.arena import Arena
from mergegraph.execute.factors import Room, byte_view, join, multiply, split
from mergegraph.execute.finished import NO_STATISTICS, Finished, Sink, Statistics
from mergegraph.execute.noise import draw_equal, fill_uniform
from mergegraph.execute.pieces import evaluate_in_pieces
from mergegraph.execute.reduce import Feeding, feed_in_runs
from mergegraph.execute.rounding import round_once
from mergegraph.execute.scales import scale_blocks
from mergegraph.execute.timing import Lap, TileTimes, nobodys
from mergegraph.execute.views import TORCH_DTYPES, Source, read_view
from mergegraph.expr import Read
from mergegraph.methods.base import Method
from mergegraph.methods.kernel import Piece
from mergegraph.methods.registry import kernels
from mergegraph.plan.extent import Extent
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


@dataclass
class TileKernel:
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

    def draw_equal(self, operand: Tensor, size: float, share: float) -> None:
        draw_equal(self.out.view(-1), operand.view(-1), size, share, self.noise_key, self.start)


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
    statistics: Statistics = NO_STATISTICS,
    times: TileTimes | None = None,
) -> None:
    """Run pass `index` of a program on elements `start … start + elements` of its tensors; each root goes to `sink`
    in turn, and each statistic that is fed to its accumulator.

    What `sink` gets is valid until it returns. `cut` is needed for rows, matrices and statistics. `times`: takes in
    what each step took.
    """
    spent = times or nobodys(work.program, index)
    if work.program.in_pieces:
        evaluate_in_pieces(work, start, elements, arena, source, sink, index, statistics, spent)
        return
    tile = _ArenaTile(work, start, elements, arena, source, cut, statistics)
    steps, seconds, lap = work.program.passes[index], spent.measured, Lap()
    for number, step in enumerate(steps):
        if tile.unfed and not isinstance(step, Reduce):
            tile.feed()
            seconds[number - 1] += lap.seconds()
        finished = tile.run(step)
        seconds[number] += lap.seconds()
        if finished is not None:
            sink(finished)
            seconds[len(steps) + finished.root] += lap.seconds()
    if tile.unfed:
        tile.feed()
        seconds[len(steps) - 1] += lap.seconds()


class TileSteps:
    """The steps of one tile on `slots`. How numbers come in, are reduced and go out differs between devices."""

    kernel: Callable[..., TileKernel] = TileKernel
    slots: list[Tensor]

    def __init__(
        self, work: Computation, start: int, elements: int, cut: Extent | None, statistics: Statistics
    ) -> None:
        self.work, self.reads, self.cut, self.statistics = work, work.reads, cut, statistics
        self.start, self.elements = start, elements
        self.unfed: list[Feeding] = []
        self.dtype = torch.float64 if work.program.double else torch.float32

    def run(self, step: Step) -> Finished | None:
        """One step; what it finishes, where it does."""
        match step:
            case Fetch(slot, read):
                self.fetch(slot, read)
            case Zero(slot):
                self.slots[slot].zero_()
            case Scaled(slot, source, coefficient):
                torch.mul(self.slots[source], coefficient, out=self.slots[slot])
            case Accumulate(slot, source, coefficient):
                self.slots[slot].add_(self.slots[source], alpha=coefficient)
            case Call():
                self.call(step)
            case Reduce(stat, sources):
                # What is found before its last planned pass is fed no more.
                if into := self.statistics.fed.get(stat):
                    self.unfed.append((into, tuple([self.slots[source] for source in sources])))
            case Store():
                return self.store(step)
            case Multiply() | Split() | Join() | Copy():
                return self.matrices(step)
        return None

    def fetch(self, slot: int, read: int) -> None:
        """The elements of a read, in the compute dtype."""
        raise NotImplementedError

    def store(self, step: Store) -> Finished | None:
        """Round a slot."""
        raise NotImplementedError

    def matrices(self, step: Multiply | Split | Join | Copy) -> Finished | None:
        """Steps that only the processor performs."""
        raise NotImplementedError

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
        given = self.kernel(
            out=view(step.slot),
            p=SimpleNamespace(**dict(step.parameters)),
            spare=[view(slot) for slot in step.scratch],
            stats=[each for each in stats if each is not None],
            noise_key=self.work.noises[step.noise].key if step.noise is not None else 0,
            start=self.start + first,
            ops=self.ops,
        )
        kernel.tile(given, *(view(source) for source in step.sources))

    @property
    def ops(self) -> Any:
        """What kernels use as the torch module."""
        return torch


class _ArenaTile(TileSteps):
    """The steps of one tile in a worker's arena."""

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
        super().__init__(work, start, elements, cut, statistics)
        self.arena, self.source = arena, source
        self.staged: Read | None = None
        self.slots = [arena.slot(index, elements, self.dtype) for index in range(work.program.slots)]

    def matrices(self, step: Multiply | Split | Join | Copy) -> Finished | None:
        match step:
            case Multiply(slot, left, right):
                multiply(step, self.reads[left], self.reads[right], self.start, self.slots[slot], self.room)
            case Split(left, right, source):
                split(step, *(self.slots[n] for n in (source, left, right)))
            case Join(root):
                value, rounded = join(step, self.slots, self.reads, self.room)
                return self.finished(root, value, rounded)
            case Copy(root, read):
                return Finished(root, self.raw_bytes(self.reads[read]), 0, 0)
        return None

    def feed(self) -> None:
        """Feed reductions that follow one another together."""
        assert self.cut is not None
        feed_in_runs(self.unfed, self.start, self.cut.leaf, self.arena.reduction)
        self.unfed = []

    @property
    def room(self) -> Room:
        return Room(self.arena.room, self.dtype, self.source)

    def raw_bytes(self, read: Read) -> memoryview:
        """The read's bytes for this tile, in the staging buffer; read once where several outputs copy them."""
        bits = BY_CODE[read.dtype].bits
        content = self.arena.raw_bytes(self.elements * bits // 8)
        if self.staged is not read:
            read_view(read, self.start * bits // 8, content, self.source)
            self.staged = read
        return content

    def fetch(self, slot: int, read: int) -> None:
        """Straight into the slot where the stored dtype is the compute dtype, else through the staging buffer."""
        shown = self.reads[read]
        stored = TORCH_DTYPES[shown.dtype]
        if stored == self.dtype:
            content = self.arena.slot_bytes(slot, self.elements * stored.itemsize)
            read_view(shown, self.start * stored.itemsize, content, self.source)
        else:
            self.raw_bytes(shown)
            self.slots[slot].copy_(self.arena.raw(self.elements, stored))
        if shown.scale is not None:
            scale_blocks(self.slots[slot], shown, self.start, self.source)

    def store(self, step: Store) -> Finished:
        rounded = self.arena.out(self.elements, TORCH_DTYPES[step.dtype])
        return self.finished(step.root, self.slots[step.slot], rounded)

    def finished(self, root: int, value: Tensor, rounded: Tensor) -> Finished:
        """Round once, into `rounded`."""
        nonfinite, overflowed = round_once(value, rounded)
        return Finished(root, byte_view(rounded.view(torch.uint8)), nonfinite, overflowed)
