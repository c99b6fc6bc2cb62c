"""A record made the slow and obvious way: whole tensors, float64, one formula after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, combinations_with_replacement
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from mergegraph.stats.record import Change, Outcome, Pair, Record, TensorRecord, Together

Model = Mapping[str, Tensor]

MODELS = Path(__file__).resolve().parents[2] / "recipes/models"


def record(sources: Mapping[str, Model], base: Model | None = None, result: Model | None = None) -> Record:
    """`result` is W* before it is rounded; it is rounded to the dtype of the first source."""
    names = list(next(iter(sources.values())))
    tensors = tuple(
        tensor_record(
            name,
            [source[name] for source in sources.values()],
            None if base is None else base[name],
            None if result is None else result[name],
        )
        for name in names
    )
    return Record(
        "" if base is None else "base", tuple(sources), "" if result is None else "merged", tensors, recipe="made"
    )


def tensor_record(name: str, weights: Sequence[Tensor], base: Tensor | None, result: Tensor | None) -> TensorRecord:
    stored = weights[0].dtype
    start = torch.zeros_like(weights[0]).double() if base is None else base.double()
    sources = [weight.double() - start for weight in weights]
    changes = sources if result is None else [*sources, result.double() - start]
    counted = [x.nan_to_num(0.0, 0.0, 0.0) for x in (start, *changes)]
    return TensorRecord(
        name,
        str(stored).removeprefix("torch."),
        tuple(weights[0].shape),
        tuple(float((a * b).sum()) for a, b in combinations_with_replacement(counted, 2)),
        tuple(map(change, changes)),
        {(i, j): pair(sources[i], sources[j]) for i, j in combinations(range(len(sources)), 2)},
        together(sources),
        None if result is None else outcome(weights, base, result, stored),
        counted=weights[0].numel(),
    )


def change(x: Tensor) -> Change:
    finite = x[torch.isfinite(x)]
    return Change(
        float(finite.sum()),
        float(finite.abs().sum()),
        float((finite**3).sum()),
        float((finite**4).sum()),
        float(finite.abs().max()) if finite.numel() else 0.0,
        int((x == 0).sum()),
        int((~torch.isfinite(x)).sum()),
        exponents(finite),
    )


def exponents(x: Tensor) -> dict[int, tuple[int, float]]:
    """frexp writes |x| as m·2^e with m in [1/2, 1): the float's own exponent is e - 1."""
    x = x[x != 0]
    own = torch.frexp(x).exponent - 1
    if not x.numel():
        return {}
    least = int(own.min())
    counts, energies = torch.bincount(own - least), torch.bincount(own - least, x**2)
    return {least + int(e): (int(counts[e]), float(energies[e])) for e in counts.nonzero()[:, 0]}


def pair(a: Tensor, b: Tensor) -> Pair:
    both = (a != 0) & (b != 0) & _finite(a, b)
    return Pair(int(both.sum()), int((both & (a.sign() != b.sign())).sum()))


def together(changes: Sequence[Tensor]) -> Together:
    stacked = torch.stack(list(changes))
    stacked = stacked[:, torch.isfinite(stacked).all(0)]
    winner = stacked.abs().argmax(0)
    counted = stacked.abs().amax(0) > 0
    return Together(
        float(stacked.sum(0).abs().sum()),
        tuple(int(((winner == i) & counted).sum()) for i in range(len(changes))),
    )


def outcome(weights: Sequence[Tensor], base: Tensor | None, result: Tensor, stored: torch.dtype) -> Outcome:
    models = torch.stack([each.double() for each in (*weights, *([] if base is None else [base]))])
    result = result.double()
    rounded = result.to(stored).double()
    start = torch.zeros_like(result) if base is None else base.double()
    return Outcome(
        int(((result < models.amin(0)) | (result > models.amax(0))).sum()),
        float(((rounded - result)[torch.isfinite(rounded - result)] ** 2).sum()),
        int(((rounded == start.to(stored).double()) & (result != start)).sum()),
        int((torch.isinf(rounded) & torch.isfinite(result)).sum()),
    )


def combined(base: Model, sources: Sequence[Model], coefficients: Sequence[float]) -> dict[str, Tensor]:
    """W0 + Σ c_i τ_i in float64."""
    return {
        name: weight.double()
        + sum((c * (s[name].double() - weight.double()) for c, s in zip(coefficients, sources, strict=True)))
        for name, weight in base.items()
    }


def checkpoint(name: str) -> dict[str, Tensor]:
    """One of the models beside the recipes, `tiny-llama/base` say."""
    return load_file(MODELS / name / "model.safetensors")


def _finite(*tensors: Tensor) -> Tensor:
    return torch.stack([torch.isfinite(each) for each in tensors]).all(0)
