"""Rounding once: what is computed becomes what is stored, to nearest, and what did not fit is counted."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SATURATING = (torch.float8_e4m3fn, torch.float8_e5m2)
_CAREFUL_ELEMENTS = 8_192
"""What needs temporaries works in pieces of this, so that they stay small beside the pool."""


def round_once(value: Tensor, rounded: Tensor) -> tuple[int, int]:
    """Write `value` to `rounded` in its dtype, to nearest. Returns how many values are NaN or Inf, and how many finite
    ones were too large for the dtype.

    float16 and bfloat16 overflow to infinity; float8 has little or no infinity and saturates.
    """
    if _is_direct(value, rounded):
        rounded.copy_(value)
        # Whatever is not finite before or after the rounding is not finite here, and shows in the sum.
        if sums_finite(rounded):
            return 0, 0
    elif value.dtype == torch.float32 and not _exceeds(value, rounded.dtype):
        rounded.copy_(value)
        return 0, 0
    pieces = [slice(start, start + _CAREFUL_ELEMENTS) for start in range(0, value.numel(), _CAREFUL_ELEMENTS)]
    overflowed = sum([_round_carefully(value[piece], rounded[piece]) for piece in pieces])
    return sum([int(value[piece].isfinite().logical_not_().sum()) for piece in pieces]), overflowed


def _is_direct(value: Tensor, rounded: Tensor) -> bool:
    """Whether torch rounds once, and to infinity what is too large."""
    once = value.dtype == torch.float32 or rounded.dtype in (torch.float32, torch.float64)
    return once and rounded.dtype not in SATURATING


def _round_carefully(value: Tensor, rounded: Tensor) -> int:
    dtype = rounded.dtype
    is_cut = value.dtype == torch.float64 and dtype not in (torch.float32, torch.float64)
    single = as_single_to_odd(value) if is_cut else value
    if dtype in SATURATING:
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
    """False also where all are finite and their sum is not."""
    return math.isfinite(value.sum(dtype=torch.float32 if value.dtype == torch.float16 else None).item())


def _exceeds(value: Tensor, dtype: torch.dtype) -> bool:
    """Whether a value lies beyond the dtype's largest. Also where a NaN hides whether one does."""
    if not value.numel():
        return False
    low, high = torch.aminmax(value)
    return not max(float(high), -float(low)) <= torch.finfo(dtype).max
