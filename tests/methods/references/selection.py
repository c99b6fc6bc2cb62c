"""trim and outliers: the k largest magnitudes, by sorting."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.methods.references import Case, uniform


def largest(delta: Tensor, share: float) -> Tensor:
    """The max(1, int(share n)) largest elements of a tensor; all others are zero."""
    k = max(1, int(share * delta.numel()))
    kept = torch.zeros_like(delta).view(-1)
    places = delta.abs().view(-1).topk(k).indices
    kept[places] = delta.view(-1)[places]
    return kept.view(delta.shape)


def _sum_restored(delta: Tensor) -> Tensor:
    kept = largest(delta, 0.3)
    return kept * delta.abs().sum() / kept.abs().sum()


def _dare(delta: Tensor) -> Tensor:
    return delta * (uniform(0, delta.shape) < 0.3) / 0.3


def _dare_l1(delta: Tensor) -> Tensor:
    kept = delta * (uniform(0, delta.shape) < 0.3)
    return kept * delta.abs().sum() / kept.abs().sum()


CASES = (
    Case("{op: trim, input: d, density: 0.3}", lambda d: largest(d, 0.3), 0.0),
    Case("{op: trim, input: d, density: 0.00001}", lambda d: largest(d, 0.00001), 0.0),
    Case("{op: trim, input: d, density: 0.3, scope: model}", lambda d: largest(d, 0.3), 0.0),
    Case("{op: trim, input: d, density: 0.3, rescale: l1}", _sum_restored),
    Case("{op: trim, input: d, density: 0.3, rescale: expected}", lambda d: largest(d, 0.3) / 0.3),
    Case("{op: dare, input: d, density: 0.3}", _dare),
    Case("{op: dare, input: d, density: 0.3, rescale: l1}", _dare_l1),
    Case("{op: dare, input: d, density: 0.3, rescale: none}", lambda d: d * (uniform(0, d.shape) < 0.3), 0.0),
)
