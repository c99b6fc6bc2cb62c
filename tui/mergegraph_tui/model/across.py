"""Where every slot of a layer lies across the flow, so that wires run straight and nothing overlaps.

Rounds of "go to the weighted mean of your neighbours", each solved exactly for a row under its order and its gaps;
then single boxes and runs of passages move where that takes bends away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mergegraph_tui.model.layers import Layering

_ROUNDS = 10
_ONE_SIDED_ROUNDS = 5
_MOVES = 6
_MOST_CHAINS = 600


@dataclass(frozen=True, slots=True)
class Spacing:
    """Blank cells across, between two boxes or a box and a wire, and between two wires; and along, between layers."""

    boxes: int
    wires: int
    layers: int
    tracks: int


@dataclass(frozen=True)
class Across:
    """`at`: the first cell of each slot across; `pins`: for each input of a node's slot, its place inside the box."""

    at: Sequence[int]
    outlets: Sequence[int]
    pins: Mapping[tuple[int, int], int]

    def outlet(self, slot: int) -> int:
        """The column in which the net of a slot goes on."""
        return self.at[slot] + self.outlets[slot]

    def pin(self, slot: int, position: int | None) -> int:
        """The column in which a net enters a slot."""
        return self.at[slot] + (0 if position is None else self.pins[slot, position])


def placed(layers: Layering, widths: Sequence[int], spacing: Spacing) -> Across:
    """`widths`: cells that each slot takes across."""
    placing = _Placing(layers, widths, spacing)
    placing.run()
    left = min(placing.at, default=0)
    return Across([each - left for each in placing.at], placing.outlets, placing.pins)


