"""What a random sparsification did to a tensor, as numbers that two implementations with other random numbers share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from tests.golden.inputs import Array

BANDS = 8
"""How many bands of rank an input's elements are counted in."""


class Bands(TypedDict):
    """By band of magnitude rank within a row, smallest first, what became of the elements of the only input.

    `kept`: the share of them that are not zero. `factor_least`, `factor_most`: the extremes of outcome / input over
    those that are not, 0 where all are.
    """

    kept: list[float]
    factor_least: list[float]
    factor_most: list[float]


class Sample(TypedDict):
    """Numbers of one tensor. `support`: the share of its elements that are not zero. `l1`, `l2`: its norms.

    `bands`: only where there is one input.
    """

    support: float
    l1: float
    l2: float
    mean: float
    bands: NotRequired[Bands]


def describe(merged: Array, inputs: Sequence[Array]) -> Sample:
    """The numbers of the delta `merged`, made from the deltas `inputs`; all of one shape, at least 8 to a row."""
    exact = merged.astype(np.float64)
    sample = Sample(
        support=np.count_nonzero(exact) / exact.size,
        l1=float(np.abs(exact).sum()),
        l2=float(np.sqrt(np.square(exact).sum())),
        mean=float(exact.mean()),
    )
    if len(inputs) == 1:
        sample["bands"] = _bands(exact, inputs[0].astype(np.float64))
    return sample


def _bands(merged: NDArray[np.float64], delta: NDArray[np.float64]) -> Bands:
    ranks = np.argsort(np.argsort(np.abs(delta), axis=-1), axis=-1)
    bands = ranks * BANDS // delta.shape[-1]
    factors = [merged[bands == band] / delta[bands == band] for band in range(BANDS)]
    kept = [values[values != 0] for values in factors]
    return Bands(
        kept=[some.size / values.size for some, values in zip(kept, factors, strict=True)],
        factor_least=[float(some.min()) if some.size else 0.0 for some in kept],
        factor_most=[float(some.max()) if some.size else 0.0 for some in kept],
    )
