"""A soup over a glob of checkpoints, written out: one load node for each folder or file, in natural order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path as FilePath

from mergegraph.errors import Problem
from mergegraph.fields import WeightedInput
from mergegraph.methods.linear import Soup
from mergegraph.methods.load import Load
from mergegraph.recipe.adapters import with_adapters
from mergegraph.recipe.model import Node


class NoCheckpoints(ValueError):
    """The glob does not give the checkpoints that are asked for."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.fact)
        self.problem = problem


def expanded(node: Node) -> tuple[Node, ...]:
    """`node`, after the nodes that it stands for: the load nodes that it averages when it is a soup with
    `models: GLOB`, base and adapter of a load with `model: base+adapter`. May raise NoCheckpoints."""
    soup = node.method
    if not isinstance(soup, Soup) or soup.models is None:
        return with_adapters(node)
    models = _chosen(node, soup, soup.models)
    names = list(_names(node.name, models))
    loads = [
        Node(
            name,
            Load.model_validate({"model": model}),
            node.at,
            {("model",): node.where(("models",))},
            node.folder,
            node.name,
        )
        for name, model in zip(names, models, strict=True)
    ]
    inputs = tuple(WeightedInput.model_validate(name) for name in names)
    plain = soup.model_copy(update={"inputs": inputs, "models": None, "last": None})
    return (*loads, Node(node.name, plain, node.at, node.lines, node.folder, node.within))


def _chosen(node: Node, soup: Soup, pattern: str) -> list[str]:
    """The models that match, in natural order, the last `last` of them."""
    matched = _matches(node.folder, pattern)
    models = sorted((path for path in matched if _is_checkpoint(node.folder / path)), key=_natural)
    at = node.where(("models",))
    if not models:
        count = f"{len(matched)} other files match" if matched else "nothing matches"
        why = f"in {node.folder}, {count}; folders and .safetensors files count"
        fix = f"correct the pattern; `ls {pattern}` in that folder shows what it matches"
        raise NoCheckpoints(Problem(f'No checkpoint matches "{pattern}".', at, node.name, why=why, fix=fix))
    if soup.last is not None and soup.last > len(models):
        fact = f'The soup wants the last {soup.last} checkpoints, and "{pattern}" matches {len(models)}.'
        raise NoCheckpoints(Problem(fact, node.where(("last",)), node.name, fix=f"write `last: {len(models)}`"))
    # "./" says that it is a path: `runs/epoch-9` alone could be a Hub id.
    kept = models[-soup.last :] if soup.last else models
    return [path if FilePath(path).is_absolute() or path.startswith(".") else f"./{path}" for path in kept]


def _matches(folder: FilePath, pattern: str) -> list[str]:
    """What the glob matches, relative to `folder` unless the glob is absolute; hidden files only where it says so."""
    anchor = FilePath(pattern).anchor
    root = FilePath(anchor) if anchor else folder
    try:
        paths = list(root.glob(pattern[len(anchor) :]))
    except (ValueError, NotImplementedError):
        return []
    shown = [path for path in paths if FilePath(pattern).name.startswith(".") or not path.name.startswith(".")]
    return [str(path if anchor else path.relative_to(folder)) for path in shown]


def _is_checkpoint(path: FilePath) -> bool:
    """A .safetensors file, or a folder; not the folder of an unfinished run."""
    return path.suffix == ".safetensors" if path.is_file() else path.is_dir() and path.suffix != ".partial"


def _natural(path: str) -> list[tuple[int, int, str]]:
    """Sorts `epoch-9` before `epoch-16`: runs of digits compare as numbers."""
    parts = re.split("([0-9]+)", path)
    return [(0, int(part), part) if index % 2 else (1, 0, part) for index, part in enumerate(parts)]


def _names(node: str, models: list[str]) -> Iterator[str]:
    """`avg.run_epoch_9`: the folder's or the file's own name as an identifier, numbered where two are the same."""
    taken: set[str] = set()
    for model in models:
        stem = FilePath(model).name.removesuffix(".safetensors")
        word = re.sub(r"\W", "_", stem)
        word = word if word.isidentifier() else f"_{word}"
        name, count = word, 1
        while name in taken:
            count += 1
            name = f"{word}_{count}"
        taken.add(name)
        yield f"{node}.{name}"
