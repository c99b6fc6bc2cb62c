"""An adapter of a recipe is fitted to the tensors of the model that its node names."""

from __future__ import annotations

from collections.abc import Mapping

from mergegraph.errors import Problem
from mergegraph.graph import GraphNode
from mergegraph.methods.base import TensorType
from mergegraph.tensors.adapter import Adapter
from mergegraph.tensors.adapter_targets import Target, targets


def fitted(
    node: GraphNode, adapter: Adapter, base: Mapping[str, TensorType], found: list[Problem]
) -> dict[str, Target]:
    """What the adapter adds to which tensors of `base`, in their order; what is wrong goes into `found`."""
    shapes = {name: kind.shape for name, kind in base.items()}
    at = node.source.where(("adapter",))
    changed, problems = targets(adapter, shapes, node.inputs[0])
    problems += [_not_floating(name, base[name]) for name in changed if not base[name].dtype.is_float]
    found += [problem.located(at, node.written_as) for problem in problems]
    return changed


def _not_floating(name: str, kind: TensorType) -> Problem:
    return Problem(
        f"The adapter changes {name}, which is {kind.dtype.torch_name or kind.dtype.code}.",
        tensor=name,
        fix="give a base in bfloat16, float16 or float32",
    )
