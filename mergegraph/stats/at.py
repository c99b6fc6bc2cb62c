"""What a metric is asked about, a tensor and one of its changes or two, and what it takes for granted there.

Conditions raise `NoValue` with the reason where they are not met.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from mergegraph.stats import gram
from mergegraph.stats.record import Change, TensorRecord

BASE = -1
"""Stands for W0 where a metric is about models, not changes."""


class NoValue(Exception):
    """Why a metric has no value here."""


class At(NamedTuple):
    """A tensor, and change `i` (from 0; k is the result), against `j` where two are meant.

    `whole`: all tensors as one, for what is a share of the whole.
    """

    tensor: TensorRecord
    i: int = 0
    j: int = 0
    whole: TensorRecord | None = None

    @property
    def k(self) -> int:
        return gram.source_count(self.tensor)

    @property
    def change(self) -> Change:
        return self.tensor.changes[self.i]

    @property
    def finite(self) -> int:
        return self.tensor.elements - self.change.nonfinite

    @property
    def sampled(self) -> float:
        """The share of the elements that counts were made of; sums of products are of all."""
        return min(self.tensor.counted / self.tensor.elements, 1.0) if self.tensor.counted else 1.0

    def energy(self, i: int) -> float:
        """‖τ_i‖²; of BASE ‖W0‖²."""
        return self.inner(i, i)

    def inner(self, i: int, j: int) -> float:
        value = gram.inner(self.tensor, i + 1, j + 1)
        if not math.isfinite(value):
            raise NoValue("the sums are too large for float64")
        return value

    def source_energies(self) -> list[float]:
        return [self.energy(i) for i in range(self.k)]


def some(count: int) -> int:
    if not count:
        raise NoValue("there are no elements")
    return count


def changed(amount: float, reason: str = "nothing changed") -> float:
    if not amount > 0.0:
        raise NoValue(reason)
    return amount


def base_energy(at: At) -> float:
    return changed(at.energy(BASE), "there is no base, or it is zero")


def both(at: At) -> int:
    """Elements where both changes are not zero; a pair with the result has no count, and takes the smaller one's."""
    pair = (at.tensor.pairs or {}).get((min(at.i, at.j), max(at.i, at.j)))
    if pair is not None:
        return some(pair.both)
    return some(min(at.tensor.elements - at.tensor.changes[i].zeros for i in (at.i, at.j)))


def several(at: At) -> None:
    if at.k < 2:
        raise NoValue("there is one source")


def result(at: At) -> int:
    if at.tensor.outcome is None:
        raise NoValue("nothing is made")
    return at.k
