"""The magnitude at a rank, exactly, without sorting: windows of bits that close in on it.

The bits of |x| order as the numbers do. A `Quantile` looks at a window of bits: it counts what lies above, counts in
bins what lies inside, and the bin that holds the rank is the next window, until a bin is one number. The first window
comes from a sample where there is one, and is then so narrow that one pass over all elements mostly suffices; where
the sample was wrong, the counts say on which side the rank lies, and the search goes on there. So the sample costs
time when it is bad, and never changes the result.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mergegraph.execute.reduce import Scratch
from mergegraph.expr import Value
from mergegraph.statistic import DENSE_BINS, SPARSE_BINS, Found, Threshold, counts_nonzero, rank

_HEAVY_SHARE = 0.02
"""A number that is so much of a sample is counted by itself: picking it out would cost more."""
_MOST_HEAVY = 4
_DENSE_SHARE = 0.15
"""With more than this in the window, picking its elements out costs more than counting all in coarser bins."""
_STANDARD_ERRORS = 4.0
_BINS_A_BLOCK = 4_096

Integers = npt.NDArray[Any]
"""int32 or int64: the bits of magnitudes, or how often they occur."""


@dataclass(frozen=True, slots=True)
class Window:
    """Bits from `low` up to `high`, in bins of 2^`shift`; `heavy` are single values that are counted apart."""

    low: int
    high: int
    shift: int
    is_dense: bool
    heavy: tuple[int, ...] = ()

    @property
    def bins(self) -> int:
        return ((self.high - self.low - 1) >> self.shift) + 1

    @classmethod
    def of(cls, low: int, high: int, *, is_dense: bool, heavy: tuple[int, ...] = ()) -> Window:
        """As fine as the bins allow."""
        most = DENSE_BINS if is_dense else SPARSE_BINS
        shift = max(0, (high - low - 1).bit_length() - (most.bit_length() - 1))
        return cls(low, high, shift, is_dense, heavy)


@dataclass(frozen=True, slots=True)
class Counting:
    """What a pass counts, for whoever counts elsewhere. A sampling pass takes the magnitudes themselves.

    `nonzero`, `over`: whether those are to be counted.
    """

    window: Window
    is_sampling: bool
    nonzero: bool
    over: bool


@dataclass(frozen=True, slots=True)
class Counts:
    """Of `total` elements: how many are not zero, how many lie above the window, how many are each heavy value, and
    how many fall into each bin."""

    total: int
    nonzero: int
    over: int
    heavy: Sequence[int]
    bins: Integers


class Quantile:
    """abs_quantile: exact selection by rank among magnitudes. NaN counts as larger than all numbers."""

    def __init__(self, parameters: Mapping[str, Value]) -> None:
        self._parameters = parameters
        self._lock = threading.Lock()
        self._sample: list[Integers] | None = None
        self._window: Window | None = None
        self._bits = 31
        self._wanted: int | None = None
        self._above: int | None = None
        self._begin_count()

    @property
    def may_sample(self) -> bool:
        """Whether the next pass may be a sample: nothing was fed yet."""
        return self._sample is None and self._window is None and self._wanted is None

    def sample(self) -> None:
        """The next pass feeds short runs from all over, not everything."""
        self._sample = []

    def counting(self, bits: int) -> Counting:
        """What this pass counts, of magnitudes of 31 or 63 bits; the same for all of the pass."""
        self._bits = bits
        window = self._window or Window.of(0, 1 << bits, is_dense=True)
        return Counting(
            window,
            is_sampling=self._sample is not None,
            nonzero=self._wanted is None and counts_nonzero(self._parameters),
            over=self._above is None and window.high < 1 << bits,
        )

    def feed(self, start: int, tiles: tuple[Tensor, ...], scratch: Scratch) -> None:
        """Count at most 65,536 elements."""
        (tile,) = tiles
        is_double = tile.dtype == torch.float64
        counting = self.counting(63 if is_double else 31)
        integers = torch.int64 if is_double else torch.int32
        scratch.forget()
        magnitudes = scratch.first.view(integers)[: tile.numel()]
        torch.bitwise_and(tile.view(integers), (1 << self._bits) - 1, out=magnitudes)
        bits: Integers = magnitudes.numpy()  # pyright: ignore
        if self._sample is not None:
            self._sample.append(bits.copy())
            return
        spare: Integers = scratch.second.view(integers)[: tile.numel()].numpy()  # pyright: ignore
        self._count(bits, spare, counting)

    def add(self, counts: Counts) -> None:
        """Take in what somebody counted as `counting` says."""
        with self._lock:
            self._tally(counts.total, counts.nonzero, counts.over, counts.heavy)
            self._room_for_counts()[: counts.bins.size] += counts.bins.astype(self._counts.dtype, copy=False)

    def add_counted(self, counting: Counting, total: int, tallies: Sequence[int], chosen: Tensor) -> None:
        """Take in what `recording.Recorder.count` counted of a piece of `total` elements."""
        numbers = list(tallies)
        nonzero = numbers.pop(0) if counting.nonzero else 0
        over = numbers.pop(0) if counting.over else 0
        found: Integers = chosen.numpy()  # pyright: ignore[reportUnknownMemberType]
        with self._lock:
            self._tally(total, nonzero, over, numbers)
            counts = self._room_for_counts()
            if counting.window.is_dense:
                counts += found[1:]
            else:
                # A plain 1 would be converted for each element: 39 ns instead of 1.5.
                np.add.at(counts, found - 1, counts.dtype.type(1))

    def _tally(self, total: int, nonzero: int, over: int, heavy: Sequence[int]) -> None:
        """What is counted one by one. Call it with the lock."""
        self._total += total
        self._nonzero += nonzero
        self._over += over
        for index, count in enumerate(heavy):
            self._heavy[index] += count

    def end_pass(self) -> Found | None:
        """The threshold, once a bin with the rank in it is one number."""
        if self._sample is not None:
            self._window = _sampled_window(self._sample, self._parameters, self._bits)
            self._sample = None
            return None
        if self._wanted is None:
            self._wanted = max(0, rank(self._total, self._nonzero, self._parameters))
        if not self._wanted:
            return Threshold(math.inf, 0, 0, 0)
        found = self._narrowed(self._window or Window.of(0, 1 << self._bits, is_dense=True), self._wanted)
        self._begin_count()
        return found

    def _begin_count(self) -> None:
        self._counts: Integers = np.zeros(0, np.int64)
        self._heavy = [0] * _MOST_HEAVY
        self._total = self._nonzero = self._over = 0

    def _count(self, bits: Integers, spare: Integers, counting: Counting) -> None:
        window = counting.window
        nonzero = int(np.count_nonzero(bits)) if counting.nonzero else 0
        over = int(np.count_nonzero(bits >= window.high)) if counting.over else 0
        heavy = [int(np.count_nonzero(bits == value)) for value in window.heavy]
        added = self._inside(bits, spare, window)
        with self._lock:
            self._tally(bits.size, nonzero, over, heavy)
            counts = self._room_for_counts()
            if window.is_dense:
                counts[: added.size] += added
            else:
                # A plain 1 would be converted for each element: 39 ns instead of 1.5.
                np.add.at(counts, added.astype(np.intp, copy=False), counts.dtype.type(1))

    def _room_for_counts(self) -> Integers:
        """One count for each bin of the window. Call it with the lock."""
        if not self._counts.size:
            window = self._window or Window.of(0, 1 << self._bits, is_dense=True)
            self._counts = np.zeros(window.bins, np.int64 if window.is_dense else np.uint32)
        return self._counts

    @staticmethod
    def _inside(bits: Integers, spare: Integers, window: Window) -> Integers:
        """The counts of each bin where the window is dense, else the bin of each element that is in it."""
        unsigned = np.uint64 if bits.dtype == np.int64 else np.uint32
        np.subtract(bits, bits.dtype.type(window.low), out=spare)
        if window.high - window.low > np.iinfo(bits.dtype).max and not window.heavy:
            chosen = spare
        else:
            inside = spare.view(unsigned) < unsigned(window.high - window.low)
            for value in window.heavy:
                inside &= bits != value
            chosen = spare[inside] if window.bins > len(window.heavy) else spare[:0]
        if window.shift:
            np.right_shift(chosen, window.shift, out=chosen)
        if not window.is_dense:
            return chosen
        counted: Integers = torch.bincount(torch.from_numpy(chosen), minlength=window.bins).numpy()  # pyright: ignore
        return counted

    def _narrowed(self, window: Window, wanted: int) -> Threshold | None:
        """Find the bin with the rank, or the side on which it lies; None while there is more to look at."""
        above = self._over if self._above is None else self._above
        counts = self._counts if self._counts.size else np.zeros(window.bins, np.int64)
        for value, count in zip(window.heavy, self._heavy, strict=False):
            counts[(value - window.low) >> window.shift] += count
        inside = int(counts.sum(dtype=np.int64))
        if wanted <= above:
            self._above, self._window = 0, Window.of(window.high, 1 << self._bits, is_dense=True)
            return None
        if wanted > above + inside:
            self._above, self._window = above + inside, Window.of(0, window.low, is_dense=True)
            return None
        digit, larger = _from_top(counts, wanted - above)
        above += larger
        low = window.low + (digit << window.shift)
        if not window.shift:
            return Threshold(self._value(low), above, int(counts[digit]), wanted)
        high = min(low + (1 << window.shift), window.high)
        self._above, self._window = above, Window.of(low, high, is_dense=False)
        return None

    def _value(self, bits: int) -> float:
        integers, floats = (np.int64, np.float64) if self._bits == 63 else (np.int32, np.float32)
        return float(np.array([bits], integers).view(floats)[0])


def _from_top(counts: Integers, wanted: int) -> tuple[int, int]:
    """The bin that holds the element number `wanted` (from 1) counted from the last bin, and how many lie above it."""
    above, end = 0, counts.size
    while (inside := int(counts[max(end - _BINS_A_BLOCK, 0) : end].sum(dtype=np.int64))) < wanted - above:
        above, end = above + inside, end - _BINS_A_BLOCK
    block = counts[max(end - _BINS_A_BLOCK, 0) : end][::-1].cumsum(dtype=np.int64)
    position = int(np.searchsorted(block, wanted - above))
    return end - 1 - position, above + int(block[position]) - int(counts[end - 1 - position])


def _sampled_window(runs: list[Integers], parameters: Mapping[str, Value], bits: int) -> Window | None:
    """Where the rank should be: around that of the sample, a few standard errors wide; None without a clear place.

    Elements of one run are alike, so the error is that of the runs' shares, not of independent elements.
    """
    if not runs:
        return None
    ordered = np.sort(np.concatenate(runs))
    wanted = rank(ordered.size, int(np.count_nonzero(ordered)), parameters)
    if not 0 < wanted <= ordered.size:
        return None
    place = ordered.size - wanted
    shares = np.array([int(np.count_nonzero(run >= ordered[place])) / run.size for run in runs])
    error = max(float(shares.std()) / math.sqrt(len(runs)), 0.5 / math.sqrt(ordered.size))
    reach = int(_STANDARD_ERRORS * error * ordered.size) + 1
    first, last = max(place - reach, 0), min(place + reach, ordered.size - 1)
    low = int(ordered[first]) if first else 0
    high = int(ordered[last]) + 1 if last < ordered.size - 1 else 1 << bits
    values = np.unique(ordered[first : last + 1])
    counts = np.searchsorted(ordered, values, "right") - np.searchsorted(ordered, values, "left")
    common = [i for i in counts.argsort()[::-1][:_MOST_HEAVY] if counts[i] >= _HEAVY_SHARE * ordered.size]
    rest = int(counts.sum() - counts[common].sum()) / ordered.size
    return Window.of(low, high, is_dense=rest > _DENSE_SHARE, heavy=tuple(int(values[i]) for i in common))
