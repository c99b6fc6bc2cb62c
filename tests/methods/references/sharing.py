"""ram and ram_plus: unique changes whole, shared ones averaged."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.methods.references import Case


def _ram(*deltas: Tensor, epsilon: float, relative: bool = False, plus: tuple[float, float] | None = None) -> Tensor:
    on = torch.stack([d.abs() > epsilon * (d.square().mean().sqrt() if relative else 1.0) for d in deltas])
    number = on.sum(0)
    out = torch.zeros_like(deltas[0])
    for index, delta in enumerate(deltas):
        alone, together = on[index] & (number == 1), on[index] & (number > 1)
        factor = 1.0
        if plus is not None:
            factor += plus[0] * min(float(together.sum()) / max(float(alone.sum()), 1e-300), plus[1])
        out[alone] += factor * delta[alone]
        out[together] += (delta / number)[together]
    return out


CASES = (
    Case("{op: ram, inputs: [a, b, c], epsilon: 0.8}", lambda *d: _ram(*d, epsilon=0.8)),
    Case("{op: ram, inputs: [a, b], epsilon: 0.5, relative: true}", lambda *d: _ram(*d, epsilon=0.5, relative=True)),
    Case(
        "{op: ram_plus, inputs: [a, b, c], epsilon: 0.8, r: 0.3, alpha: 0.9}",
        lambda *d: _ram(*d, epsilon=0.8, plus=(0.3, 0.9)),
    ),
    Case(
        "{op: ram_plus, inputs: [a, b], epsilon: 1.5, r: 0.3, alpha: 9.0, relative: true}",
        lambda *d: _ram(*d, epsilon=1.5, relative=True, plus=(0.3, 9.0)),
    ),
)
