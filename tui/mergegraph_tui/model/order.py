"""The order of the slots in each layer, so that few wires cross.

Sweeps by barycentre from several starts, then exchanges of neighbours. How many starts there are follows from the size
of the graph, never from the clock: the same graph always looks the same.
"""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from dataclasses import replace

from mergegraph_tui.model.layers import Layering

_WORK = 8000
_MOST_STARTS = 24
_SWEEPS = 24
_STALE_SWEEPS = 4
_EXCHANGES = 4
_SEED = 0


def ordered(layers: Layering) -> tuple[Layering, int]:
    """The same layers with their rows sorted, and how many crossings that leaves."""
    sorting = _Sorting(layers)
    segments = 1 + sum(map(len, layers.segments))
    crossings = sorting.run(max(2, min(_MOST_STARTS, _WORK // segments)))
    return replace(layers, rows=tuple(map(tuple, sorting.rows))), crossings


class _Sorting:
    """The rows while they are sorted. `rank` is the place of each slot in its row.

    A neighbour is (slot, offset): pins that are fixed count as places of their own beside the node's.
    """

    def __init__(self, layers: Layering) -> None:
        self.rows = [list(row) for row in layers.rows]
        self.rank = [0] * len(layers.slots)
        self.before: list[list[tuple[int, float]]] = [[] for _ in layers.slots]
        self.after: list[list[tuple[int, float]]] = [[] for _ in layers.slots]
        self.gaps: list[list[tuple[int, int, float]]] = []
        for segments in layers.segments:
            gap: list[tuple[int, int, float]] = []
            for segment in segments:
                offset = _offset(layers, segment.end, segment.position)
                self.before[segment.end].append((segment.start, 0.0))
                self.after[segment.start].append((segment.end, offset))
                gap.append((segment.start, segment.end, offset))
            self.gaps.append(gap)

    def run(self, starts: int) -> int:
        """Sort the rows from so many starts, keep the best, and say how many crossings it has."""
        chance = random.Random(_SEED)
        best, best_cost = self.rows, (1 << 60, 0)
        for start in range(starts):
            self.rows = [list(row) for row in self.rows]
            for row in self.rows:
                if start == 1:
                    row.reverse()
                elif start > 1:
                    chance.shuffle(row)
            self._number()
            rows, cost = self._swept()
            if cost < best_cost:
                best, best_cost = rows, cost
            if best_cost[0] == 0 and start:
                break
        self.rows = best
        self._number()
        return best_cost[0]

    def _swept(self) -> tuple[list[list[int]], tuple[int, int]]:
        best, best_cost, stale = [list(row) for row in self.rows], self._cost(), 0
        for sweep in range(_SWEEPS):
            self._sweep(forwards=sweep % 2 == 0)
            cost = self._cost()
            if cost < best_cost:
                best, best_cost, stale = [list(row) for row in self.rows], cost, 0
            elif (stale := stale + 1) > _STALE_SWEEPS:
                break
        self.rows = best
        self._number()
        self._exchange()
        cost = self._cost()
        return [list(row) for row in self.rows], cost

    def _sweep(self, *, forwards: bool) -> None:
        neighbours = self.before if forwards else self.after
        for row in self.rows[1:] if forwards else self.rows[-2::-1]:
            rank = self.rank
            wanted = {
                slot: sum(rank[other] + offset for other, offset in near) / len(near)
                if (near := neighbours[slot])
                else rank[slot]
                for slot in row
            }
            row.sort(key=wanted.__getitem__)
            for place, slot in enumerate(row):
                rank[slot] = place

    def _exchange(self) -> None:
        """Swap neighbours in a row while that takes crossings away."""
        for _ in range(_EXCHANGES):
            improved = False
            for row in self.rows:
                for place in range(len(row) - 1):
                    left, right = row[place], row[place + 1]
                    if self._gain(left, right) > 0:
                        row[place], row[place + 1] = right, left
                        self.rank[left], self.rank[right] = place + 1, place
                        improved = True
            if not improved:
                return

    def _gain(self, left: int, right: int) -> int:
        """How many crossings go away when two neighbours change places."""
        gain = 0
        for neighbours in (self.before, self.after):
            if neighbours[left] and neighbours[right]:
                a = [self.rank[other] + offset for other, offset in neighbours[left]]
                b = sorted(self.rank[other] + offset for other, offset in neighbours[right])
                gain += sum(bisect_left(b, each) - (len(b) - bisect_right(b, each)) for each in a)
        return gain

    def _cost(self) -> tuple[int, int]:
        """Crossings, then how far wires run across."""
        rank, crossings, across = self.rank, 0, 0
        for gap in self.gaps:
            ends = [(rank[start], rank[end] + offset) for start, end, offset in gap]
            crossings += _inversions(ends)
            across += sum(abs(rank[start] - rank[end]) for start, end, _ in gap)
        return crossings, across

    def _number(self) -> None:
        for row in self.rows:
            for place, slot in enumerate(row):
                self.rank[slot] = place


def _offset(layers: Layering, slot: int, position: int | None) -> float:
    if position is None or slot not in layers.fixed:
        return 0.0
    positions = layers.inputs[slot]
    return (positions.index(position) + 1) / (len(positions) + 1) - 0.5


def _inversions(ends: Sequence[tuple[int, float]]) -> int:
    """How many of the wires that these pairs of ends stand for cross."""
    met: list[float] = []
    count = 0
    for _, end in sorted(ends):
        count += len(met) - bisect_right(met, end)
        insort(met, end)
    return count
