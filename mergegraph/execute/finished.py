"""What goes into a tile and what comes out: statistics that are found or fed, and roots that are ready to be
written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mergegraph.execute.reduce import Accumulator
from mergegraph.statistic import Found


@dataclass(frozen=True, slots=True)
class Finished:
    """One root's tile, ready to be written. `nonfinite` counts NaN and Inf in the computed values, before the
    rounding; `overflowed` counts finite values that the output dtype could not hold."""

    root: int
    content: memoryview
    nonfinite: int
    overflowed: int


Sink = Callable[[Finished], None]
"""Takes each root's tile; what it is given is valid until it returns."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """The statistics of a computation by number: those that are `found`, and those that this pass feeds."""

    found: list[Found | None]
    fed: Mapping[int, Accumulator]


NO_STATISTICS = Statistics([], {})
