"""How a stored tensor is looked at when it is not taken as it lies: rows in another order, numbers times scales."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from weakref import WeakValueDictionary

ZERO_ROW = -1
MEAN_ROW = -2


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class RowMap:
    """Which stored row stands in each row of a view: `runs` of (first stored row, rows), one after the other.

    From `ZERO_ROW` a run is zeros, from `MEAN_ROW` the mean of the first `own` stored rows in the stored dtype.
    `starts` are the view's rows at which the runs begin.
    """

    runs: tuple[tuple[int, int], ...]
    own: int
    starts: tuple[int, ...]

    @property
    def row_count(self) -> int:
        return self.starts[-1] + self.runs[-1][1] if self.runs else 0


@dataclass(frozen=True, slots=True)
class BlockScale:
    """One float32 (or other) number, stored at `offset` of `path`, for each block of a matrix: what it is times.

    `shape` counts blocks down and across; all but the last of each are `block` rows by columns.
    """

    path: str
    dtype: str
    offset: int
    shape: tuple[int, int]
    block: tuple[int, int]


_interned: WeakValueDictionary[tuple[object, ...], RowMap] = WeakValueDictionary()


def row_map(rows: Iterable[int], own: int) -> RowMap:
    """The map of a view whose rows are the stored `rows`, or zeros, or means, in this order."""
    runs: list[tuple[int, int]] = []
    for row in rows:
        first, count = runs[-1] if runs else (0, 0)
        if count and row == (first if first < 0 else first + count):
            runs[-1] = (first, count + 1)
        else:
            runs.append((row, 1))
    return row_runs(runs, own)


def row_runs(runs: Iterable[tuple[int, int]], own: int) -> RowMap:
    """The map of these runs."""
    kept = tuple(runs)
    starts = tuple(accumulate([0, *[count for _, count in kept[:-1]]])) if kept else ()
    return _interned.setdefault((kept, own), RowMap(kept, own, starts))
