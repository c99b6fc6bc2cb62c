"""How much of each source's change a recipe's trims and elections leave, and what dropping is expected to do."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence

from torch import Tensor

from mergegraph.execute.reduce import Scratch, Sum
from mergegraph.plan.losses import Dropped, Losses, Taken
from mergegraph.statistic import CHUNK_ELEMENTS, Found
from mergegraph.stats import gram
from mergegraph.stats.record import Forecast, Mass, TensorRecord, Thinned

LEAST_RUNS = 16
"""A million elements: a share of the mass is then known to some tenths of a percent, as long as rows are alike."""


class Running(Sum):
    """A sum that is kept until all tensors are done, in a few numbers however many runs there were.

    They add up to exactly the sum of the runs (J. R. Shewchuk, "Adaptive precision floating-point arithmetic and fast
    robust geometric predicates", Discrete and Computational Geometry 18, 1997, figure 6).
    """

    def __init__(self, kind: str, every: int = 1) -> None:
        """`every`: one run in so many is summed, beginning with the first."""
        super().__init__(kind)
        self.every = every
        self._lock = threading.Lock()
        self._is_finite = True

    def add(self, sums: Sequence[float]) -> None:
        with self._lock:
            for number in sums:
                self._is_finite &= math.isfinite(number)
                if self._is_finite:
                    self._runs = list(_grown(self._runs, number))

    def feed(self, start: int, tiles: tuple[Tensor, ...], scratch: Scratch) -> None:
        if start // CHUNK_ELEMENTS % self.every == 0:
            super().feed(start, tiles, scratch)

    def value(self) -> Found | None:
        """None where something is not finite."""
        return self.end_pass() if self._is_finite else None


def summed(elements: int) -> int:
    """One in how many runs of a tensor is summed: all of a small one, at least `LEAST_RUNS` of any other."""
    return max(1, elements // CHUNK_ELEMENTS // LEAST_RUNS)


def _scale(elements: int, every: int) -> float:
    """What brings sums of one run in `every` up to the tensor."""
    runs = range(0, elements, every * CHUNK_ELEMENTS)
    counted = sum(min(CHUNK_ELEMENTS, elements - start) for start in runs)
    return elements / counted if counted else 1.0


def _grown(parts: Sequence[float], number: float) -> Iterator[float]:
    """`parts`, which do not overlap, and one more number."""
    for part in parts:
        small, large = sorted((part, number), key=abs)
        number = large + small
        if rest := small - (number - large):
            yield rest
    yield number


def thinned(losses: Losses, sums: Sequence[Running], tensor: TensorRecord) -> tuple[Thinned, ...]:
    """Of each source of a tensor; nothing where the recipe takes nothing, or what it takes is not finite."""
    values = [each.value() for each in sums]
    if not losses or None in values:
        return ()
    scale = _scale(tensor.elements, sums[0].every) if sums else 1.0
    masses: list[float] = [value * scale for value in values if isinstance(value, float)]
    return tuple(
        [
            Thinned(
                _mass([x for x in losses.taken if x.by == "trim" and source in x.sources], masses),
                _mass([x for x in losses.taken if x.by == "election" and source in x.sources], masses),
                _forecast(
                    [x for x in losses.dropped if source in x.sources], gram.inner(tensor, source + 1, source + 1)
                ),
            )
            for source in range(gram.source_count(tensor))
        ]
    )


def _mass(steps: Sequence[Taken], masses: Sequence[float]) -> Mass | None:
    if not steps:
        return None
    return Mass(math.fsum(masses[step.before] for step in steps), math.fsum(_after(step, masses) for step in steps))


def _after(step: Taken, masses: Sequence[float]) -> float:
    """Of an election, x having its sign: |x| = sign · x, and where it has not |x| = -sign · x."""
    after = step.factor * masses[step.after]
    return after if step.by == "trim" else (masses[step.before] + after) / 2


def _forecast(steps: Sequence[Dropped], energy: float) -> Forecast | None:
    """With mean s d x and variance s² d (1 - d) x² of each element; several steps have no one forecast."""
    if len(steps) != 1:
        return None
    density, scale = steps[0].density, steps[0].scale
    mean = scale * density
    variance = scale * mean * (1 - density)
    return Forecast(energy, energy * (1 - density) / density, energy * (variance + (mean - 1) ** 2))
