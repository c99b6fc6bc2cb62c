"""`model: base+adapter` written out: the base, what the adapter adds, and their sum under the node's own name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path as FilePath

from mergegraph.methods.linear import Sum
from mergegraph.methods.load import Load
from mergegraph.methods.lora import Lora
from mergegraph.recipe.model import Node


def with_adapters(node: Node) -> tuple[Node, ...]:
    """`node`; after its base and its adapters when it loads `base+adapter`. Several adapters are all added.

    A path with a plus sign that exists is that path.
    """
    load = node.method
    if not isinstance(load, Load):
        return (node,)
    model, *adapters = _split(load.model, node.folder)
    if not adapters:
        return (node,)
    names = list(_names(node.name, len(adapters)))
    base = load.model_copy(update={"model": model, "skip": False})
    at = node.where(("model",))
    added = [Lora.model_validate({"adapter": adapter, "base": f"{node.name}.base"}) for adapter in adapters]
    total = Sum.model_validate({"inputs": [f"{node.name}.base", *names], "skip": load.skip})
    return (
        Node(f"{node.name}.base", base, node.at, node.lines, node.folder, node.within or node.name),
        *(
            Node(name, lora, node.at, {("adapter",): at}, node.folder, node.within or node.name)
            for name, lora in zip(names, added, strict=True)
        ),
        Node(node.name, total, node.at, {}, node.folder, node.within),
    )


def _split(reference: str, folder: FilePath) -> list[str]:
    """The model and its adapters. The longest beginning that exists is the model, and so on with the rest."""
    words = reference.split("+")
    parts: list[str] = []
    while words:
        beginnings = ["+".join(words[:end]) for end in range(len(words), 0, -1)]
        part = next((each for each in beginnings if each and _exists(folder, each)), words[0])
        parts.append(part)
        words = words[part.count("+") + 1 :]
    return parts if all(parts) else [reference]


def _exists(folder: FilePath, path: str) -> bool:
    try:
        return (folder / FilePath(path).expanduser()).exists()
    except (OSError, RuntimeError, ValueError):
        return False


def _names(node: str, count: int) -> Iterator[str]:
    """`code.adapter`, or `code.adapter_1`, `code.adapter_2`."""
    yield from (f"{node}.adapter" + (f"_{number}" if count > 1 else "") for number in range(1, count + 1))
