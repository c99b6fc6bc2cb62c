"""What is counted of one tensor while its tiles are computed, for `mergegraph.stats`.

Products (the Gram matrix) are of all elements, in the compute dtype over 1,024 elements at a time, then in float64, the
runs of 65,536 added exactly. The rest is of all elements of a small tensor and of a fixed sample of a large one (see
`sampling`). Which elements and which sums follows from the tensor alone, so no number depends on tiles, threads or
budget.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mergegraph.execute.counting import PIECE_ELEMENTS, PIECE_NUMBERS, RUN_ELEMENTS, compiled
from mergegraph.execute.measured import Measured, Numbers, Runs, record_of
from mergegraph.execute.reduce import Scratch
from mergegraph.execute.sampling import Samples, chosen_of, places_of
from mergegraph.execute.script import unoptimised
from mergegraph.plan.memory import DIRECT_STRIDE, sample_stride
from mergegraph.statistic import Found
from mergegraph.stats.record import TensorRecord

_SINGLE, _DOUBLE = 2.0**-22, 2.0**-50
"""What is further outside than this, of the numbers that it was found from, is not there by rounding."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Where a tile is counted: room for a piece of a sample, the same memory as integers, how often exponents occur,
    with their squares, and for each run the products of its rows, below them what is missing of each row, and what does
    not fit the result's dtype. Room is for the whole sample, a row each, where it is counted with that of other runs.
    """

    room: Tensor
    words: Tensor
    bins: Tensor
    products: Tensor

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.room, self.words, self.bins, self.products


class Measure:
    """An accumulator of one tensor's statistics; fed once with every tile, by any thread."""

    def __init__(self, of: Measured) -> None:
        self.of = of
        self.stride = sample_stride(of.elements) if of.is_sampled else 1
        self.places = places_of(self.stride) if self.stride > 1 else torch.empty(0, dtype=torch.int32)
        self.width = _piece(of.rows)
        self.tolerance = _DOUBLE if of.is_double else _SINGLE
        self.like = torch.empty(0, dtype=of.rounded_to or torch.float32)
        self._lock = threading.Lock()
        self._samples = Samples(self.stride)
        self._products, self._sums = Runs(), Runs()
        self._bins: Numbers = np.zeros((2, of.changes * of.exponents), dtype=np.int64)
        self._missing: Numbers = np.zeros(of.rows)
        self._overflowed, self._counted, self._left = 0, 0, of.elements
        self._finished: TensorRecord | None = None

    def end_pass(self) -> Found | None:
        """Nothing that a computation waits for."""
        return None

    def feed(self, start: int, tiles: tuple[Tensor, ...], scratch: Scratch) -> None:
        """A run of at most 65,536 elements."""
        self.feed_tile(start, tiles, RUN_ELEMENTS, scratch)

    def feed_tile(self, start: int, tiles: tuple[Tensor, ...], leaf: int, scratch: Scratch) -> None:
        """Take in the elements from `start` on, where a leaf begins; 1-D, contiguous, of the compute dtype."""
        if not tiles[0].numel():
            return
        scratch.forget()
        first_run, elements = run_count(start, leaf), tiles[0].numel()
        tile = self.tile(run_count(elements, leaf))
        with unoptimised():
            found = compiled().look_at_tile(
                list(tiles), leaf, scratch.both.view(tiles[0].dtype), *tile.tensors, self.like, self.places, first_run,
                self.stride, self.of.ceiling, self.width, *self.of.has, self.of.limit, self.tolerance,
            )  # fmt: skip
        results = iter(found)
        for number, length in enumerate(_runs(elements, leaf), first_run):
            self.take_run(number, length, results, leaf)
        self.end_tile(tile, first_run, elements, leaf)

    def tile(self, runs: int) -> Counters:
        """What the elements of one tile of so many runs are counted in."""
        of = self.of
        products = torch.zeros(runs, of.rows + 2, of.rows, dtype=torch.float64)
        if self.stride <= DIRECT_STRIDE:
            return Counters(*self._room(), products)
        room = torch.empty(of.rows, runs * (RUN_ELEMENTS // self.stride), dtype=_float(of))
        return Counters(room, torch.empty(0), torch.zeros(2, 0, dtype=torch.int64), products)

    def _room(self) -> tuple[Tensor, Tensor, Tensor]:
        """For a piece of a sample, the same memory as integers, and exponents."""
        of = self.of
        room = torch.empty(of.rows * self.width, dtype=_float(of))
        words = room.view(torch.int64 if of.is_double else torch.int32)
        return room, words, torch.zeros(2, of.changes * of.exponents, dtype=torch.int64)

    def take_run(self, number: int, length: int, found: Iterator[Tensor], leaf: int = RUN_ELEMENTS) -> None:
        """Sums and largest that `counting.look_at` found of one run of `length` elements, where it is counted by
        itself."""
        if self.stride > DIRECT_STRIDE:
            return
        self._take(number, run_count(self.of.elements, leaf), next(found), next(found))
        with self._lock:
            self._counted += chosen_of(number, length, self.stride)

    def _take(self, number: int, of: int, sums: Tensor, largest: Tensor) -> None:
        if sums.numel():  # of a short run no element may be counted
            self._sums.add(number, of, _numbers(sums)[None])
            self._sums.at_most(_numbers(largest))

    def end_tile(self, tile: Counters, first_run: int, elements: int, leaf: int = RUN_ELEMENTS) -> None:
        """All runs of a tile were computed."""
        of = run_count(self.of.elements, leaf)
        products, rows = _numbers(tile.products), self.of.rows
        self._products.add(first_run, of, products[:, :rows].reshape(-1, rows * rows))
        if self.stride > DIRECT_STRIDE:
            self._count_sample(tile.room, first_run, _runs(elements, leaf), of)
        with self._lock:
            self._missing += products[:, rows].sum(axis=0)
            self._overflowed += int(products[:, rows + 1, 0].sum())
            if tile.bins.numel():
                self._bins += _numbers(tile.bins)
            self._left -= elements
            is_last = not self._left
        if is_last:
            # What a tensor is counted in is a hundred times its record, and there are thousands of tensors.
            self._finished = self._record()
            self._bins, self._products, self._sums = self._bins[:, :0], Runs(), Runs()

    def _count_sample(self, sample: Tensor, first_run: int, lengths: list[int], runs: int) -> None:
        """Count the samples of runs that are now together."""
        sizes = [chosen_of(run, length, self.stride) for run, length in enumerate(lengths, first_run)]
        of = -(-runs // self._samples.together)
        for number, whole in self._samples.add(first_run, runs, sizes, sample):
            room, words, bins = self._room()
            with unoptimised():
                sums, largest = compiled().count_sample(
                    whole, room, words, bins, self.like, self.width, *self.of.has, self.of.limit, self.tolerance
                )
            self._take(number, of, sums, largest)
            with self._lock:
                self._counted += whole.shape[1]
                self._bins += _numbers(bins)

    def record(self) -> TensorRecord:
        """What was found, when all tiles were fed."""
        return self._finished or self._record()

    def _record(self) -> TensorRecord:
        return record_of(
            self.of, self._products, self._missing, self._overflowed, self._sums, self._bins, self._counted
        )


def _piece(rows: int) -> int:
    """Elements that are counted at a time."""
    width = PIECE_ELEMENTS
    while width > 64 and rows * width > PIECE_NUMBERS:
        width //= 2
    return width


def _runs(count: int, leaf: int) -> list[int]:
    """How long the runs of a tile are: up to 65,536 elements, none past its leaf."""
    return [
        min(RUN_ELEMENTS, min(begin + leaf, count) - first)
        for begin in range(0, count, leaf)
        for first in range(begin, min(begin + leaf, count), RUN_ELEMENTS)
    ]


def run_count(elements: int, leaf: int) -> int:
    """How many runs so many elements of a tensor are, in whole leaves but for the last."""
    whole, rest = divmod(elements, leaf)
    return whole * -(-leaf // RUN_ELEMENTS) + -(-rest // RUN_ELEMENTS)


def _float(of: Measured) -> torch.dtype:
    return torch.float64 if of.is_double else torch.float32


def _numbers(sums: Tensor) -> Numbers:
    return sums.numpy()  # pyright: ignore[reportUnknownMemberType]
