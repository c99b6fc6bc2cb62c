"""A DAG as text, one node a line, as `git log --graph` draws commits: a lane is a value that somebody still needs.

    ○    base
    │ ○  code
    ├─●  d_code
    ●─╯  merged
    ■    out

A wire leaves every node downwards but those that nothing reads (■), and enters every node but those that read
nothing (○). So a drawing has one meaning. Works on any DAG, in time proportional to nodes times lanes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

_UP, _DOWN, _RIGHT, _LEFT = 1, 2, 4, 8
_WIRES = {
    _UP | _DOWN: "│",
    _UP | _DOWN | _RIGHT: "├",
    _UP | _DOWN | _LEFT: "┤",
    _UP | _DOWN | _RIGHT | _LEFT: "┼",
    _UP | _RIGHT: "╰",
    _UP | _LEFT: "╯",
    _UP | _RIGHT | _LEFT: "┴",
}
ASCII = str.maketrans({"○": "o", "●": "*", "■": "#", "│": "|", "─": "-", **dict.fromkeys("├┤┼╰╯┴", "+")})
"""For `str.translate`: the same drawing without box-drawing characters."""


@dataclass
class _Lanes:
    """Which node's value runs down each lane; None is a free lane."""

    holders: list[str | None] = field(default_factory=list[str | None])

    def of(self, node: str) -> int:
        return self.holders.index(node)

    def free(self, after: int) -> int:
        """The first free lane right of `after`; a new one when there is none."""
        index = next((i for i in range(after + 1, len(self.holders)) if self.holders[i] is None), len(self.holders))
        if index == len(self.holders):
            self.holders.append(None)
        return index

    def trim(self) -> None:
        while self.holders and self.holders[-1] is None:
            self.holders.pop()


def rail(inputs: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """(drawing, node) for each node; `inputs` are in order, a node after its inputs. Drawings are of one width."""
    rows = list(_rows(inputs))
    width = max((len(drawing) for drawing, _ in rows), default=0)
    for drawing, node in rows:
        yield drawing.ljust(width), node


def _rows(inputs: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    last_reader = {source: reader for reader, sources in inputs.items() for source in sources}
    lanes = _Lanes()
    for node, sources in inputs.items():
        touched = {lanes.of(source) for source in sources}
        ended = {lanes.of(source) for source in sources if last_reader[source] == node}
        # A node goes on in a lane that ends with it, else it branches off to the right of what it reads.
        own = min(ended) if ended else lanes.free(max(touched, default=-1))
        mark = "■" if node not in last_reader else "●" if sources else "○"
        yield _row(lanes.holders, touched, ended, own, mark), node
        for index in ended:
            lanes.holders[index] = None
        lanes.holders[own] = node if node in last_reader else None
        lanes.trim()


def _row(holders: Sequence[str | None], touched: set[int], ended: set[int], own: int, mark: str) -> str:
    """Every lane and the gap right of it, without trailing spaces."""
    low, high = min(touched | {own}), max(touched | {own})
    cells: list[str] = []
    for index, holder in enumerate(holders):
        crossed = low < index < high
        if index == own:
            cell = mark
        elif index in touched:
            down = 0 if index in ended else _DOWN
            cell = _WIRES[_UP | down | (_RIGHT if index < high else 0) | (_LEFT if index > low else 0)]
        elif holder is not None:
            cell = "│"
        else:
            cell = "─" if crossed else " "
        cells.append(cell + ("─" if low <= index < high else " "))
    return "".join(cells).rstrip()
