"""The checkpoints and adapters that a recipe names: what a save needs is opened, each once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Protocol, TypeVar

from mergegraph.errors import InputError, Problem, raise_errors
from mergegraph.graph import needed_adapters, needed_loads
from mergegraph.methods.load import Load
from mergegraph.methods.lora import Lora
from mergegraph.recipe.model import Node, Recipe
from mergegraph.tensors.adapter import Adapter, open_adapter
from mergegraph.tensors.checkpoint import Checkpoint, open_checkpoint
from mergegraph.tensors.header import DEFAULT_HEADER_BYTES

_Opened = TypeVar("_Opened")


class Opening(Protocol):
    """How a checkpoint is opened: as `open_checkpoint` does it, or from what was opened before."""

    def __call__(
        self, reference: str, folder: Path, subfolder: str | None = None, *, max_header_bytes: int
    ) -> Checkpoint: ...


def open_inputs(
    recipe: Recipe, max_header_bytes: int = DEFAULT_HEADER_BYTES, opening: Opening = open_checkpoint
) -> dict[str, Checkpoint]:
    """The checkpoint of every load node that a save needs. InputError lists what cannot be opened."""

    def opened(node: Node) -> Checkpoint:
        method = node.method
        assert isinstance(method, Load)
        return opening(method.model, node.folder, method.subfolder, max_header_bytes=max_header_bytes)

    def place(node: Node) -> Hashable:
        assert isinstance(node.method, Load)
        return node.method.model, str(node.folder), node.method.subfolder

    return _each_once(recipe, needed_loads(recipe), "model", place, opened)


def open_adapters(recipe: Recipe, max_header_bytes: int = DEFAULT_HEADER_BYTES) -> dict[str, Adapter]:
    """The adapter of every lora node that a save needs. InputError lists what cannot be opened."""

    def opened(node: Node) -> Adapter:
        assert isinstance(node.method, Lora)
        return open_adapter(node.method.adapter, node.folder, max_header_bytes=max_header_bytes)

    def place(node: Node) -> Hashable:
        assert isinstance(node.method, Lora)
        return node.method.adapter, str(node.folder)

    return _each_once(recipe, needed_adapters(recipe), "adapter", place, opened)


def _each_once(
    recipe: Recipe,
    names: Iterable[str],
    field: str,
    place: Callable[[Node], Hashable],
    opened: Callable[[Node], _Opened],
) -> dict[str, _Opened]:
    """What the nodes name, opened once for each `place`. InputError says at which `field` something is wrong, once."""
    by_place: dict[Hashable, _Opened | None] = {}
    problems: list[Problem] = []
    for name in names:
        node = recipe.nodes[name]
        if place(node) not in by_place:
            try:
                by_place[place(node)] = opened(node)
            except InputError as error:
                by_place[place(node)] = None
                problems += [problem.located(node.where((field,)), name) for problem in error.problems]
    raise_errors(problems, InputError)
    found = {name: by_place[place(recipe.nodes[name])] for name in names}
    return {name: each for name, each in found.items() if each is not None}
