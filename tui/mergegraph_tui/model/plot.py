"""Lines as characters: two by four dots a cell, or one character a cell in plain ASCII. Knows nothing of statistics.

Every line has a pattern of its own beside its colour, and its name at its right end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mergegraph.stats.html.charts import ticks

Painted = tuple[str, str]
"""A character and the key of its style: `line-0` …, `axis`, `grid`, `mark`, or ""."""

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_PATTERNS = ((1, 0), (5, 2), (2, 2), (1, 2), (7, 1), (3, 3))
"""Dots drawn and left out, by line."""
_ASCII = "*o+x#@"
_POINT = "•"
_NAME = 18
_LEAST_WIDTH = 24
_LEAST_HEIGHT = 3


@dataclass(frozen=True, slots=True)
class PlotLine:
    """One value for each place on the x axis; None where there is none. `is_joined`: else every value is a point."""

    name: str
    values: tuple[float | None, ...]
    is_joined: bool = True


@dataclass(frozen=True, slots=True)
class Plot:
    """`x_labels`: one for each place; `mark`: the place that is pointed at; `label` turns a value into text."""

    lines: tuple[PlotLine, ...]
    x_labels: tuple[str, ...]
    mark: int | None = None
    x_title: str = "layer"
    unit_share: bool = False
    span: tuple[float, float] | None = None
    """Lowest and highest value there is room for at least."""


def plot_rows(plot: Plot, width: int, height: int, *, ascii_only: bool = False) -> list[list[Painted]]:
    """`height` rows of `width` characters; blank where there is no room or nothing to draw."""
    values = [value for line in plot.lines for value in line.values if value is not None]
    if not values or width < _LEAST_WIDTH or height < _LEAST_HEIGHT:
        return [[(" ", "")] * width for _ in range(height)]
    return _Drawn(plot, values, width, height, ascii_only=ascii_only).rows()


def place_and_value(plot: Plot, width: int, height: int, x: int, y: int) -> tuple[int, float] | None:
    """What a cell of the picture stands for; None outside of the lines."""
    values = [value for line in plot.lines for value in line.values if value is not None]
    if not values or width < _LEAST_WIDTH or height < _LEAST_HEIGHT:
        return None
    drawn = _Drawn(plot, values, width, height, ascii_only=False)
    column = x - drawn.left - 1
    if not 0 <= column < drawn.across or not 0 <= y < drawn.body:
        return None
    place = round(column / max(1, drawn.across - 1) * (drawn.count - 1))
    return place, drawn.high - (drawn.high - drawn.low) * y / max(1, drawn.body - 1)


class _Drawn:
    def __init__(self, plot: Plot, values: Sequence[float], width: int, height: int, *, ascii_only: bool) -> None:
        self.plot, self.width, self.ascii_only = plot, width, ascii_only
        self.low, self.high = _range([*values, *(plot.span or ())])
        self.body = height - 1
        self.labels = self._labels()
        self.left = max(map(len, self.labels.values()), default=0) + 1
        self.names = min(_NAME, max(len(line.name) for line in plot.lines) + (4 if ascii_only else 2))
        self.across = max(4, width - self.left - 1 - self.names)
        self.count = len(plot.x_labels)
        self.cells = [[(" ", "")] * self.across for _ in range(self.body)]
        self.ends: dict[int, tuple[str, str]] = {}

    def rows(self) -> list[list[Painted]]:
        self._grid()
        for number, line in enumerate(self.plot.lines):
            if not line.is_joined:
                self._points(number, line)
            elif self.ascii_only:
                self._line_of_characters(number, line)
            else:
                self._line_of_dots(number, line)
            self._name(number, line)
        bar, tick = ("|", "+") if self.ascii_only else ("│", "┤")
        made: list[list[Painted]] = []
        for row in range(self.body):
            label = self.labels.get(row, "").rjust(self.left - 1) + " "
            name, key = self.ends.get(row, ("", ""))
            made.append([
                *_text(label, "axis"), (tick if row in self.labels else bar, "grid"), *self.cells[row],
                *_text(f" {name}".ljust(self.names)[: self.names], key),
            ])  # fmt: skip
        return [*(row[: self.width] for row in made), self._axis()]

    def _labels(self) -> dict[int, str]:
        """Row to the value there."""
        places = ticks(self.low, self.high)
        keep = max(1, math.ceil(len(places) / max(1, self.body // 2)))
        factor, sign = (100.0, "%") if self.plot.unit_share else (1.0, "")
        shown = places[::keep]
        digits = max((len(f"{y * factor:.6g}".partition(".")[2]) for y in shown if "e" not in f"{y * factor:.6g}"),
                     default=0)  # fmt: skip
        if any("e" in f"{y * factor:.6g}" for y in shown):
            return {self._row(y): f"{y * factor:.1e}{sign}" for y in shown}
        return {self._row(y): f"{y * factor:.{digits}f}{sign}" for y in shown}

    def _row(self, value: float) -> int:
        return round((1 - (value - self.low) / (self.high - self.low)) * (self.body - 1))

    def _column(self, place: int) -> int:
        return round(place / max(1, self.count - 1) * (self.across - 1))

    def _grid(self) -> None:
        dash, stroke = ("-", ":") if self.ascii_only else ("┈", "┊")
        for row in self.labels:
            self.cells[row] = [(dash, "grid")] * self.across
        if self.plot.mark is not None and self.count > 1:
            column = self._column(self.plot.mark)
            for row in range(self.body):
                self.cells[row][column] = (stroke, "mark")

    def _at(self, line: PlotLine, share: float) -> float | None:
        """The value at a share of the width, on the straight line between two places."""
        place = share * (self.count - 1)
        index = min(int(place), max(0, self.count - 2))
        a, b = line.values[index], line.values[min(index + 1, self.count - 1)]
        if a is None or b is None:
            return a if place - index < 0.5 else b
        return a + (b - a) * (place - index)

    def _line_of_dots(self, number: int, line: PlotLine) -> None:
        on, off = _PATTERNS[number % len(_PATTERNS)]
        before: int | None = None
        for x in range(self.across * 2):
            value = self._at(line, x / max(1, self.across * 2 - 1))
            if value is None:
                before = None
                continue
            y = round((1 - (value - self.low) / (self.high - self.low)) * (self.body * 4 - 1))
            top, bottom = min(y, y if before is None else before), max(y, y if before is None else before)
            before = y
            if x % (on + off) < on:
                for dot in range(top, bottom + 1):
                    self._dot(x, dot, number)

    def _dot(self, x: int, y: int, number: int) -> None:
        row, column = y // 4, x // 2
        character = self.cells[row][column][0]
        bits = ord(character) - 0x2800 if "\u2800" <= character <= "\u28ff" else 0
        self.cells[row][column] = chr(0x2800 + (bits | _DOTS[y % 4][x % 2])), f"line-{number}"

    def _line_of_characters(self, number: int, line: PlotLine) -> None:
        for column in range(self.across):
            value = self._at(line, column / max(1, self.across - 1))
            if value is not None:
                self.cells[self._row(value)][column] = _ASCII[number % len(_ASCII)], f"line-{number}"

    def _points(self, number: int, line: PlotLine) -> None:
        sign = _ASCII[number % len(_ASCII)] if self.ascii_only else _POINT
        for place, value in enumerate(line.values):
            if value is not None:
                self.cells[self._row(value)][self._column(place)] = sign, f"line-{number}"

    def _name(self, number: int, line: PlotLine) -> None:
        """At the height where the line ends, or the next free row."""
        last = next((value for value in reversed(line.values) if value is not None), None)
        if last is None:
            return
        wanted = self._row(last)
        free = [row for row in range(self.body) if row not in self.ends]
        if free:
            mark = f"{_ASCII[number % len(_ASCII)]} " if self.ascii_only else ""
            row = min(free, key=lambda each: (abs(each - wanted), each < wanted))
            self.ends[row] = f"{mark}{line.name}", f"line-{number}"

    def _axis(self) -> list[Painted]:
        cells = [" "] * self.across
        step = max(1, math.ceil(self.count * 6 / self.across))
        for place in range(0, self.count, step):
            label = self.plot.x_labels[place].rsplit(" ", 1)[-1]
            start = max(0, min(self.across - len(label), self._column(place) - len(label) // 2))
            cells[start : start + len(label)] = label
        corner = "+" if self.ascii_only else "╰"
        title = f" {self.plot.x_title}".ljust(self.names)[: self.names]
        return [*_text(" " * self.left, ""), (corner, "grid"), *_text("".join(cells), "axis"),
                *_text(title, "axis")][: self.width]  # fmt: skip


def _text(text: str, key: str) -> list[Painted]:
    return [(character, key) for character in text]


def _range(values: Sequence[float]) -> tuple[float, float]:
    """A little room above; from zero on where that is near."""
    low, high = min(values), max(values)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return (0.0 if 0 <= low < 0.6 * high else low - room), high + room
