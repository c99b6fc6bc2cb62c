"""Statistics while they are found: fed with runs of elements in any order and from any thread, then finished.

Sums are float64 over fixed runs of 65,536 elements, and the runs' sums are added exactly (`math.fsum`). A quantile
is a radix selection on the bits of |x|, which order as the numbers do: each pass counts the next 15 or 16 bits of
the elements that can still be it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from mergegraph.expr import Value
from mergegraph.plan.steps import Reduction
from mergegraph.statistic import CHUNK_ELEMENTS, Found, Threshold, rank


class Accumulator(Protocol):
    """One statistic over the passes that it takes."""

    def feed(self, start: int, tiles: tuple[Tensor, ...], scratch: Scratch) -> None:
        """Take in at most 65,536 elements that begin at element `start`; `tiles` are 1-D and contiguous."""
        ...

    def end_pass(self) -> Found | None:
        """A pass is over: the result after the last, None before."""
        ...


class Scratch:
    """What one worker reduces in: two runs of float64."""

    def __init__(self, storage: Tensor | None = None) -> None:
        """`storage`: uint8, `plan.memory.REDUCE_BYTES`; new memory without one."""
        if storage is None:
            storage = torch.empty(2 * CHUNK_ELEMENTS * 8, dtype=torch.uint8)
        doubles = storage[: 2 * CHUNK_ELEMENTS * 8].view(torch.float64)
        self.first, self.second = doubles[:CHUNK_ELEMENTS], doubles[CHUNK_ELEMENTS:]


def accumulator(kind: str, parameters: tuple[tuple[str, Value], ...]) -> Accumulator:
    """A new accumulator for a statistic of `mergegraph.statistic`."""
    return Quantile(dict(parameters)) if kind == "abs_quantile" else Sum(kind)


def of_reduction(reduction: Reduction) -> Accumulator:
    """A new accumulator for a program's own statistic."""
    return accumulator(reduction.kind, reduction.parameters)


class Sum:
    """dot, abs_sum, sum and count."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._runs: list[float] = []

    def feed(self, start: int, tiles: tuple[Tensor, ...], scratch: Scratch) -> None:
        count = tiles[0].numel()
        if self._kind == "count":
            self._runs.append(float(count))
            return
        run = scratch.first[:count]
        run.copy_(tiles[0])
        if self._kind == "abs_sum":
            run.abs_()
        elif self._kind == "dot" and tiles[1] is tiles[0]:
            run.mul_(run)
        elif self._kind == "dot":
            other = scratch.second[:count]
            other.copy_(tiles[1])
            run.mul_(other)
        self._runs.append(float(run.sum()))

    def end_pass(self) -> Found:
        # fsum is exact, so the order in which threads came does not matter; it refuses only what overflows.
        try:
            return math.fsum(self._runs)
        except (OverflowError, ValueError):
            return sum(sorted(self._runs))


class Quantile:
    """abs_quantile: exact selection by rank among magnitudes. NaN counts as larger than all numbers."""

    def __init__(self, parameters: Mapping[str, Value]) -> None:
        self._parameters = parameters
        self._lock = threading.Lock()
        self._counts: Tensor | None = None
        self._zeros = self._total = self._above = self._wanted = 0
        self._found_bits, self._bits_left, self._is_double = 0, 0, False
        self._started = False

    def feed(self, start: int, tiles: tuple[Tensor, ...], scratch: Scratch) -> None:
        (tile,) = tiles
        self._is_double = tile.dtype == torch.float64
        count = tile.numel()
        integers, top = (torch.int64, 63) if self._is_double else (torch.int32, 31)
        bits = scratch.first.view(integers)[:count]
        torch.bitwise_and(tile.view(integers), (1 << top) - 1, out=bits)
        zeros = 0
        spare = scratch.second.view(integers)[:count]
        if not self._started:
            torch.bitwise_right_shift(bits, top - 15, out=spare)
            counted = torch.bincount(spare, minlength=1 << 15)
            zeros = int((bits == 0).sum()) if counted[0] else 0
        else:
            torch.bitwise_right_shift(bits, self._bits_left, out=spare)
            candidates = _where(bits, spare, self._found_bits)
            candidates.bitwise_right_shift_(self._bits_left - 16).bitwise_and_(0xFFFF)
            counted = torch.bincount(candidates, minlength=1 << 16)
        with self._lock:
            self._counts = counted if self._counts is None else self._counts.add_(counted)
            self._zeros += zeros
            self._total += 0 if self._started else count

    def end_pass(self) -> Found | None:
        if not self._started:
            self._wanted = max(0, rank(self._total, self._total - self._zeros, self._parameters))
            self._bits_left = 63 if self._is_double else 31
        width = 16 if self._started else 15
        self._started = True
        if not self._wanted or self._counts is None:
            self._counts, self._bits_left = None, self._bits_left - width
            return Threshold(math.inf, 0, 0, 0) if not self._bits_left else None
        from_top = self._counts.flip(0).cumsum(0)
        position = int(torch.searchsorted(from_top, self._wanted - self._above))
        digit = self._counts.numel() - 1 - position
        inside = int(self._counts[digit])
        self._above += int(from_top[position]) - inside
        self._found_bits = (self._found_bits << width) | digit
        self._bits_left -= width
        self._counts = None
        return None if self._bits_left else Threshold(self._value(), self._above, inside, self._wanted)

    def _value(self) -> float:
        integers, floats = (torch.int64, torch.float64) if self._is_double else (torch.int32, torch.float32)
        return float(torch.tensor(self._found_bits, dtype=integers).view(floats))


def _where(bits: Tensor, prefix: Tensor, wanted: int) -> Tensor:
    """The bits whose prefix is the wanted one: numpy compares and selects twenty times faster."""
    chosen: Any = bits.numpy()[prefix.numpy() == wanted]  # pyright: ignore[reportUnknownMemberType]
    return torch.from_numpy(chosen)  # pyright: ignore[reportUnknownMemberType]


def feed_in_runs(into: Accumulator, start: int, tiles: tuple[Tensor, ...], leaf: int, scratch: Scratch) -> None:
    """Feed tiles that begin at element `start`, where a leaf begins: leaf by leaf, each in runs of 65,536."""
    flat = tuple([tile.view(-1) for tile in tiles]) if tiles[0].dim() > 1 else tiles
    same = len(flat) == 2 and flat[0].data_ptr() == flat[1].data_ptr()
    count = flat[0].numel()
    for begin in range(0, count, leaf):
        for first in range(begin, min(begin + leaf, count), CHUNK_ELEMENTS):
            last = min(first + CHUNK_ELEMENTS, begin + leaf, count)
            runs = tuple([tile[first:last] for tile in flat])
            into.feed(start + first, (runs[0], runs[0]) if same else runs, scratch)
