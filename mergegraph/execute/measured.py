"""The sums of one tensor's runs, and the record that they make (`mergegraph.stats.record`)."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mergegraph.execute.counting import SQUARES, TINY
from mergegraph.execute.rounding import SATURATING
from mergegraph.execute.views import TORCH_DTYPES
from mergegraph.plan.memory import RUNS_TOGETHER
from mergegraph.plan.survey import Looked
from mergegraph.stats.record import Change, Outcome, Pair, TensorRecord, Together

Numbers = npt.NDArray[Any]
"""float64."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a tensor is measured as: the base where `has_base`, the changes of `sources`, the result before it is
    rounded to `rounded_to` where there is one, in this order.

    `limit`: the largest number of a dtype that saturates, else 0.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    sources: int
    has_base: bool
    rounded_to: torch.dtype | None
    limit: float = 0.0
    is_double: bool = False
    is_sampled: bool = True

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def has(self) -> tuple[bool, bool, int]:
        """Whether there is a base, whether there is a result, how many sources."""
        return self.has_base, self.rounded_to is not None, self.sources

    @property
    def changes(self) -> int:
        """Of the sources, and of the result."""
        return self.sources + (self.rounded_to is not None)

    @property
    def rows(self) -> int:
        return self.changes + self.has_base

    @property
    def exponents(self) -> int:
        """How many places there are for them: those of a float of the compute dtype, before them those of float32
        that are too small for one."""
        return 2_048 if self.is_double else TINY + 256

    def exponent(self, place: int) -> int | None:
        """Which one stands there: none where zeros are counted."""
        if self.is_double:
            return place - 1_023 if place else None
        return place - 149 if place < TINY else place - TINY - 127 if place > TINY else None

    @property
    def ceiling(self) -> float:
        """From this size on a result does not fit its dtype. 0 where that is not looked at: what float32 arithmetic
        gives fits bfloat16 and float32, but for the last half of a step."""
        if self.rounded_to is None or self.rounded_to == torch.float64:
            return 0.0
        if self.limit:
            return float(np.nextafter(np.float64(self.limit) if self.is_double else np.float32(self.limit), np.inf))
        eps, largest = torch.finfo(self.rounded_to).eps, torch.finfo(self.rounded_to).max
        return largest / (2 - eps) * (2 - eps / 2) if self.is_double or largest < 1e30 else 0.0


def measured_as(looked: Looked, *, is_double: bool, is_sampled: bool = True) -> Measured:
    """What a survey looks at, for its accumulator."""
    rounded_to = TORCH_DTYPES[looked.dtype.code] if looked.result is not None else None
    return Measured(
        name=looked.name,
        dtype=looked.dtype.torch_name or looked.dtype.code,
        shape=looked.shape,
        sources=len(looked.changes),
        has_base=looked.base is not None,
        rounded_to=rounded_to,
        limit=torch.finfo(rounded_to).max if rounded_to in SATURATING else 0.0,
        is_double=is_double,
        is_sampled=is_sampled,
    )


def unmeasured(looked: Looked, why: str = "") -> TensorRecord:
    """The record of a tensor that nothing was counted of."""
    dtype = looked.dtype.torch_name or looked.dtype.code
    return TensorRecord(name=looked.name, dtype=dtype, shape=looked.shape, skipped=why or looked.skipped)


