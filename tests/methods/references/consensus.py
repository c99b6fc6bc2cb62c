"""consensus: the sum where enough tasks use it."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.methods.references import Case


def _consensus(*deltas: Tensor, threshold: float, agreeing: int) -> Tensor:
    stacked = torch.stack(deltas)
    total = stacked.sum(0)
    uses = stacked.abs() >= threshold * (total - stacked).abs()
    return total * (uses.sum(0) >= agreeing)


CASES = (
    Case("{op: consensus, inputs: [a, b, c]}", lambda *d: _consensus(*d, threshold=0.4, agreeing=2)),
    Case(
        "{op: consensus, inputs: [a, b, c], threshold: 1.1, agreeing: 3}",
        lambda *d: _consensus(*d, threshold=1.1, agreeing=3),
    ),
)
