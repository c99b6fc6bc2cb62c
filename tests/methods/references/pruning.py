"""outliers, della and sce: by sorting whole tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.methods.references import Case, uniform


def _outliers(delta: Tensor, density: float, gamma: float) -> Tensor:
    n = delta.numel()
    k = int(density * n)
    top = min(int(gamma * n), n - k)
    places = delta.abs().view(-1).argsort(descending=True)[top : top + k]
    kept = torch.zeros_like(delta).view(-1)
    kept[places] = delta.view(-1)[places]
    return kept.view(delta.shape)


def _chances(delta: Tensor, density: float, epsilon: float) -> Tensor:
    ranks = delta.abs().argsort(-1).argsort(-1).double()
    return density - epsilon + 2 * epsilon * ranks / (delta.shape[-1] - 1)


def _della(delta: Tensor, *, whole: bool = False) -> Tensor:
    rows = delta.view(1, -1) if whole else delta
    chances = _chances(rows, 0.4, 0.1).view(delta.shape)
    return delta * (uniform(0, delta.shape) < chances) / chances


def _della_l1(delta: Tensor) -> Tensor:
    kept = delta * (uniform(0, delta.shape) < _chances(delta, 0.4, 0.1))
    return kept * delta.abs().sum() / kept.abs().sum()


def _sce(*deltas: Tensor, share: float) -> Tensor:
    stacked = torch.stack(deltas)
    variance = stacked.var(0, unbiased=False)
    k = int(share * int((variance > 0).sum()))
    threshold = variance.view(-1).sort(descending=True).values[k - 1] if share < 1 else -1.0
    selected = stacked * (variance >= threshold)
    weights = selected.square().mean(dim=tuple(range(1, selected.dim()))).reshape(-1, *[1] * deltas[0].dim())
    sign = (selected.sum(0) >= 0).double() * 2 - 1
    survives = (selected * sign > 0).double()
    divisor = (weights * survives).sum(0)
    return (weights * selected * survives).sum(0) / divisor.where(divisor != 0, 1.0)


CASES = (
    Case("{op: outliers, input: d, density: 0.6, gamma: 0.05}", lambda d: _outliers(d, 0.6, 0.05), 0.0),
    Case("{op: outliers, input: d, density: 0.6, gamma: 0.9, scope: model}", lambda d: _outliers(d, 0.6, 0.9), 0.0),
    Case("{op: outliers, input: d, density: 0.5, rescale: expected}", lambda d: 2 * _outliers(d, 0.5, 0.01)),
    Case("{op: della, input: d, density: 0.4, epsilon: 0.1}", _della),
    Case("{op: della, input: d, density: 0.4, epsilon: 0.1, axis: tensor}", lambda d: _della(d, whole=True)),
    Case("{op: della, input: d, density: 0.4, epsilon: 0.1, rescale: l1}", _della_l1),
    Case("{op: sce, inputs: [a, b, c], select_topk: 0.2}", lambda *d: _sce(*d, share=0.2), 1e-6),
    Case("{op: sce, inputs: [a, b], select_topk: 1.0}", lambda *d: _sce(*d, share=1.0), 1e-6),
)
