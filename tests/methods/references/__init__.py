"""What every non-linear operation should give: its paper's formula on whole float64 tensors, one file an idea.

A file defines `CASES`. A case is a node of a recipe and the formula for it, written from the paper or the docstring,
never from the kernel. A new operation adds a file here; nothing is listed by hand.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mergegraph.execute.noise import fill_uniform


@dataclass(frozen=True)
class Case:
    """`formula` takes one float64 tensor for each edge of the node, in the order of `Method.edges()`.

    `tolerance`: how far float32 may be from it, as a share of the largest element.
    """

    node: str
    formula: Callable[..., Tensor]
    tolerance: float = 3e-7


def uniform(edge: int, shape: tuple[int, ...]) -> Tensor:
    """The random numbers that the tests give to edge number `edge`, as float64."""
    drawn = torch.empty(shape, dtype=torch.float32).view(-1)
    fill_uniform(drawn, 1000 + edge, 0, torch.empty_like(drawn))
    return drawn.view(shape).double()


def cases() -> list[Case]:
    """Every case of every file of this folder."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    return [case for module in modules for case in module.CASES]
