"""Every metric as one line of plain torch over whole tensors in float64, which knows nothing of records."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

import torch
from torch import Tensor


@dataclass(frozen=True)
class Plain:
    """W0, τ_1 … τ_k and W*, in float64, and the dtype that W* is rounded to."""

    base: Tensor
    sources: tuple[Tensor, ...]
    merged: Tensor
    dtype: torch.dtype

    @classmethod
    def of(cls, base: Tensor, weights: Sequence[Tensor], merged: Tensor) -> Plain:
        """`merged` is rounded to the dtype of the first of `weights`."""
        wide = base.double()
        return cls(wide, tuple(each.double() - wide for each in weights), merged.double(), weights[0].dtype)

    @property
    def star(self) -> Tensor:
        return self.merged - self.base

    @property
    def every(self) -> tuple[Tensor, ...]:
        return *self.sources, self.star

    @property
    def pairs(self) -> list[tuple[Tensor, Tensor]]:
        return list(combinations(self.sources, 2))

    @property
    def models(self) -> tuple[Tensor, ...]:
        return self.base, *(self.base + tau for tau in self.sources)

    @property
    def rounded(self) -> Tensor:
        return self.merged.to(self.dtype).double()

    @property
    def solved(self) -> list[float]:
        columns = torch.stack([tau.flatten() for tau in self.sources], 1)
        return torch.linalg.lstsq(columns, self.star.flatten()[:, None]).solution[:, 0].tolist()

    @property
    def explained(self) -> Tensor:
        return sum((c * tau for c, tau in zip(self.solved, self.sources, strict=True)), torch.zeros(()))


def cosine(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum() / a.norm() / b.norm())


def share(mask: Tensor) -> float:
    return float(mask.double().mean())


def moment(x: Tensor, order: int) -> float:
    return float(((x - x.mean()) ** order).mean())


def conflict(a: Tensor, b: Tensor) -> float:
    return int((a * b < 0).sum()) / int((a * b != 0).sum())


def both(a: Tensor, b: Tensor) -> int:
    return int(((a != 0) & (b != 0)).sum())


def wins(taus: Sequence[Tensor]) -> list[float]:
    size, first = torch.stack([tau.abs() for tau in taus]).max(0)
    return [share((first == i) & (size > 0)) for i in range(len(taus))]


def holding(x: Tensor, wanted: float) -> float:
    energies = (x.flatten() ** 2).sort(descending=True).values.cumsum(0)
    return (int((energies < wanted * energies[-1]).sum()) + 1) / x.numel()


METRICS: dict[str, Callable[[Plain], list[float]]] = {
    "relative": lambda p: [float(t.norm() / p.base.norm()) for t in p.every],
    "norm": lambda p: [float(t.norm()) for t in p.every],
    "rms": lambda p: [float((t**2).mean().sqrt()) for t in p.every],
    "largest": lambda p: [float(t.abs().max()) for t in p.every],
    "base_norm": lambda p: [float(p.base.norm())],
    "mean": lambda p: [float(t.mean()) for t in p.every],
    "std": lambda p: [float(t.std(correction=0)) for t in p.every],
    "kurtosis": lambda p: [moment(t, 4) / moment(t, 2) ** 2 for t in p.every],
    "zeros": lambda p: [share(t == 0) for t in p.every],
    "nonfinite": lambda p: [float((~torch.isfinite(t)).sum()) for t in p.every],
    "density_90": lambda p: [holding(t, 0.9) for t in p.every],
    "density_99": lambda p: [holding(t, 0.99) for t in p.every],
    "cosine": lambda p: [cosine(a, b) for a, b in p.pairs],
    "z": lambda p: [cosine(a, b) * math.sqrt(both(a, b)) for a, b in p.pairs],
    "projection": lambda p: [float((a * b).sum() / (b**2).sum()) for a, b in permutations(p.sources, 2)],
    "sign_conflict": lambda p: [conflict(a, b) for a, b in p.pairs],
    "weight_cosine": lambda p: [cosine(a, b) for a, b in combinations(p.models, 2)],
    "asymmetry": lambda p: [float(max(t.norm() for t in p.sources) / min(t.norm() for t in p.sources))],
    "mass_conflict": lambda p: [1 - float(sum(p.sources).abs().sum() / sum(t.abs().sum() for t in p.sources))],
    "winner_share": lambda p: wins(p.sources),
    "retention": lambda p: [float((p.star * t).sum() / (t * t).sum()) for t in p.sources],
    "attribution": lambda p: p.solved,
    "residual": lambda p: [float((p.star - p.explained).norm() ** 2 / p.star.norm() ** 2)],
    "shrinkage": lambda p: [float(p.star.norm() / torch.stack([t.norm() for t in p.sources]).mean())],
    "outside_hull": lambda p: [
        share((p.merged < torch.stack(p.models).amin(0)) | (p.merged > torch.stack(p.models).amax(0)))
    ],
    "cast_loss": lambda p: [float((p.rounded - p.merged).norm() / p.star.norm())],
    "rounded_away": lambda p: [int(((p.rounded == p.base) & (p.star != 0)).sum()) / int((p.star != 0).sum())],
    "overflowed": lambda p: [float((torch.isinf(p.rounded) & torch.isfinite(p.merged)).sum())],
}
"""By name, in the order of a metric's subjects; of one tensor, or of all, laid end to end."""
