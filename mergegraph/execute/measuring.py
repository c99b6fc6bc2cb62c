"""What is counted of one tensor while its tiles are computed, for `mergegraph.stats`.

Products (the Gram matrix) are of all elements, in the compute dtype over 1,024 elements at a time, then in float64, the
runs of 65,536 added exactly. The rest is of all elements of a small tensor and of a fixed sample of a large one. Which
elements and which sums follows from the tensor alone, so no number depends on tiles, threads or budget.
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
from mergegraph.statistic import Found
from mergegraph.stats.record import TensorRecord

LEAST_SAMPLE = 16_384
"""So many elements of a tensor are counted at least, or all: a share of one half is then known to 0.4 percent."""
_LARGEST_STRIDE = 512
_PARTS = 16
"""A run gives a piece of each of its sixteenths; of a larger tensor only some runs do."""
_SINGLE, _DOUBLE = 2.0**-22, 2.0**-50
"""What is further outside than this, of the numbers that it was found from, is not there by rounding."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Where a tile is counted: room for a sample, the same memory as integers, how often exponents occur, with their
    squares, and for each run the products of its rows, with what is missing of each row below them."""

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
        self.inner, self.every = sampled(of.elements) if of.is_sampled else (1, 1)
        self.width = _piece(of.rows)
        self.tolerance = _DOUBLE if of.is_double else _SINGLE
        self.like = torch.empty(0, dtype=of.rounded_to or torch.float32)
        self._lock = threading.Lock()
        self._products, self._sums = Runs(), Runs()
        self._bins: Numbers = np.zeros((2, of.changes * of.exponents), dtype=np.int64)
        self._missing: Numbers = np.zeros(of.rows)
        self._counted, self._left = 0, of.elements
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
        of, first_run, elements = self.of, run_count(start, leaf), tiles[0].numel()
        tile = self.tile(run_count(elements, leaf))
        found = compiled().look_at_tile(
            list(tiles), leaf, scratch.both.view(tiles[0].dtype), *tile.tensors, self.like, first_run, self.inner,
            self.every, self.width, of.has_base, of.rounded_to is not None, of.sources, of.limit, self.tolerance,
        )  # fmt: skip
        runs, results = run_count(of.elements, leaf), iter(found)
        for number, length in enumerate(_runs(elements, leaf), first_run):
            self.take_run(number, length, results, runs)
        self.end_tile(tile, first_run, elements, runs)

    def tile(self, runs: int) -> Counters:
        """What the elements of one tile of so many runs are counted in."""
        of = self.of
        room = torch.empty(of.rows * max(self.width, PIECE_ELEMENTS // self.inner),
                           dtype=torch.float64 if of.is_double else torch.float32)  # fmt: skip
        words = room.view(torch.int64 if of.is_double else torch.int32)
        bins = torch.zeros(2, of.changes * of.exponents, dtype=torch.int64)
        return Counters(room, words, bins, torch.zeros(runs, of.rows + 1, of.rows, dtype=torch.float64))

    def take_run(self, number: int, length: int, found: Iterator[Tensor], runs: int | None = None) -> None:
        """Sums and largest that `counting.look_at` found of one run of `length` elements, where it is counted. `runs`:
        of the tensor, where leaves are not 65,536 elements."""
        if number % self.every:
            return
        of = run_count(self.of.elements, RUN_ELEMENTS) if runs is None else runs
        sums, largest = _numbers(next(found)), _numbers(next(found))
        if len(sums):  # a short run may have no strip
            self._sums.add(number // self.every, -(-of // self.every), sums[None])
            self._sums.at_most(largest)
        with self._lock:
            self._counted += self._sampled_of(length)

    def end_tile(self, tile: Counters, first_run: int, elements: int, runs: int | None = None) -> None:
        """All runs of a tile were computed; `runs` as in `take_run`."""
        of = run_count(self.of.elements, RUN_ELEMENTS) if runs is None else runs
        products, rows = _numbers(tile.products), self.of.rows
        self._products.add(first_run, of, products[:, :rows].reshape(len(products), -1))
        with self._lock:
            self._missing += products[:, rows].sum(axis=0)
            self._bins += _numbers(tile.bins)
            self._left -= elements
            is_last = not self._left
        if is_last:
            # What a tensor is counted in is a hundred times its record, and there are thousands of tensors.
            self._finished = self._record()
            self._bins, self._products, self._sums = self._bins[:, :0], Runs(), Runs()

    def record(self) -> TensorRecord:
        """What was found, when all tiles were fed."""
        return self._finished or self._record()

    def _record(self) -> TensorRecord:
        return record_of(self.of, self._products, self._missing, self._sums, self._bins, self._counted)

    def _sampled_of(self, length: int) -> int:
        """How many elements of a run are counted."""
        return length if self.inner == 1 else length // PIECE_ELEMENTS * (PIECE_ELEMENTS // self.inner)


def sampled(elements: int) -> tuple[int, int]:
    """(n, m): one in n elements of each m-th run is counted; at least `LEAST_SAMPLE` elements in all."""
    stride = 1
    while stride < _LARGEST_STRIDE and elements >= 2 * stride * LEAST_SAMPLE:
        stride *= 2
    inner = min(stride, _PARTS)
    return inner, stride // inner


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


def _numbers(sums: Tensor) -> Numbers:
    return sums.numpy()  # pyright: ignore[reportUnknownMemberType]
