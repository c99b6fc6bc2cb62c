"""Sums of numbers that may leave float64: infinite then, and never an error."""

from __future__ import annotations

import math
from collections.abc import Iterable


def added(numbers: Iterable[float]) -> float:
    """Rounded once, whatever the order; where that overflows on the way, infinite or NaN as plain addition has it."""
    terms = list(numbers)
    try:
        return math.fsum(terms)
    except (OverflowError, ValueError):
        return sum(terms)
