"""nuslerp, multislerp, karcher: two inputs by angle, several by direction."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tests.methods.references import Case


def _arc(a: Tensor, b: Tensor, t: float, dim: tuple[int, ...] = (0, 1)) -> Tensor:
    """Unit vectors first, so that it is another way to the angle than that of the kernel."""
    u, v = (x / x.square().sum(dim, keepdim=True).sqrt() for x in (a, b))
    angle = 2 * torch.arcsin((u - v).square().sum(dim, keepdim=True).sqrt() / 2)
    return (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)


def _mean_length(inputs: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    norms = torch.stack([x.norm() for x in inputs])
    return (norms * torch.tensor(weights, dtype=torch.float64)).sum() / sum(weights)


def _multislerp(*weights: float) -> Callable[..., Tensor]:
    def formula(*inputs: Tensor) -> Tensor:
        mean = sum((w * x / x.norm() for w, x in zip(weights, inputs, strict=True)), torch.zeros_like(inputs[0]))
        return mean / mean.norm() * _mean_length(inputs, weights)

    return formula


def _karcher(steps: int, *weights: float) -> Callable[..., Tensor]:
    """On the vectors themselves: logarithm, mean of the tangents, exponential."""

    def formula(*inputs: Tensor) -> Tensor:
        units = [x / x.norm() for x in inputs]
        shares = [w / sum(weights) for w in weights]
        mean = sum((w * u for w, u in zip(shares, units, strict=True)), torch.zeros_like(units[0]))
        mean = mean / mean.norm()
        for _ in range(steps):
            step = torch.zeros_like(mean)
            for share, unit in zip(shares, units, strict=True):
                aside = unit - (unit * mean).sum() * mean
                step += share * torch.arctan2(aside.norm(), (unit * mean).sum()) * aside / aside.norm()
            mean = torch.cos(step.norm()) * mean + torch.sin(step.norm()) * step / step.norm()
        return mean * _mean_length(inputs, weights)

    return formula


_PAIR = "inputs: [{from: a, weight: 3}, {from: b, weight: 1}]"

CASES = (
    Case(f"{{op: nuslerp, {_PAIR}}}", lambda a, b: _arc(a, b, 0.25)),
    Case("{op: nuslerp, inputs: [{from: a, weight: 1}, {from: b, weight: -1}]}", lambda a, b: _arc(a, b, 0.5)),
    Case(f"{{op: nuslerp, {_PAIR}, axis: row}}", lambda a, b: _arc(a, b, 0.25, (1,))),
    Case(f"{{op: nuslerp, {_PAIR}, axis: column}}", lambda a, b: _arc(a, b, 0.25, (0,))),
    Case(f"{{op: nuslerp, base: w, {_PAIR}}}", lambda w, a, b: _arc(a - w, b - w, 0.25), 1e-6),
    Case("{op: multislerp, inputs: [{from: a, weight: 2}, b, {from: c, weight: 0.5}]}", _multislerp(2, 1, 0.5)),
    Case(
        "{op: multislerp, base: w, inputs: [a, {from: b, weight: 3}]}",
        lambda w, a, b: _multislerp(1, 3)(a - w, b - w),
        1e-6,
    ),
    Case("{op: karcher, inputs: [a, b, c], tol: 0}", _karcher(10, 1, 1, 1)),
    Case("{op: karcher, inputs: [{from: a, weight: 5}, b, c], max_iter: 1, tol: 0}", _karcher(1, 5, 1, 1)),
    Case("{op: karcher, inputs: [{from: a, weight: 5}, b, c], max_iter: 200, tol: 1e-12}", _karcher(200, 5, 1, 1)),
    Case(
        "{op: karcher, base: w, inputs: [a, {from: b, weight: 3}], tol: 0}",
        lambda w, a, b: _karcher(10, 1, 3)(a - w, b - w),
        1e-6,
    ),
)
