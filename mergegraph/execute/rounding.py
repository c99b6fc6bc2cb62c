"""Rounding once: what is computed becomes what is stored, to nearest, and what did not fit is counted."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)
_NARROW_RANGE = (torch.float16, *_FLOAT8)
_CAREFUL_ELEMENTS = 8_192
"""What needs temporaries works in pieces of this, so that they stay small beside the pool."""


def round_once(value: Tensor, rounded: Tensor) -> int:
    """Write `value` to `rounded` in its dtype, to nearest. Returns how many finite values were too large for it.

    float16 and bfloat16 overflow to infinity; float8 has little or no infinity and saturates.
    """
    dtype = rounded.dtype
    from_double = value.dtype == torch.float64 and dtype != torch.float64
    is_direct = not from_double or dtype == torch.float32
    narrows = from_double or dtype in _NARROW_RANGE
    if is_direct and not (narrows and _exceeds(value, dtype)):
        rounded.copy_(value)
        # Only the last 0.4 % of float32's range is beyond bfloat16: a probe of the sum is half as dear as the extremes.
        if dtype != torch.bfloat16 or sums_finite(rounded):
            return 0
    pieces = [slice(start, start + _CAREFUL_ELEMENTS) for start in range(0, value.numel(), _CAREFUL_ELEMENTS)]
    return sum([_round_carefully(value[piece], rounded[piece]) for piece in pieces])


def _round_carefully(value: Tensor, rounded: Tensor) -> int:
    dtype = rounded.dtype
    single = as_single_to_odd(value) if value.dtype == torch.float64 and dtype != torch.float32 else value
    if dtype in _FLOAT8:
        limit = torch.finfo(dtype).max
        rounded.copy_(single.clamp(-limit, limit))
        return int((value.isfinite() & (value.abs() > limit)).sum())
    rounded.copy_(single)
    return int((rounded.isinf() & value.isfinite()).sum())


def as_single_to_odd(value: Tensor) -> Tensor:
    """float64 as float32, cut towards zero, with the last bit set where that loses something.

    torch rounds float64 to a half type through float32, and so twice; from a number that was rounded to odd, the
    second rounding gives what a single one gives.
    """
    single = value.to(torch.float32)
    back = single.to(torch.float64)
    bits = single.view(torch.int32)
    bits -= (back.abs() > value.abs()).to(torch.int32)
    bits |= (back != value).to(torch.int32)
    return single


def sums_finite(value: Tensor) -> bool:
    return math.isfinite(value.sum().item())


def _exceeds(value: Tensor, dtype: torch.dtype) -> bool:
    """Whether a value lies beyond the dtype's largest. Also where a NaN hides whether one does."""
    if not value.numel():
        return False
    low, high = torch.aminmax(value)
    return not max(float(high), -float(low)) <= torch.finfo(dtype).max
