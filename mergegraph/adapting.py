"""The adapters of a recipe: opened once each, and fitted to the tensors of the model that their node names."""

from __future__ import annotations

from collections.abc import Mapping

from mergegraph.errors import InputError, Problem, raise_errors
from mergegraph.graph import GraphNode, needed_adapters
from mergegraph.methods.base import TensorType
from mergegraph.methods.lora import Lora
from mergegraph.recipe.model import Recipe
from mergegraph.tensors.adapter import Adapter, Target, open_adapter, targets
from mergegraph.tensors.header import DEFAULT_HEADER_BYTES


def open_adapters(recipe: Recipe, max_header_bytes: int = DEFAULT_HEADER_BYTES) -> dict[str, Adapter]:
    """The adapter of every lora node that a save needs. InputError lists what cannot be opened."""
    opened: dict[str, Adapter] = {}
    once: dict[tuple[str, str], Adapter | None] = {}
    problems: list[Problem] = []
    for name in needed_adapters(recipe):
        node = recipe.nodes[name]
        assert isinstance(node.method, Lora)
        key = (node.method.adapter, str(node.folder))
        if key not in once:
            try:
                once[key] = open_adapter(node.method.adapter, node.folder, max_header_bytes=max_header_bytes)
            except InputError as error:
                once[key] = None
                problems += [problem.located(node.where(("adapter",)), name) for problem in error.problems]
        adapter = once[key]
        if adapter is not None:
            opened[name] = adapter
    raise_errors(problems, InputError)
    return opened


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
