"""Plans of recipes over vectors of a few elements: no lineage to check, so any numbers will do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mergegraph import pipeline
from mergegraph.expr import Cast, Expr
from mergegraph.plan.plan import Output, OutputTensor, Plan
from mergegraph.plan.text import formula
from mergegraph.recipe.load import parse_recipe
from mergegraph.recipe.model import Recipe
from tests.tiny_models import write_model

MODELS = ("base", "a", "b", "c")


def vector(seed: int, elements: int = 4, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(elements, generator=torch.Generator().manual_seed(seed)).to(dtype)


def write_vectors(folder: Path, names: Sequence[str] = MODELS, **more: Mapping[str, torch.Tensor]) -> Path:
    """Models called `names`, each with one float32 tensor `w` of 4 elements, and those in `more` as given."""
    for seed, name in enumerate(names):
        write_model(folder / name, {"w": vector(seed)})
    for name, tensors in more.items():
        write_model(folder / name, tensors)
    return folder


def recipe(folder: Path, nodes: str) -> Recipe:
    """The recipe of `nodes` (YAML, unindented) with a load node for every model in `folder`."""
    loads = {
        path.name
        for path in folder.iterdir()
        if (path / "model.safetensors").is_file() or list(path.glob("*.index.json"))
    }
    head = "".join(f"  {name}: {{op: load, model: ./{name}}}\n" for name in sorted(loads))
    body = "".join(f"  {line}\n" for line in nodes.strip().splitlines())
    return parse_recipe(f"mergegraph: 1\nname: test\nnodes:\n{head}{body}", file="test.yaml", folder=folder)


def planned(folder: Path, nodes: str, **options: Any) -> Plan:
    """The plan of `nodes`; `options` as for `pipeline.plan`."""
    return pipeline.plan(recipe(folder, nodes), **options)


def tensor(output: Output, name: str = "w") -> OutputTensor:
    return next(each for each in output.tensors if each.name == name)


def value_of(root: Expr) -> Expr:
    """What is stored, before it is rounded."""
    return root.operand if isinstance(root, Cast) else root


def written(plan: Plan, output: Output, name: str = "w") -> str:
    """A tensor's formula with the names of load nodes."""
    labels = {file.path: file.label for file in plan.inputs}
    return formula(tensor(output, name).root, labels)
