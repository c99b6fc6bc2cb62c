"""What a node of a recipe gives for tensors in memory: for tests of single values."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import torch
import yaml
from torch import Tensor

from mergegraph.errors import Problem
from mergegraph.methods.base import Method, Parameters
from mergegraph.methods.registry import methods
from mergegraph.schedule import resolve_schedule
from tests.methods.bench import Models, expression, tiled


def node(text: str) -> Method:
    """A method, from the fields of a node."""
    fields = yaml.safe_load(text)
    return methods()[fields["op"]].model_validate(fields)


def outcome(text: str, *operands: Tensor, tile: int = 1 << 30) -> Tensor:
    """The node's result in float32, one operand for each edge; operands of one shape."""
    models = Models([operand.float() for operand in operands], "F32")
    shape = tuple(operands[0].shape)
    raw = tiled(expression(node(text), models.reads), models, tile, shape, "F32")
    return torch.frombuffer(bytearray(raw), dtype=torch.float32).view(shape) if raw else torch.empty(shape)


def objection(text: str) -> Problem | None:
    """What the method has against its own numbers."""
    method = node(text)
    schedules = {path: resolve_schedule(each, ["w"], field="", tied=False)[0] for path, each in method.coefficients()}
    return method.objection(Parameters({path: Fraction(each.value("w")) for path, each in schedules.items()}))


def rows(*numbers: Sequence[float]) -> Tensor:
    """A matrix in float32."""
    return torch.tensor(numbers, dtype=torch.float32)
