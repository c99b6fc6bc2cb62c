"""The spectral operations, from the singular value decompositions that their papers write down."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tests.methods.references import Case

svd = torch.linalg.svd  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]


def _triplets(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """U, the singular values, and Vᵀ; strongest first."""
    u, s, vh = svd(matrix, full_matrices=False)
    return u, s, vh


def _polar(matrix: Tensor) -> Tensor:
    """The orthonormal set nearest to the columns, or the rows, of a matrix; what vanishes has none."""
    u, s, vh = _triplets(matrix)
    return (u * (s > 1e-6 * s[0])) @ vh


def low_rank(delta: Tensor, rank: int) -> Tensor:
    u, s, vh = _triplets(delta)
    return u[:, :rank] @ torch.diag(s[:rank]) @ vh[:rank]


def _of_energy(delta: Tensor, energy: float) -> Tensor:
    squares = torch.linalg.svdvals(delta).square()
    rank = next(r for r in range(1, len(squares) + 1) if squares[:r].sum() >= energy * squares.sum())
    return low_rank(delta, rank)


def tsv(*deltas: Tensor) -> Tensor:
    share = max(1, min(deltas[0].shape) // len(deltas))
    found = [_triplets(delta) for delta in deltas]
    u = torch.cat([u[:, :share] for u, _, _ in found], dim=1)
    s = torch.cat([s[:share] for _, s, _ in found])
    vh = torch.cat([vh[:share] for _, _, vh in found])
    return _polar(u) @ torch.diag(s) @ _polar(vh)


def iso_c(*deltas: Tensor) -> Tensor:
    u, s, vh = _triplets(torch.stack(deltas).sum(0))
    return s.mean() * u @ vh


def iso_cts(common_fraction: float) -> Callable[..., Tensor]:
    def formula(*deltas: Tensor) -> Tensor:
        rank, tasks = min(deltas[0].shape), len(deltas)
        own = round((rank - int(rank * common_fraction)) / tasks)
        common = rank - own * tasks
        u, s, vh = (part for part in _triplets(torch.stack(deltas).sum(0)))
        u, s, vh = [u[:, :common]], [s[:common]], [vh[:common]]
        for delta in deltas:
            rest = _triplets(delta - u[0] @ (u[0].T @ delta))
            u, s, vh = [*u, rest[0][:, :own]], [*s, rest[1][:own]], [*vh, rest[2][:own]]
        return torch.cat(s).mean() * _polar(torch.cat(u, dim=1)) @ _polar(torch.cat(vh))

    return formula


def disturbance(merged: Tensor, deltas: tuple[Tensor, ...]) -> Tensor:
    """The loss that wudi descends on."""
    return torch.stack([((merged - d) @ d.T).square().sum() / d.square().sum() for d in deltas]).sum()


def wudi(*deltas: Tensor, steps: int = 300, lr: float = 1e-5) -> Tensor:
    merged = torch.stack(deltas).sum(0).requires_grad_()
    descent = torch.optim.Adam([merged], lr=lr)
    for _ in range(steps):
        descent.zero_grad()
        disturbance(merged, deltas).backward()  # pyright: ignore[reportUnknownMemberType]
        descent.step()  # pyright: ignore[reportUnknownMemberType]
    return merged.detach()


def wudi_exact(*deltas: Tensor) -> Tensor:
    """min |y A - B|² with the blocks d_iᵀ / |d_i| of A and d_i d_iᵀ / |d_i| of B."""
    a = torch.cat([delta.T / delta.norm() for delta in deltas], dim=1)
    b = torch.cat([delta @ delta.T / delta.norm() for delta in deltas], dim=1)
    return b @ torch.linalg.pinv(a)


def svc(alpha: float) -> Callable[..., Tensor]:
    def formula(merged: Tensor, *deltas: Tensor) -> Tensor:
        u, s, vh = _triplets(merged)
        calmed = torch.zeros_like(merged)
        for r in range(len(s)):
            response = u[:, r] @ merged
            own = [u[:, r] @ delta for delta in deltas]
            counted = sum(max(alpha, float(response @ a / (a @ a))) for a in own)
            calmed += len(deltas) / counted * s[r] * torch.outer(u[:, r], vh[r])
        return calmed

    return formula


def knots(density: float | None) -> Callable[..., Tensor]:
    def formula(*deltas: Tensor) -> Tensor:
        u, s, vh = _triplets(torch.cat(deltas, dim=1))
        kept = int((s >= 1e-4 * s[0]).sum())
        parts = vh[:kept].split(deltas[0].shape[1], dim=1)
        merged = torch.stack(parts).mean(0) if density is None else _ties(torch.stack(parts), density)
        return u[:, :kept] @ torch.diag(s[:kept]) @ merged

    return formula


def _ties(parts: Tensor, density: float) -> Tensor:
    count = max(1, int(density * parts[0].numel()))
    smallest = parts.abs().flatten(1).sort(dim=1, descending=True).values[:, count - 1]
    trimmed = parts * (parts.abs() >= smallest.view(-1, 1, 1))
    agrees = trimmed.sign() * trimmed.sum(0).sign() > 0
    return torch.nan_to_num((trimmed * agrees).sum(0) / agrees.sum(0))


CASES = (
    Case("{op: low_rank, input: d, rank: 5}", lambda d: low_rank(d, 5)),
    Case("{op: low_rank, input: d, rank: 1000}", lambda d: d, 0.0),
    Case("{op: low_rank, input: d, energy: 0.7}", lambda d: _of_energy(d, 0.7)),
    Case("{op: low_rank, base: w, input: d, rank: 3}", lambda w, d: low_rank(d - w, 3)),
    Case("{op: tsv, inputs: [a, b]}", tsv),
    Case("{op: tsv, inputs: [a, b, c]}", tsv),
    Case("{op: tsv, base: w, inputs: [a, b]}", lambda w, a, b: tsv(a - w, b - w)),
    Case("{op: iso_c, inputs: [a, b, c]}", iso_c),
    Case("{op: iso_cts, inputs: [a, b]}", iso_cts(0.8)),
    Case("{op: iso_cts, inputs: [a, b, c], common_fraction: 0.3}", iso_cts(0.3)),
    Case("{op: wudi, inputs: [a, b, c]}", wudi),
    Case("{op: wudi, inputs: [a, b], steps: 20, lr: 0.01}", lambda a, b: wudi(a, b, steps=20, lr=0.01)),
    Case("{op: wudi, inputs: [a, b, c], solver: exact}", wudi_exact),
    Case("{op: svc, input: m, of: [a, b]}", svc(1.0)),
    Case("{op: svc, input: m, of: [a, b, c], alpha: 0.1}", svc(0.1)),
    Case("{op: knots, inputs: [a, b, c]}", knots(None)),
    Case("{op: knots, inputs: [a, b, c], combine: ties, density: 0.4}", knots(0.4)),
)
