"""elect and ties, from the TIES paper: sign of the weighted sum, mean of those that agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tests.methods.references import Case
from tests.methods.references.selection import largest


def elect(
    weights: Sequence[float], *, count: bool = False, mean: bool = True, unweighted: bool = False
) -> Callable[..., Tensor]:
    def formula(*deltas: Tensor) -> Tensor:
        w = torch.tensor(weights, dtype=torch.float64).reshape(-1, *[1] * deltas[0].dim())
        stacked = torch.stack(deltas)
        votes = torch.ones_like(w) if unweighted else w
        cast = votes * (stacked.sign() if count else stacked)
        sign = (cast.sum(0) >= 0).double() * 2 - 1
        agrees = ((votes * stacked).sign() == sign).double()
        total = (w * stacked * agrees).sum(0)
        divisor = (w * agrees).sum(0)
        return total / divisor.where(divisor != 0, 1.0) if mean else total

    return formula


def _ties(*deltas: Tensor) -> Tensor:
    return elect([1.0, 0.5, 2.0])(*(largest(d, share) for d, share in zip(deltas, (0.3, 0.5, 1.0), strict=True)))


def _paper(*deltas: Tensor) -> Tensor:
    return elect([1.0, 0.5], unweighted=True)(*(largest(delta, 0.3) for delta in deltas))


CASES = (
    Case("{op: elect, inputs: [a, {from: b, weight: 0.5}, {from: c, weight: 2}]}", elect([1, 0.5, 2])),
    Case("{op: elect, inputs: [a, b, c], sign: count}", elect([1, 1, 1], count=True)),
    Case("{op: elect, inputs: [a, {from: b, weight: -0.5}, c], combine: sum}", elect([1, -0.5, 1], mean=False)),
    Case("{op: elect, inputs: [a, {from: b, weight: 0.2}, c], vote: unweighted}", elect([1, 0.2, 1], unweighted=True)),
    Case("{op: elect, base: w, inputs: [a, b]}", lambda w, a, b: elect([1, 1])(a - w, b - w), 1e-6),
    Case(
        "{op: ties, inputs: [a, {from: b, weight: 0.5, density: 0.5}, {from: c, weight: 2, density: 1}], density: 0.3}",
        _ties,
    ),
    Case("{op: ties, inputs: [a, {from: b, weight: 0.5}], density: 0.3, preset: paper}", _paper),
)
