"""Where wires bend between two layers: each net that does not run straight gets a track to run across on.

Columns are the places across; a net starts at one, where its node or its passage is, and ends at others, the pins.
Where one net ends in the column in which another starts, the other must turn away first. A circle of such demands is
opened by splitting a net: it changes its column on the way, at one that nobody uses. So there is always a way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, permutations

_PERMUTED = 5
_SWAPS = 8


@dataclass(frozen=True, slots=True)
class Part:
    """A net on one track, from the column `start` to the columns `ends`. Parts after the first start where it ends."""

    net: str
    number: int
    start: int
    ends: tuple[int, ...]

    @property
    def low(self) -> int:
        return min(self.start, *self.ends)

    @property
    def high(self) -> int:
        return max(self.start, *self.ends)

    def precedes(self, other: Part) -> bool:
        """Whether this track must be nearer to where nets start."""
        if self.net == other.net:
            return self.number < other.number
        return self.start in other.ends


@dataclass(frozen=True)
class Gap:
    """The wires between two layers. `straight`: nets with the one column they stay in."""

    straight: tuple[tuple[str, int], ...]
    tracks: Mapping[Part, int]

    @property
    def count(self) -> int:
        return 1 + max(self.tracks.values(), default=-1)


def route(nets: Mapping[str, tuple[int, Sequence[int]]]) -> Gap:
    """`nets`: where each starts, and where it ends."""
    straight = tuple((net, start) for net, (start, ends) in nets.items() if set(ends) == {start})
    bent = [Part(net, 0, start, tuple(sorted(set(ends)))) for net, (start, ends) in nets.items() if {start} != {*ends}]
    columns = {start for start, _ in nets.values()} | {end for _, ends in nets.values() for end in ends}
    parts = _Splitting(bent, columns).parts()
    return Gap(straight, _numbered(_arranged(parts)))


@dataclass
class _Splitting:
    """Parts, until no demand comes back to where it began. `columns`: those in use."""

    all: list[Part]
    columns: set[int]
    made: dict[str, int] = field(default_factory=dict[str, int])

    def parts(self) -> list[Part]:
        while circle := _circle(self.all):
            # Only a first part can be in a circle: nothing must follow the others.
            follower, leader = next((a, b) for a, b in circle if a.net != b.net)
            self._split(follower, leader.start)
        return self.all

    def _split(self, part: Part, end: int) -> None:
        column = self._free((part.start + end) / 2)
        number = self.made[part.net] = self.made.get(part.net, 0) + 1
        kept = tuple(sorted({*part.ends, column} - {end}))
        self.all[self.all.index(part)] = Part(part.net, 0, part.start, kept)
        self.all.append(Part(part.net, number, column, (end,)))

    def _free(self, near: float) -> int:
        unused = (column for column in range(max(self.columns) + 2) if column not in self.columns)
        column = min(unused, key=lambda each: (abs(each - near), each))
        self.columns.add(column)
        return column


def _followers(parts: Sequence[Part]) -> dict[Part, list[Part]]:
    """For each part, those whose tracks come after its own."""
    ending: dict[int, list[Part]] = {}
    for part in parts:
        for end in part.ends:
            ending.setdefault(end, []).append(part)
    later = {part: [each for each in ending.get(part.start, ()) if each.net != part.net] for part in parts}
    first = {part.net: part for part in parts if not part.number}
    for part in parts:
        if part.number:
            later[first[part.net]].append(part)
    return later


def _circle(parts: Sequence[Part]) -> list[tuple[Part, Part]]:
    """(follower, leader) along a circle of demands; nothing where there is none."""
    later = _followers(parts)
    leaders = dict.fromkeys(parts, 0)
    for each in later.values():
        for follower in each:
            leaders[follower] += 1
    free = [part for part in parts if not leaders[part]]
    for part in free:
        for follower in later[part]:
            leaders[follower] -= 1
            if not leaders[follower]:
                free.append(follower)
    left = {part for part in parts if leaders[part]}
    return _walked(later, left, parts)


def _walked(later: Mapping[Part, Sequence[Part]], left: set[Part], parts: Sequence[Part]) -> list[tuple[Part, Part]]:
    """Go from leader to leader among those that are left: each has one, so the way comes back."""
    if not left:
        return []
    leader_of = {follower: part for part in parts if part in left for follower in later[part] if follower in left}
    at = next(part for part in parts if part in left)
    met: list[Part] = []
    while at not in met:
        met.append(at)
        at = leader_of[at]
    around = met[met.index(at) :]
    return list(zip(around, [*around[1:], at], strict=True))


def _arranged(parts: Sequence[Part]) -> list[Part]:
    """The parts from the track nearest to where nets start, with few crossings."""
    prices = {(a, b): _price(a, b) for a in parts for b in parts if a is not b}

    def total(order: Sequence[Part]) -> int:
        return sum(prices[pair] for pair in combinations(order, 2))

    if len(parts) <= _PERMUTED:
        allowed = (order for order in permutations(parts) if not any(b.precedes(a) for a, b in combinations(order, 2)))
        return list(min(allowed, key=total))
    return _swapped(_inserted(parts, prices), prices)


def _price(near: Part, far: Part) -> int:
    """The crossings of two parts, if `near` has the track nearer to where nets start."""
    low, high = near.low, near.high
    crossings = (low < far.start < high) + sum(far.low < end < far.high for end in near.ends)
    return crossings + 2 * (far.start in (low, high)) + 2 * sum(end in (far.low, far.high) for end in near.ends)


def _inserted(parts: Sequence[Part], prices: Mapping[tuple[Part, Part], int]) -> list[Part]:
    """One part after the other, each after those that must precede it, where it costs least."""
    order: list[Part] = []
    for part in _by_demand(parts):
        lowest = 1 + max((place for place, other in enumerate(order) if other.precedes(part)), default=-1)
        cost = sum(prices[other, part] for other in order[:lowest]) + sum(prices[part, o] for o in order[lowest:])
        best, best_cost = lowest, cost
        for place in range(lowest, len(order)):
            cost += prices[order[place], part] - prices[part, order[place]]
            if cost < best_cost:
                best, best_cost = place + 1, cost
        order.insert(best, part)
    return order


def _by_demand(parts: Sequence[Part]) -> list[Part]:
    """Every part after those that must precede it, else from the left to the right."""
    left = sorted(parts, key=lambda part: (part.low, part.high, part.net, part.number))
    order: list[Part] = []
    while left:
        ready = next(part for part in left if not any(other.precedes(part) for other in left))
        order.append(ready)
        left.remove(ready)
    return order


def _swapped(order: list[Part], prices: Mapping[tuple[Part, Part], int]) -> list[Part]:
    for _ in range(_SWAPS):
        changed = False
        for place in range(len(order) - 1):
            a, b = order[place], order[place + 1]
            if prices[b, a] < prices[a, b] and not a.precedes(b):
                order[place], order[place + 1], changed = b, a, True
        if not changed:
            break
    return order


def _numbered(order: Sequence[Part]) -> dict[Part, int]:
    """Parts that do not meet share a track."""
    tracks: dict[Part, int] = {}
    for part in order:
        tracks[part] = max((track + 1 for other, track in tracks.items() if _meet(other, part)), default=0)
    return tracks


def _meet(earlier: Part, later: Part) -> bool:
    return earlier.precedes(later) or (earlier.low <= later.high + 1 and later.low <= earlier.high + 1)
