"""What repeated measurements say together: medians with their spread, ratios, and how far from a line they lie."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some measurements, and the least and the largest of them."""

    median: float
    least: float
    largest: float

    def text(self, digits: int = 2) -> str:
        return f"{self.median:.{digits}f} ({self.least:.{digits}f}–{self.largest:.{digits}f})"


def spread(values: Sequence[float]) -> Spread:
    """Of at least one value."""
    return Spread(statistics.median(values), min(values), max(values))


def ratio(over: Sequence[float], under: Sequence[float]) -> Spread | None:
    """Ratio of the medians, with the least and largest ratio of two that were measured in one round.

    None when a divisor is not positive: what was measured is smaller than its noise.
    """
    if min(under) <= 0 or statistics.median(under) <= 0:
        return None
    each = [a / b for a, b in zip(over, under, strict=True)]
    return Spread(statistics.median(over) / statistics.median(under), min(each), max(each))


def net(values: Sequence[float], start_up: Sequence[float]) -> list[float]:
    """Each value less the median of the start-up."""
    constant = statistics.median(start_up)
    return [value - constant for value in values]


@dataclass(frozen=True, slots=True)
class Line:
    """y = intercept + slope·x by least squares; `deviation` is the largest |y - line|, as a share of the largest y."""

    intercept: float
    slope: float
    deviation: float


def line(x: Sequence[float], y: Sequence[float]) -> Line:
    """Through at least two points with different x."""
    slope, intercept = statistics.linear_regression(x, y)
    largest = max(abs(b - intercept - slope * a) for a, b in zip(x, y, strict=True))
    return Line(intercept, slope, largest / max(y))
