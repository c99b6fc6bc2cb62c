"""slerp: along the great circle."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.methods.references import Case


def _slerp(a: Tensor, b: Tensor) -> Tensor:
    angle = torch.arccos((a * b).sum() / (a.norm() * b.norm()))
    return (torch.sin(0.7 * angle) * a + torch.sin(0.3 * angle) * b) / torch.sin(angle)


CASES = (Case("{op: slerp, a: a, b: b, t: 0.3}", _slerp),)
