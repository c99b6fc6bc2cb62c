"""What is counted of one tensor while its tiles are computed, for `mergegraph.stats`.

Products (the Gram matrix) are of all elements: float32 over runs of 65,536, float64 where the tensor is, the runs added
exactly. The rest is of all elements of a small tensor and of a fixed sample of a large one, in float64. Which elements
and which sums follows from the tensor alone, so no number depends on tiles, threads or budget.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mergegraph.execute.counting import EXPONENTS, PIECE_ELEMENTS, PIECE_NUMBERS, RUN_ELEMENTS, SQUARES, compiled
from mergegraph.execute.evaluate import TORCH_DTYPES
from mergegraph.execute.reduce import Scratch
from mergegraph.execute.rounding import SATURATING
from mergegraph.plan.survey import Looked
from mergegraph.statistic import Found
from mergegraph.stats.record import Change, Outcome, Pair, TensorRecord, Together

LEAST_SAMPLE = 32_768
"""So many elements of a tensor are counted at least, or all: a share of one half is then known to 0.3 percent."""
_LARGEST_STRIDE = 256
_PARTS = 16
"""A run gives a piece of each of its sixteenths; of a larger tensor only some runs do."""
_TINY = 1e-30
"""Below it the squares in a float32 sum may have vanished."""
_TOGETHER = 256
"""The sums of so many runs are added up as soon as all are there."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a tensor is fed to `Measure` as, in this order: the base where `has_base`, the changes of `sources`, the
    result before it is rounded to `rounded_to` where there is one.

    `limit`: the largest number of a dtype that saturates, else 0. `is_aligned`: each run of a tile begins at 64 bytes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    sources: int
    has_base: bool
    rounded_to: torch.dtype | None
    limit: float = 0.0
    is_aligned: bool = True
    is_sampled: bool = True

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def changes(self) -> int:
        """Of the sources, and of the result."""
        return self.sources + (self.rounded_to is not None)


