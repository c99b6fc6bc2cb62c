"""clamp, magmax, nearswap: element by element."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.methods.references import Case


def _clamp(x: Tensor, *within: Tensor) -> Tensor:
    stacked = torch.stack(within)
    return torch.minimum(torch.maximum(x, stacked.amin(0)), stacked.amax(0))


def _magmax(*deltas: Tensor) -> Tensor:
    stacked = torch.stack(deltas)
    return stacked.gather(0, stacked.abs().argmax(0, keepdim=True))[0]


def _nearswap(a: Tensor, b: Tensor) -> Tensor:
    share = (0.7 / (a - b).abs()).clamp(0, 1)
    return share * b + (1 - share) * a


CASES = (
    Case("{op: clamp, input: x, within: [a, b, c]}", _clamp, 0.0),
    Case("{op: magmax, inputs: [a, b, c]}", _magmax, 0.0),
    Case("{op: magmax, base: w, inputs: [a, b]}", lambda w, a, b: _magmax(a - w, b - w)),
    Case("{op: nearswap, a: a, b: b, t: 0.7}", _nearswap),
)
