"""Statistics while they are found: fed with runs of elements in any order and from any thread, then finished.

Sums are float64 over fixed runs of 65,536 elements, and the runs' sums are added exactly (`math.fsum`). Quantiles are
in `quantile.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from mergegraph.statistic import CHUNK_ELEMENTS, Found


class Accumulator(Protocol):
    """One statistic over the passes that it takes."""

    def feed(self, start: int, tiles: tuple[Tensor, ...], scratch: Scratch) -> None:
        """Take in at most 65,536 elements that begin at element `start`; `tiles` are 1-D and contiguous."""
        ...

    def end_pass(self) -> Found | None:
        """A pass is over: the result after the last, None before."""
        ...


@runtime_checkable
class TileAccumulator(Protocol):
    """An accumulator that takes whole tiles, and cuts them into runs itself."""

    def feed_tile(self, start: int, tiles: tuple[Tensor, ...], leaf: int, scratch: Scratch) -> None:
        """Take in a tile that begins at element `start`, where a leaf begins; `tiles` are 1-D and contiguous."""
        ...


class Scratch:
    """What one worker reduces in: two runs of float64."""

    def __init__(self, storage: Tensor | None = None) -> None:
        """`storage`: uint8, `plan.memory.REDUCE_BYTES`; new memory without one."""
        if storage is None:
            storage = torch.empty(2 * CHUNK_ELEMENTS * 8, dtype=torch.uint8)
        self.both = storage[: 2 * CHUNK_ELEMENTS * 8]
        doubles = self.both.view(torch.float64)
        self.first, self.second = doubles[:CHUNK_ELEMENTS], doubles[CHUNK_ELEMENTS:]
        self._held: list[Tensor | None] = [None, None]

    def doubles(self, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """Two runs in float64; a run is converted once until `forget`, and where both are one, so is the result."""
        first = self._double(one, None)
        return first, first if other is one else self._double(other, one)

    def forget(self) -> None:
        """The buffers are used for something else."""
        self._held = [None, None]

    def _double(self, run: Tensor, keep: Tensor | None) -> Tensor:
        buffers = (self.first[: run.numel()], self.second[: run.numel()])
        for held, buffer in zip(self._held, buffers, strict=True):
            if held is run:
                return buffer
        empty = [index for index, held in enumerate(self._held) if held is None]
        index = empty[0] if empty else int(self._held[0] is keep)
        self._held[index] = run
        return buffers[index].copy_(run)


class Sum:
    """dot, abs_sum, sum and count."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._runs: list[float] = []

    def add(self, sums: Sequence[float]) -> None:
        """Take in the sums of runs that somebody else added up."""
        self._runs += sums

    def feed(self, start: int, tiles: tuple[Tensor, ...], scratch: Scratch) -> None:
        count = tiles[0].numel()
        if self.kind == "count":
            self.add([float(count)])
        elif self.kind == "dot":
            # The buffers lie where they lie in every worker, so the product adds up in one order.
            self.add([float(torch.dot(*scratch.doubles(tiles[0], tiles[1])))])
        else:
            scratch.forget()
            run = scratch.first[:count].copy_(tiles[0])
            self.add([float((run.abs_() if self.kind == "abs_sum" else run).sum())])

    def end_pass(self) -> Found:
        # fsum is exact, so the order in which threads came does not matter; it refuses only what overflows.
        try:
            return math.fsum(self._runs)
        except (OverflowError, ValueError):
            return sum(sorted(self._runs))


Feeding = tuple[Accumulator, tuple[Tensor, ...]]
"""An accumulator, and the tiles that it is fed with."""


def feed_in_runs(feedings: Sequence[Feeding], start: int, leaf: int, scratch: Scratch) -> None:
    """Feed tiles that begin at element `start`, where a leaf begins: leaf by leaf, each in runs of 65,536.

    All accumulators see a run before the next run, so that what they share of it is converted once. Those that take
    whole tiles get them first.
    """
    for into, tiles in feedings:
        if isinstance(into, TileAccumulator):
            into.feed_tile(start, tuple([tile.view(-1) for tile in tiles]), leaf, scratch)
    feedings = [feeding for feeding in feedings if not isinstance(feeding[0], TileAccumulator)]
    if not feedings:
        return
    distinct = {id(tile): tile.view(-1) for _, tiles in feedings for tile in tiles}
    count = next(iter(distinct.values())).numel()
    for begin in range(0, count, leaf):
        for first in range(begin, min(begin + leaf, count), CHUNK_ELEMENTS):
            last = min(first + CHUNK_ELEMENTS, begin + leaf, count)
            runs = {key: tile[first:last] for key, tile in distinct.items()}
            scratch.forget()
            for into, tiles in feedings:
                into.feed(start + first, tuple([runs[id(tile)] for tile in tiles]), scratch)