class Measure:
    """An accumulator of one tensor's statistics; fed once with every tile, by any thread."""

    def __init__(self, of: Measured) -> None:
        self.of = of
        self.inner, self.every = sampled(of.elements) if of.is_sampled else (1, 1)
        self._lock = threading.Lock()
        self._products, self._sums = _Runs(), _Runs()
        self._bins = np.zeros((2, of.changes * EXPONENTS), dtype=np.int64)
        self._counted, self._left = 0, of.elements
        self._finished: TensorRecord | None = None
        self._nonfinite = np.zeros(of.changes, dtype=np.int64)

    def end_pass(self) -> Found | None:
        """Nothing that a computation waits for."""
        return None

    def feed_tile(self, start: int, tiles: tuple[Tensor, ...], leaf: int, scratch: Scratch) -> None:
        """Take in the elements from `start` on, where a leaf begins; 1-D, contiguous, of the compute dtype."""
        if not tiles[0].numel():
            return
        scratch.forget()
        dtype, of = tiles[0].dtype, self.of
        change, product = scratch.first.view(dtype)[:RUN_ELEMENTS], scratch.second.view(dtype)[:RUN_ELEMENTS]
        width, first_run = _piece(of.changes), run_count(start, leaf)
        doubles = torch.empty(of.changes * width, dtype=torch.float64)
        bins = torch.zeros(3, of.changes * EXPONENTS, dtype=torch.int64)
        products, totals, largest = compiled().measured(
            list(tiles), leaf, RUN_ELEMENTS, first_run, self.inner, self.every, change, product, doubles,
            doubles.view(torch.int64), bins, width, of.has_base, of.rounded_to is not None, of.is_aligned, of.sources,
            of.rounded_to or dtype, of.limit, 2.0**-50 if dtype == torch.float64 else 2.0**-22,
        )  # fmt: skip
        self._take(first_run, run_count(of.elements, leaf), self._checked(products, tiles, leaf), totals, largest)
        if totals:
            with self._lock:
                self._counted += int(bins[2, 0])
                self._bins += bins[:2].numpy()
        with self._lock:
            self._left -= tiles[0].numel()
            is_last = not self._left
        if is_last:
            # What a tensor is counted in is a hundred times its record, and there are thousands of tensors.
            self._finished = self._record()
            self._bins, self._products, self._sums = np.zeros((2, 0), dtype=np.int64), _Runs(), _Runs()

    def _take(
        self, first_run: int, runs: int, products: list[list[float]], totals: list[Tensor], largest: list[Tensor]
    ) -> None:
        for index, sums in enumerate(products):
            self._products.add(first_run + index, runs, sums)
        first, counted_runs = -(-first_run // self.every), -(-runs // self.every)
        for index, (sums, most) in enumerate(zip(totals, largest, strict=True)):
            self._sums.add(first + index, counted_runs, _numbers(sums), _numbers(most))

    def _checked(self, products: Tensor, tiles: tuple[Tensor, ...], leaf: int) -> list[list[float]]:
        """The products of each run; found again with care where something is not finite, or very small."""
        found: list[list[float]] = products.tolist()  # pyright: ignore
        diagonal = self._diagonal()
        doubtful = [n for n, sums in enumerate(found) if not all([_TINY <= sums[d] < math.inf for d in diagonal])]
        if doubtful:
            runs = _runs(tiles[0].numel(), leaf)
            for index in doubtful:
                rows = tuple([tile[slice(*runs[index])] for tile in tiles])
                if not self._is_plain([found[index][d] for d in diagonal], rows):
                    found[index] = _numbers(self._carefully(rows))
        return found

    def feed(self, start: int, tiles: tuple[Tensor, ...], scratch: Scratch) -> None:
        """A run of at most 65,536 elements."""
        self.feed_tile(start, tiles, RUN_ELEMENTS, scratch)

    def _diagonal(self) -> list[int]:
        """Where the squares stand among the products of a run."""
        rows = self.of.changes + self.of.has_base
        return [row * rows - row * (row - 1) // 2 for row in range(rows)]

    def _is_plain(self, squares: list[float], rows: tuple[Tensor, ...]) -> bool:
        """Whether all that is small in a run is exactly zero, as in tensors that nobody tuned."""
        if not all(map(math.isfinite, squares)):
            return False
        small = [index for index, square in enumerate(squares) if square < _TINY]
        is_change = self.of.has_base and self.of.rounded_to is not None
        return not any(
            bool((rows[-1] != rows[0]).any()) if is_change and index == len(rows) - 1 else bool(rows[index].any())
            for index in small
        )

    def _carefully(self, rows: tuple[Tensor, ...]) -> Tensor:
        """The products of a run in float64, of what is finite; the rest is counted."""
        total = torch.zeros(self.of.changes + self.of.has_base, self.of.changes + self.of.has_base, dtype=torch.float64)
        for first in range(0, rows[0].numel(), _piece(len(rows))):
            matrix = torch.stack([row[first : first + _piece(len(rows))] for row in rows])
            if self.of.has_base and self.of.rounded_to is not None:
                matrix[-1] -= matrix[0]
            bad = torch.isfinite(matrix).logical_not_()
            if bool(bad.any()):
                with self._lock:
                    self._nonfinite += bad[int(self.of.has_base) :].sum(1).numpy()
            finite = matrix.to(torch.float64).nan_to_num_(0.0, 0.0, 0.0)
            total += finite @ finite.t()
        return total[tuple(torch.triu_indices(*total.shape))]

    def record(self) -> TensorRecord:
        """What was found, when all tiles were fed."""
        return self._finished or self._record()

    def _record(self) -> TensorRecord:
        of = self.of
        sums = _Reader(self._sums, self.of.elements / self._counted if self._counted else 1.0, of)
        gram = tuple(self._products.total())
        return TensorRecord(
            name=of.name,
            dtype=of.dtype,
            shape=of.shape,
            gram=_with_base(gram, of),
            changes=tuple([self._change(index, sums) for index in range(of.changes)]),
            pairs={(i, j): sums.pair(i, j) for i in range(of.sources) for j in range(i + 1, of.sources)},
            together=sums.together() if of.sources > 1 else None,
            outcome=sums.outcome() if of.rounded_to is not None else None,
            counted=self._counted,
        )

    def _change(self, index: int, sums: _Reader) -> Change:
        of, here = self.of, slice(index * EXPONENTS, (index + 1) * EXPONENTS)
        counts, squares = self._bins[:, here]
        exponents = {
            int(e) - 1023: (round(int(counts[e]) * sums.scale), _energy(int(squares[e]), int(e) - 1023) * sums.scale)
            for e in np.flatnonzero(counts[1:]) + 1
        }
        total, absolute, third, fourth = [float(sums.of_change(what, index)) for what in range(4)]
        return Change(
            total=total, absolute=absolute, third=third, fourth=fourth,
            largest=sums.largest(index),
            zeros=round(sums.of_change(5, index)),
            nonfinite=int(self._nonfinite[index]) if of.elements else 0,
            exponents=exponents,
        )  # fmt: skip


class _Reader:
    """The sums by what they are; `scale` brings those of a sample up to the tensor."""

    def __init__(self, runs: _Runs, scale: float, of: Measured) -> None:
        self.scale, self.of = scale, of
        nothing = [0.0] * (7 * of.changes + 2 * of.sources**2 + 1 + of.sources + 3)
        self._sums, self._largest = runs.total() or nothing, runs.largest or nothing

    def of_change(self, what: int, index: int) -> float:
        return self._sums[what * self.of.changes + index] * self.scale

    def largest(self, index: int) -> float:
        return self._largest[4 * self.of.changes + index]

    def pair(self, i: int, j: int) -> Pair:
        k, at = self.of.sources, 7 * self.of.changes
        both, signed = self._sums[at + i * k + j], self._sums[at + k * k + i * k + j]
        return Pair(round(both * self.scale), round((both - signed) / 2 * self.scale))

    def together(self) -> Together:
        k = self.of.sources
        at = 7 * self.of.changes + 2 * k * k
        winners = [round(count * self.scale) for count in self._sums[at + 1 : at + 1 + k]]
        return Together(self._sums[at] * self.scale, tuple(winners))

    def outcome(self) -> Outcome:
        k = self.of.sources
        at = 7 * self.of.changes + 2 * k * k + 1 + k
        outside, error, away = self._sums[at : at + 3]
        return Outcome(round(outside * self.scale), error * self.scale, round(away * self.scale))


class _Runs:
    """Sums of runs in any order, added exactly; neighbours are held as one as soon as all of them are there."""

    def __init__(self) -> None:
        self._open: dict[int, list[list[float]]] = {}
        self._closed: list[list[float]] = []
        self._lock = threading.Lock()
        self.largest: list[float] = []

    def add(self, number: int, of: int, sums: list[float], largest: list[float] | None = None) -> None:
        """The sums of one run: number `number` of `of`, each once; and the largest of what is summed."""
        with self._lock:
            if largest:
                self.largest = list(map(max, self.largest, largest)) if self.largest else largest
            block = number // _TOGETHER
            held = self._open.setdefault(block, [])
            held.append(sums)
            if len(held) == min(_TOGETHER, of - block * _TOGETHER):
                self._closed.append(_added(self._open.pop(block)))

    def total(self) -> list[float]:
        """The sum of each number over all runs; nothing where there were none."""
        return _added([*self._closed, *[each for held in self._open.values() for each in held]])


def _added(sums: list[list[float]]) -> list[float]:
    return [_exact_sum(column) for column in zip(*sums, strict=True)]


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


def _runs(count: int, leaf: int) -> list[tuple[int, int]]:
    """The runs of a tile: up to 65,536 elements, none past its leaf."""
    return [
        (first, min(first + RUN_ELEMENTS, begin + leaf, count))
        for begin in range(0, count, leaf)
        for first in range(begin, min(begin + leaf, count), RUN_ELEMENTS)
    ]


def run_count(elements: int, leaf: int) -> int:
    """How many runs so many elements of a tensor are, in whole leaves but for the last."""
    whole, rest = divmod(elements, leaf)
    return whole * -(-leaf // RUN_ELEMENTS) + -(-rest // RUN_ELEMENTS)


def _numbers(sums: Tensor) -> list[float]:
    return sums.tolist()  # pyright: ignore


def measure_of(looked: Looked, leaf: int, *, is_double: bool, is_sampled: bool = True) -> Measure:
    """The accumulator of one tensor, cut in leaves of `leaf` elements."""
    rounded_to = TORCH_DTYPES[looked.dtype.code] if looked.result is not None else None
    limit = torch.finfo(rounded_to).max if rounded_to in SATURATING else 0.0
    return Measure(
        Measured(
            name=looked.name,
            dtype=looked.dtype.torch_name or looked.dtype.code,
            shape=looked.shape,
            sources=len(looked.changes),
            has_base=looked.base is not None,
            rounded_to=rounded_to,
            limit=limit,
            is_aligned=leaf * (8 if is_double else 4) % 64 == 0,
            is_sampled=is_sampled,
        )
    )


def unmeasured(looked: Looked, why: str = "") -> TensorRecord:
    """The record of a tensor that nothing was counted of."""
    dtype = looked.dtype.torch_name or looked.dtype.code
    return TensorRecord(name=looked.name, dtype=dtype, shape=looked.shape, skipped=why or looked.skipped)


def _with_base(gram: tuple[float, ...], of: Measured) -> tuple[float, ...]:
    """The triangle with a row of zeros for a base that is not there."""
    rows = of.changes + 1
    if not gram:
        return (0.0,) * (rows * (rows + 1) // 2)
    return gram if of.has_base else (0.0,) * rows + gram


def _energy(squares: int, exponent: int) -> float:
    try:
        return math.ldexp(squares / SQUARES, 2 * exponent)
    except OverflowError:
        return math.inf


def _exact_sum(values: Sequence[float]) -> float:
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):
        return float(sum(sorted(values)))
