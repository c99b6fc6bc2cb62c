"""Statistics of a tile on a device: what it counts and adds up goes to a buffer that travels back with the tile.

A sum adds each run of 65,536 elements in float64, half onto half, so its bits depend on the run alone. A quantile is
counted in the bins of its window, as on the processor, and so found exactly; where the counts would be more bytes than
the elements, the elements travel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from mergegraph.execute.quantile import Counting, Counts, Quantile
from mergegraph.execute.reduce import Feeding, Scratch, Sum, feed_in_runs
from mergegraph.plan.staging import SPARE_BINS, counts_bytes, run_count
from mergegraph.statistic import CHUNK_ELEMENTS

Deliver = Callable[[Scratch], None]
"""Called when the results are on the host."""


@dataclass(frozen=True)
class Rooms:
    """A device's scratch: `wide` and `narrow` hold eight bytes for each element of a piece, `flags` and `more_flags`
    one."""

    wide: Tensor
    narrow: Tensor
    flags: Tensor
    more_flags: Tensor

    @property
    def elements(self) -> int:
        return self.flags.numel()


class Results:
    """A stage's results on the device and on the host, handed out one after the other."""

    def __init__(self, there: Tensor, here: Tensor) -> None:
        """Both uint8, of one size, aligned to 64 bytes."""
        self._there, self._here, self._taken = there, here, 0

    def take(self, count: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """(where the device writes, where the host reads)."""
        end = self._taken + count * dtype.itemsize
        part = slice(self._taken, end)
        self._taken = -(-end // 64) * 64
        assert self._taken <= self._there.numel(), "a tile has more results than were planned"
        return self._there[part].view(dtype), self._here[part].view(dtype)


def reduce_tile(feeding: Feeding, start: int, leaf: int, results: Results, rooms: Rooms) -> Deliver:
    """Reduce the tiles of one accumulator; what to do with the results when they are there."""
    into, tiles = feeding
    if isinstance(into, Sum):
        return _add_up(into, tiles, leaf, results, rooms)
    assert isinstance(into, Quantile)
    (tile,) = tiles
    tile = tile.view(-1)
    counting = into.counting(8 * tile.element_size() - 1)
    if counting.is_sampling or tile.nbytes <= counts_bytes(counting.window.bins):
        return _bring(into, tile, start, leaf, results)
    return _count(into, tile, counting, results, rooms)


def _bring(into: Quantile, tile: Tensor, start: int, leaf: int, results: Results) -> Deliver:
    there, here = results.take(tile.numel(), tile.dtype)
    there.copy_(tile)

    def deliver(scratch: Scratch) -> None:
        feed_in_runs([(into, (here,))], start, leaf, scratch)

    return deliver


def _count(into: Quantile, tile: Tensor, counting: Counting, results: Results, rooms: Rooms) -> Deliver:
    """Counts of bins, then of those outside, then of nonzero, over and heavy ones."""
    window = counting.window
    there, here = results.take(counts_bytes(window.bins) // 4, torch.int32)
    there.zero_()
    for first in range(0, tile.numel(), rooms.elements):
        _count_piece(tile[first : first + rooms.elements], counting, there, rooms)

    def deliver(scratch: Scratch) -> None:
        counted = here.numpy().copy()  # pyright: ignore[reportUnknownMemberType]
        nonzero, over, *heavy = counted[window.bins + SPARE_BINS :].tolist()
        bins = counted[: window.bins].astype(np.int64)
        if window.low == 0 and 0 not in window.heavy:
            bins[0] += tile.numel() - nonzero
        into.add(
            Counts(
                tile.numel(),
                nonzero if counting.nonzero else 0,
                over if counting.over else 0,
                heavy[: len(window.heavy)],
                bins,
            )
        )

    return deliver


def _count_piece(tile: Tensor, counting: Counting, counts: Tensor, rooms: Rooms) -> None:
    """Zeros are counted apart: there may be many, and a device adds to one address in turn."""
    window, count = counting.window, tile.numel()
    integers = torch.int64 if tile.element_size() == 8 else torch.int32
    bits = rooms.narrow.view(integers)[:count]
    inside, flags = (flags.view(torch.bool)[:count] for flags in (rooms.flags, rooms.more_flags))
    single = counts[window.bins + SPARE_BINS :]
    torch.bitwise_and(tile.view(integers), torch.iinfo(integers).max, out=bits)
    torch.ne(bits, 0, out=inside)
    _add_count(inside, single[0])
    if window.high <= torch.iinfo(integers).max:
        torch.lt(bits, window.high, out=flags)
        inside.logical_and_(flags)
        _add_count(flags.logical_not_(), single[1])
    if window.low:
        inside.logical_and_(torch.ge(bits, window.low, out=flags))
    for index, value in enumerate(window.heavy):
        torch.eq(bits, value, out=flags)
        _add_count(flags, single[2 + index])
        inside.logical_and_(flags.logical_not_())
    # The bin where an element is inside, else one of the spare bins.
    where = rooms.wide.view(torch.int64)[:count]
    bits.sub_(window.low).bitwise_right_shift_(window.shift)
    spare = torch.arange(count, out=where).bitwise_and_(SPARE_BINS - 1).add_(window.bins)
    torch.where(inside, bits, spare, out=where)
    counts.scatter_add_(0, where, counts.new_ones(1).expand(count))


def _add_count(flags: Tensor, total: Tensor) -> None:
    total.add_(flags.sum())


def _add_up(into: Sum, tiles: tuple[Tensor, ...], leaf: int, results: Results, rooms: Rooms) -> Deliver:
    flat = [tile.view(-1) for tile in tiles]
    count = flat[0].numel()
    if into.kind == "count":
        return lambda scratch: into.add([float(count)])
    there, here = results.take(run_count(count, leaf), torch.float64)
    done = 0
    for first, rows, length in stretches(count, leaf, rooms.elements // CHUNK_ELEMENTS):
        runs = -(-length // CHUNK_ELEMENTS)
        parts = [tile[first : first + rows * length].view(rows, length) for tile in flat]
        sums = _run_sums(into.kind, parts, runs, rooms.wide.view(torch.float64))
        there[done : done + rows * runs].copy_(sums)
        done += rows * runs

    def deliver(scratch: Scratch) -> None:
        into.add(cast("list[float]", here.tolist()))  # pyright: ignore[reportUnknownMemberType]

    return deliver


def stretches(count: int, leaf: int, most_runs: int) -> Iterator[tuple[int, int, int]]:
    """(first, rows, length): a tile of `count` elements as rows of equal length, each whole runs but for its last
    run, of `most_runs` runs together; none goes past a leaf."""
    runs_of_leaf = -(-leaf // CHUNK_ELEMENTS)
    whole, done = count // leaf, 0
    if runs_of_leaf <= most_runs:
        step = most_runs // runs_of_leaf
        for index in range(0, whole, step):
            rows = min(step, whole - index)
            yield done, rows, leaf
            done += rows * leaf
    while done < count:
        length = min(most_runs * CHUNK_ELEMENTS, leaf - done % leaf, count - done)
        yield done, 1, length
        done += length


def _run_sums(kind: str, parts: list[Tensor], runs: int, doubles: Tensor) -> Tensor:
    """The float64 sum of each run of rows [rows, length], in their order."""
    rows, length = parts[0].shape
    padded = doubles[: rows * runs * CHUNK_ELEMENTS].view(rows, runs * CHUNK_ELEMENTS)
    padded[:, length:].zero_()
    terms = padded[:, :length]
    terms.copy_(parts[0])
    if kind == "dot":
        terms.mul_(parts[1])
    elif kind == "abs_sum":
        terms.abs_()
    halved = padded.view(rows * runs, CHUNK_ELEMENTS)
    width = CHUNK_ELEMENTS
    while width > 1:
        width //= 2
        halved[:, :width].add_(halved[:, width : 2 * width])
    return halved[:, 0]
