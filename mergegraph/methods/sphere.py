"""The geometry of directions and lengths, from the inner products of tensors: numbers only.

A tensor x has the direction u = x / |x|; one that is all zeros has none and does not count in a mean of directions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

from mergegraph.errors import Problem, RunError
from mergegraph.expr import Expr, Stat
from mergegraph.statistic import dot

VANISHES_BELOW = 1e-6
"""A sum of directions this short, or an angle this close to a half turn, is made of float32's rounding errors."""


def gram(tensors: Sequence[Expr]) -> list[Stat]:
    """<x_i, x_j>, i <= j, as statistics."""
    return [dot(x, y) for x, y in combinations_with_replacement(tensors, 2)]


@dataclass(frozen=True, slots=True)
class Directions:
    """Some vectors by their lengths and the cosines between them; a zero vector has cosine 0 with everything."""

    lengths: tuple[float, ...]
    cosines: tuple[tuple[float, ...], ...]

    def along(self, shares: Sequence[float]) -> list[float]:
        """<Σ share_i u_i, u_j> for each j."""
        return [math.fsum(map(float.__mul__, shares, row)) for row in self.cosines]

    def length(self, shares: Sequence[float]) -> float:
        """|Σ share_i u_i|."""
        return math.sqrt(max(0.0, math.fsum(map(float.__mul__, shares, self.along(shares)))))

    def coefficients(self, shares: Sequence[float], length: float) -> list[float]:
        """Σ share_i u_i at `length`, as coefficients of the vectors themselves."""
        times = length / self.length(shares) if length else 0.0
        return [share / own * times if own else 0.0 for share, own in zip(shares, self.lengths, strict=True)]

    def counted(self, weights: Sequence[float]) -> list[float]:
        """The weights, 0 for vectors that have no direction."""
        return [weight if length else 0.0 for weight, length in zip(weights, self.lengths, strict=True)]

    def mean_length(self, weights: Sequence[float]) -> float:
        """Σ weight_i |x_i|."""
        return math.fsum(map(float.__mul__, weights, self.lengths))


def directions(products: Sequence[float], count: int) -> Directions:
    """From the products of `gram`."""
    places = combinations_with_replacement(range(count), 2)
    product = dict(zip(places, products, strict=True))
    lengths = [math.sqrt(product[i, i]) for i in range(count)]

    def cosine(i: int, j: int) -> float:
        norms = lengths[i] * lengths[j]
        return product[min(i, j), max(i, j)] / norms if norms else 0.0

    return Directions(tuple(lengths), tuple([tuple([cosine(i, j) for j in range(count)]) for i in range(count)]))


def arc(aa: float, bb: float, ab: float, t: float) -> tuple[float, float]:
    """The coefficients of a and b a share t along the arc between them; a straight line where they are colinear."""
    norms = math.sqrt(aa) * math.sqrt(bb)
    cosine = ab / norms if norms else 1.0
    # Products in float64 place a cosine to about 1e-16, so below this the angle itself is a rounding error.
    if not (1 - cosine) * (1 + cosine) > 1e-14:
        return 1 - t, t
    angle = math.acos(cosine)
    return math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)


def has_direction(length: float, weights: Sequence[float]) -> None:
    """RunError where a sum of weighted directions of that length has cancelled out."""
    if not length > VANISHES_BELOW * math.fsum(map(abs, weights)):
        raise RunError(
            Problem(
                "The directions of the inputs cancel out: they have no mean direction.",
                why=f"their weighted sum is {length:.1e} long, of {math.fsum(map(abs, weights)):.1e}",
                fix="use other weights, or leave the tensor out with `except:`",
            )
        )


def is_antipodal(cosine: float) -> bool:
    """Whether the shortest way between two directions is no single one."""
    return cosine < 0 and 1 + cosine < VANISHES_BELOW * VANISHES_BELOW / 2
