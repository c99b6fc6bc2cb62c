"""model_stock: the average of the fine-tunes and the base, by the mean cosine of the changes."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from tests.methods.references import Case


def _stock(base: Tensor, *tunes: Tensor, dim: tuple[int, ...] = (0, 1), bounded: bool = False) -> Tensor:
    count = len(tunes)
    pairs = list(combinations([tune - base for tune in tunes], 2))
    cosines = [
        (x * y).sum(dim, keepdim=True) / (x.square().sum(dim, keepdim=True) * y.square().sum(dim, keepdim=True)).sqrt()
        for x, y in pairs
    ]
    cosine = torch.stack(cosines).mean(0)
    t = count * cosine / ((count - 1) * cosine + 1)
    t = t.clamp(0, 1) if bounded else t
    return t * torch.stack(tunes).mean(0) + (1 - t) * base


CASES = (
    Case("{op: model_stock, base: w, inputs: [a, b]}", _stock),
    Case("{op: model_stock, base: w, inputs: [a, b, c]}", _stock),
    Case("{op: model_stock, base: w, inputs: [a, b, c], axis: row}", lambda *x: _stock(*x, dim=(1,))),
    Case(
        "{op: model_stock, base: w, inputs: [a, b], axis: row, clamp: true}",
        lambda *x: _stock(*x, dim=(1,), bounded=True),
    ),
)
