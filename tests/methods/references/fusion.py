"""arcee_fusion: the elements of b whose change is important, by sorting."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.methods.references import Case


def fused(a: Tensor, b: Tensor) -> Tensor:
    """b where its change is important, a elsewhere."""
    p, q = torch.softmax(b, -1) + 1e-8, torch.softmax(a, -1) + 1e-8
    importance = (b - a).abs() * (p * (p.log() - q.log())).sum(-1, keepdim=True)
    ordered = importance.flatten().sort().values
    first, median, third = (ordered[int(q * (ordered.numel() - 1))] for q in (0.25, 0.5, 0.75))
    return torch.where(importance >= median + 1.5 * (third - first), b, a)


CASES = (Case("{op: arcee_fusion, a: a, b: b}", fused, 0.0),)
