"""The reductions that kernels may ask for, and what a rank means. Pure: what computes them is in `execute`.

    dot           sum of x y
    abs_sum       sum of |x|
    sum           sum of x
    count         how many elements there are
    abs_quantile  a `Threshold`: the element at some rank by magnitude, exactly

Sums are float64 over fixed runs of elements, added exactly, so they do not depend on tiles or threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mergegraph.expr import Expr, Population, Stat, Value, model_stat, stat

CHUNK_ELEMENTS = 65_536
"""A sum is taken over runs of so many elements in float64; the runs are added exactly."""

DENSE_BINS, SPARSE_BINS = 1 << 15, 1 << 19
"""In how many bins a pass of a quantile counts: where many elements fall into its window, every one is counted, in few
enough bins to stay in the second cache; where few do, they are picked out first."""

_RADIX_PASSES = {32: 2, 64: 4}


@dataclass(frozen=True, slots=True)
class Threshold:
    """The magnitude at a rank. `above` elements are larger, `equal` are as large, and `wanted` were asked for in
    all; with nothing wanted the value is infinite."""

    value: float
    above: int
    equal: int
    wanted: int

    @property
    def share_of_equal(self) -> float:
        """What part of the elements at the threshold is wanted, in [0, 1]."""
        return (self.wanted - self.above) / self.equal if self.equal else 0.0


Found = float | Threshold
"""What a reduction gives: a sum, or a threshold."""


def phases(kind: str, bits: int) -> int:
    """How many passes over its operands a reduction takes; `bits` of the compute dtype, 32 or 64."""
    return _RADIX_PASSES[bits] if kind == "abs_quantile" else 1


def dot(x: Expr, y: Expr) -> Stat:
    """Σ x y over a tensor."""
    return stat("dot", (x, y))


def abs_sum(x: Expr) -> Stat:
    """Σ |x| over a tensor."""
    return stat("abs_sum", (x,))


def total(x: Expr) -> Stat:
    """Σ x over a tensor."""
    return stat("sum", (x,))


def count(x: Expr) -> Stat:
    """How many elements a tensor has."""
    return stat("count", (x,))


def abs_quantile(x: Expr | Population, rank: str, **parameters: Value) -> Stat:
    """The magnitude at a rank of `RANKS` among the elements of a tensor or of a population."""
    settings = (("rank", rank), *parameters.items())
    if isinstance(x, Population):
        return model_stat("abs_quantile", x, settings)
    return stat("abs_quantile", (x,), settings)


Parameters = Mapping[str, Value]


def _largest(count: int, nonzero: int, p: Parameters) -> int:
    share = float(p["share"])
    return 0 if share <= 0 else min(count, max(1, int(share * count)))


def _largest_nonzero(count: int, nonzero: int, p: Parameters) -> int:
    return int(float(p["share"]) * nonzero)


def _top_dropped(count: int, nonzero: int, p: Parameters) -> int:
    return min(int(float(p["gamma"]) * count), count - int(float(p["density"]) * count))


def _top_and_kept(count: int, nonzero: int, p: Parameters) -> int:
    return _top_dropped(count, nonzero, p) + int(float(p["density"]) * count)


def _ascending(count: int, nonzero: int, p: Parameters) -> int:
    return count - int(float(p["q"]) * (count - 1)) if count else 0


RANKS: Mapping[str, Callable[[int, int, Parameters], int]] = {
    "largest": _largest,
    "largest_nonzero": _largest_nonzero,
    "top_dropped": _top_dropped,
    "top_and_kept": _top_and_kept,
    "ascending": _ascending,
}
"""Rank rule → which of `count` elements (`nonzero` of them not 0) is asked for, counted from the largest; 0: none.

    largest          max(1, ⌊share · count⌋), none when share ≤ 0
    largest_nonzero  ⌊share · nonzero⌋
    top_dropped      min(⌊gamma · count⌋, count - ⌊density · count⌋)
    top_and_kept     top_dropped + ⌊density · count⌋
    ascending        the order statistic ⌊q (count - 1)⌋ from the smallest, no interpolation

Products are float64 and truncated, as mergekit truncates them.
"""


def counts_nonzero(parameters: Parameters) -> bool:
    """Whether the rank depends on how many elements are not zero."""
    return parameters["rank"] == "largest_nonzero"


def rank(count: int, nonzero: int, parameters: Parameters) -> int:
    """The rank that a quantile's parameters ask for."""
    return RANKS[str(parameters["rank"])](count, nonzero, parameters)