class Runs:
    """Sums of runs in any order, added exactly; neighbours are held as one as soon as all of them are there."""

    def __init__(self) -> None:
        self._open: dict[int, list[Numbers]] = {}
        self._closed: list[Numbers] = []
        self._lock = threading.Lock()
        self._largest: Numbers | None = None

    def add(self, first: int, of: int, sums: Numbers) -> None:
        """The sums of some runs, one a row: from number `first` on, of `of`, each run once."""
        with self._lock:
            last = first + len(sums)
            for block in range(first // RUNS_TOGETHER, -(-last // RUNS_TOGETHER)):
                begin, end = block * RUNS_TOGETHER, min((block + 1) * RUNS_TOGETHER, of)
                held = self._open.setdefault(block, [])
                held.append(sums[max(begin - first, 0) : end - first])
                if sum(map(len, held)) == end - begin:
                    self._closed.append(np.array([_added(self._open.pop(block))]))

    def at_most(self, largest: Numbers) -> None:
        """The largest of what one run sums."""
        with self._lock:
            self._largest = largest if self._largest is None else np.maximum(self._largest, largest)

    def total(self) -> list[float]:
        """The sum of each number over all runs; nothing where there were none."""
        return _added([*self._closed, *[each for held in self._open.values() for each in held]])

    def largest(self) -> list[float]:
        """Of each number over all runs."""
        return [] if self._largest is None else self._largest.tolist()


def record_of(
    of: Measured, products: Runs, missing: Numbers, overflowed: int, sums: Runs, bins: Numbers, counted: int
) -> TensorRecord:
    """`products`: of each run the matrix of inner products. `missing`: what is not finite in each row. `overflowed`:
    what does not fit the dtype. `sums`: what `counting.counted` finds, of `counted` elements. `bins`: exponents of each
    change, how many and their squares."""
    read = _Reader(sums, counted, of)
    return TensorRecord(
        name=of.name,
        dtype=of.dtype,
        shape=of.shape,
        gram=_gram(products.total() or [0.0] * of.rows**2, of),
        changes=tuple([
            _change(read, index, bins[:, index * of.exponents : (index + 1) * of.exponents],
                    int(missing[of.has_base + index]))
            for index in range(of.changes)
        ]),
        pairs={(i, j): read.pair(i, j) for i in range(of.sources) for j in range(i + 1, of.sources)},
        together=read.together() if of.sources > 1 else None,
        outcome=read.outcome(overflowed) if of.rounded_to is not None else None,
        counted=counted,
    )  # fmt: skip


def _change(sums: _Reader, index: int, bins: Numbers, nonfinite: int) -> Change:
    (counts, squares), scale = bins, sums.scale
    exponents = {
        e: (round(int(counts[place]) * scale), _energy(int(squares[place]), e) * scale)
        for place in np.flatnonzero(counts)
        if (e := sums.of.exponent(int(place))) is not None
    }
    total, absolute, third, fourth = [
        float(each[index] * scale) for each in (sums.total, sums.absolute, sums.third, sums.fourth)
    ]
    return Change(
        total=total, absolute=absolute, third=third, fourth=fourth, largest=float(sums.largest[index]),
        zeros=sums.zeros(index), nonfinite=nonfinite, exponents=exponents,
    )  # fmt: skip


class _Reader:
    """The sums by what they are; `scale` brings those of a sample up to the tensor."""

    def __init__(self, runs: Runs, counted: int, of: Measured) -> None:
        self.scale, self.of, self._counted = of.elements / counted if counted else 1.0, of, counted
        n, k = of.changes, of.sources
        lengths = (n, n, n, n, n * n, n * n, 1, k, 1, n, n, 1, 1, 1)
        ends = [sum(lengths[: index + 1]) for index in range(len(lengths))]
        nothing = [0.0] * ends[-1]
        (self.total, self.absolute, _, self._missing, self._both, self._signed, self._of_sum, self._winners,
         self._anywhere, self.third, self.fourth, *self._outcome) = _cut(runs.total() or nothing, ends)  # fmt: skip
        self.largest = _cut(runs.largest() or nothing, ends)[2]

    def zeros(self, index: int) -> int:
        there = self._both[index * self.of.changes + index]
        return round((self._counted - self._missing[index] - there) * self.scale)

    def pair(self, i: int, j: int) -> Pair:
        at = i * self.of.changes + j
        both, signed = self._both[at], self._signed[at]
        return Pair(round(both * self.scale), round((both - signed) / 2 * self.scale))

    def together(self) -> Together:
        first, *others = self._winners
        first -= self._counted - self._anywhere[0]
        winners = [round(count * self.scale) for count in (first, *others)]
        return Together(self._of_sum[0] * self.scale, tuple(winners))

    def outcome(self, overflowed: int) -> Outcome:
        outside, error, away = [each[0] * self.scale for each in self._outcome]
        return Outcome(round(outside), error, round(away), overflowed)


def _cut(numbers: Sequence[float], ends: Sequence[int]) -> list[Sequence[float]]:
    return [numbers[begin:end] for begin, end in zip((0, *ends), ends, strict=False)]


def _gram(total: Sequence[float], of: Measured) -> tuple[float, ...]:
    """The upper triangle, with a row of zeros for a base that is not there."""
    upper = tuple([total[i * of.rows + j] for i in range(of.rows) for j in range(i, of.rows)])
    return upper if of.has_base else (0.0,) * (of.rows + 1) + upper


def _energy(squares: int, exponent: int) -> float:
    try:
        return math.ldexp(squares / SQUARES, 2 * exponent)
    except OverflowError:
        return math.inf


def _added(sums: list[Numbers]) -> list[float]:
    return [_exact_sum(column) for column in np.concatenate(sums).T.tolist()] if sums else []


def _exact_sum(values: Sequence[float]) -> float:
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):
        return float(sum(sorted(values)))
