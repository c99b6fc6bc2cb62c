"""Numbers times tiles, for numbers of any size: a norm over a norm may be beyond float32 where the product is not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from mergegraph.methods.kernel import Kernel

if TYPE_CHECKING:
    from torch import Tensor

_LARGEST_EXPONENT = 120
"""2^120 and 2^-120 are normal numbers in float32."""


def scaled(k: Kernel, x: Tensor, number: float, out: Tensor) -> None:
    """out = number · x."""
    first, *more = _factors(number)
    k.ops.mul(x, first, out=out)
    for factor in more:
        out.mul_(factor)


def scaled_rows(k: Kernel, x: Tensor, numbers: Sequence[float], out: Tensor) -> None:
    """out = number · x with a number for each row."""
    first, *more = list(zip_longest(*map(_factors, numbers), fillvalue=1.0)) or [()]
    k.ops.mul(x, _column(k, first), out=out)
    for factors in more:
        out.mul_(_column(k, factors))


def weighted_sum(k: Kernel, tiles: Sequence[Tensor], numbers: Sequence[float]) -> None:
    """k.out = Σ number · tile, in this order. Takes a scratch tile where a number is beyond float32."""
    scaled(k, tiles[0], numbers[0], k.out)
    spare: Tensor | None = None
    for tile, number in zip(tiles[1:], numbers[1:], strict=True):
        if len(_factors(number)) == 1:
            k.out.add_(tile, alpha=number)
            continue
        spare = k.scratch() if spare is None else spare
        scaled(k, tile, number, spare)
        k.out.add_(spare)


def _factors(number: float) -> list[float]:
    """What multiplies to `number`, exactly: one factor where it is a float32 by size, else powers of two beside it."""
    mantissa, exponent = math.frexp(number)
    step = max(-_LARGEST_EXPONENT, min(_LARGEST_EXPONENT, exponent))
    if step == exponent:
        return [number]
    return [math.ldexp(mantissa, step), *_factors(math.ldexp(1.0, exponent - step))]


def _column(k: Kernel, numbers: Sequence[float]) -> Tensor:
    return k.ops.tensor(numbers, dtype=k.out.dtype, device=k.out.device).view(-1, 1)