def spread(count: int, width: int) -> list[int]:
    """The places of `count` pins on a side of `width` cells: evenly, off the corners where there is room."""
    first, inner = (1, width - 2) if width - 2 >= count else (0, width)
    return [width // 2] if count == 1 else [first + int((pin + 0.5) * inner / count) for pin in range(count)]


def isotonic(wanted: Sequence[float], weights: Sequence[float], gaps: Sequence[int]) -> list[float]:
    """The places nearest to `wanted` in the mean square of which each is `gaps` after the last (pool adjacent
    violators)."""
    offsets = [0]
    for gap in gaps:
        offsets.append(offsets[-1] + gap)
    blocks: list[tuple[float, float, int]] = []
    for place, weight, offset in zip(wanted, weights, offsets, strict=True):
        total, mass, count = weight * (place - offset), weight, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / mass:
            earlier = blocks.pop()
            total, mass, count = total + earlier[0], mass + earlier[1], count + earlier[2]
        blocks.append((total, mass, count))
    places = [total / mass for total, mass, count in blocks for _ in range(count)]
    return [place + offset for place, offset in zip(places, offsets, strict=True)]


class _Placing:
    """The places while they are looked for. `before` and `after` hold (slot, offset here, offset there, weight)."""

    def __init__(self, layers: Layering, widths: Sequence[int], spacing: Spacing) -> None:
        self.rows, self.slots = layers.rows, layers.slots
        self.widths, self.spacing = widths, spacing
        self.at = [0] * len(widths)
        self.outlets = [width // 2 for width in widths]
        self.pins = _pins(layers, widths)
        self.gaps = [self._row_gaps(row) for row in layers.rows]
        self.before: list[list[tuple[int, int, int, int]]] = [[] for _ in widths]
        self.after: list[list[tuple[int, int, int, int]]] = [[] for _ in widths]
        for segment in (each for gap in layers.segments for each in gap):
            pin = 0 if segment.position is None else self.pins[segment.end, segment.position]
            outlet = self.outlets[segment.start]
            weight = self._weight(segment.start, segment.end)
            self.before[segment.end].append((segment.start, pin, outlet, weight))
            self.after[segment.start].append((segment.end, outlet, pin, weight))

    def _weight(self, start: int, end: int) -> int:
        """A long wire should run straight before a short one."""
        passages = (not self.slots[start].is_node) + (not self.slots[end].is_node)
        return (2, 3, 8)[passages]

    def _row_gaps(self, row: Sequence[int]) -> list[int]:
        return [
            self.widths[a]
            + (self.spacing.boxes if self.slots[a].is_node or self.slots[b].is_node else self.spacing.wires)
            for a, b in pairwise(row)
        ]

    def run(self) -> None:
        for row, gaps in zip(self.rows, self.gaps, strict=True):
            place = 0
            for slot, gap in zip(row, [*gaps, 0], strict=True):
                self.at[slot] = place
                place += gap
        for turn in range(_ROUNDS):
            both = turn >= _ONE_SIDED_ROUNDS
            for layer in range(1, len(self.rows)):
                self._place(layer, (self.before, self.after) if both else (self.before,))
            for layer in range(len(self.rows) - 2, -1, -1):
                self._place(layer, (self.before, self.after) if both else (self.after,))
        self._straighten()

    def _place(self, layer: int, sides: Sequence[Sequence[Sequence[tuple[int, int, int, int]]]]) -> None:
        row, at = self.rows[layer], self.at
        wanted: list[float] = []
        weights: list[float] = []
        for slot in row:
            total = mass = 0
            for side in sides:
                for other, here, there, weight in side[slot]:
                    total += weight * (at[other] + there - here)
                    mass += weight
            wanted.append(total / mass if mass else at[slot])
            weights.append(mass or 0.1)
        least = -(1 << 30)
        for slot, place, gap in zip(
            row, isotonic(wanted, weights, self.gaps[layer]), [*self.gaps[layer], 0], strict=True
        ):
            at[slot] = max(round(place), least)
            least = at[slot] + gap

    def _straighten(self) -> None:
        limits = self._neighbours()
        groups = [*([slot] for row in self.rows for slot in row), *self._chains()]
        for _ in range(_MOVES):
            if not any([self._moved(group, limits) for group in groups]):
                return

    def _neighbours(self) -> list[tuple[int | None, int, int | None, int]]:
        """For each slot, the one before it in its row and its distance, and the one after it and its distance."""
        near: list[tuple[int | None, int, int | None, int]] = [(None, 0, None, 0)] * len(self.at)
        for row, gaps in zip(self.rows, self.gaps, strict=True):
            for place, slot in enumerate(row):
                is_last = place + 1 == len(row)
                near[slot] = (
                    row[place - 1] if place else None,
                    gaps[place - 1] if place else 0,
                    None if is_last else row[place + 1],
                    0 if is_last else gaps[place],
                )
        return near

    def _chains(self) -> Iterator[list[int]]:
        """Every run of two or more passages of one net; none where there would be too many."""
        passages: dict[str, list[int]] = {}
        for number, slot in enumerate(self.slots):
            if not slot.is_node:
                passages.setdefault(slot.net, []).append(number)
        if sum(len(each) * (len(each) - 1) // 2 for each in passages.values()) > _MOST_CHAINS:
            yield from (each for each in passages.values() if len(each) > 1)
            return
        for each in passages.values():
            yield from (each[a:b] for a in range(len(each)) for b in range(a + 2, len(each) + 1))

    def _moved(self, group: Sequence[int], limits: Sequence[tuple[int | None, int, int | None, int]]) -> bool:
        """Put a group in the one column where its wires have the fewest bends, within what its rows leave free."""
        at = self.at
        low, high = -(1 << 30), 1 << 30
        for slot in group:
            left, left_gap, right, right_gap = limits[slot]
            low = low if left is None else max(low, at[left] + left_gap)
            high = high if right is None else min(high, at[right] - right_gap)
        old = [at[slot] for slot in group]
        best, best_cost = old, self._cost(group)
        for column in sorted(set(self._straight_columns(group))):
            if low <= column <= high:
                for slot in group:
                    at[slot] = column
                if (cost := self._cost(group)) < best_cost:
                    best, best_cost = [column] * len(group), cost
        for slot, place in zip(group, best, strict=True):
            at[slot] = place
        return best != old

    def _straight_columns(self, group: Iterable[int]) -> Iterator[int]:
        for slot in group:
            for side in (self.before, self.after):
                for other, here, there, _ in side[slot]:
                    yield self.at[other] + there - here

    def _cost(self, group: Iterable[int]) -> tuple[int, int]:
        bends = length = 0
        for slot in group:
            place = self.at[slot]
            for side in (self.before, self.after):
                for other, here, there, _ in side[slot]:
                    distance = abs(self.at[other] + there - place - here)
                    bends += distance > 0
                    length += distance
        return bends, length


def _pins(layers: Layering, widths: Sequence[int]) -> dict[tuple[int, int], int]:
    """Inputs follow the order of what they read, but for nodes whose pins are fixed."""
    rank = {slot: place for row in layers.rows for place, slot in enumerate(row)}
    source = {
        (segment.end, segment.position): rank[segment.start]
        for gap in layers.segments
        for segment in gap
        if segment.position is not None
    }
    pins: dict[tuple[int, int], int] = {}
    for slot, positions in layers.inputs.items():
        in_order = positions if slot in layers.fixed else sorted(positions, key=lambda each: source[slot, each])
        for position, place in zip(in_order, spread(len(positions), widths[slot]), strict=True):
            pins[slot, position] = place
    return pins
