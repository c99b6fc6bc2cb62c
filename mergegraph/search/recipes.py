"""Candidates as recipes: single models, soups, places on a line, a recipe with other settings."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mergegraph.errors import InputError, Location, Problem, RecipeError, raise_errors
from mergegraph.methods.base import Method
from mergegraph.methods.linear import Soup
from mergegraph.methods.load import Load
from mergegraph.methods.save import Save
from mergegraph.recipe.adapters import with_adapters
from mergegraph.recipe.model import Node, Recipe
from mergegraph.recipe.wiring import named_nodes
from mergegraph.search.candidates import Candidate, Grown
from mergegraph.search.ledger import LEDGER
from mergegraph.tensors.missing import find

MODEL = "model"
"""The folder beside a found recipe that it saves to."""


@dataclass(frozen=True)
class Model:
    """A model of a search: the name its node gets, and its reference relative to the search's folder."""

    name: str
    reference: str


def models(references: Iterable[str], folder: Path, where: Callable[[int], Location]) -> tuple[Model, ...]:
    """The models that references and globs mean, each once, in natural order within a glob. RecipeError with every one
    that is not there, and when a model is named twice. `where`: the line of each reference."""
    found, problems, at = list[str](), list[Problem](), where(0)
    for index, reference in enumerate(references):
        at = where(index)
        read = _named(folder, reference, at)
        if isinstance(read, Problem):
            problems.append(read)
        else:
            found += read
    raise_errors(problems, RecipeError)
    places = [os.path.realpath(folder / Path(reference).expanduser()) for reference in found]
    twice = [reference for reference, place in zip(found, places, strict=True) if places.count(place) > 1]
    if twice:
        same = f"{twice[0]} is named twice" if twice[0] == twice[1] else f"{twice[0]} and {twice[1]} are one model"
        raise RecipeError(Problem(f"{same}.", at, fix="name each model once"))
    names: list[str] = []
    for reference in found:
        names.append(_free(node_name(Path(reference).name.removesuffix(".safetensors")), names))
    return tuple(Model(name, reference) for name, reference in zip(names, found, strict=True))


def _named(folder: Path, reference: str, at: Location) -> list[str] | Problem:
    if re.search(r"[*?\[]", reference) and not (folder / reference).exists():
        fact, why = f'No model matches "{reference}".', f"in {folder}"
        fix = "correct the pattern; folders with .safetensors files count, and such files"
        return _matches(folder, reference) or Problem(fact, at, why=why, fix=fix)
    if "+" not in reference:  # a base with its adapter is two
        try:
            find(reference, folder)
        except InputError as error:
            return replace(error.problems[0], at=at)
    return [reference]


def node_name(text: str) -> str:
    """`soup-0` as the name of a node: `soup_0`."""
    word = re.sub(r"\W", "_", text) or "model"
    return word if word.isidentifier() else f"m_{word}"


def _free(name: str, taken: Sequence[str]) -> str:
    return name if name not in taken else next(n for i in range(2, 10**6) if (n := f"{name}_{i}") not in taken)


def _matches(folder: Path, pattern: str) -> list[str]:
    anchor = Path(pattern).anchor
    root = Path(anchor) if anchor else folder
    hits = [path for path in root.glob(pattern[len(anchor) :]) if not path.name.startswith(".")]
    models = [path for path in hits if _is_model(path)]
    shown = [str(path) if anchor else f"./{path.relative_to(folder)}" for path in models]
    return sorted(shown, key=lambda text: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text)])


def _is_model(path: Path) -> bool:
    """Whether a glob means it: a checkpoint that is not in the folder of a search."""
    if any((folder / LEDGER).exists() for folder in (path, path.parent)):
        return False
    return path.suffix == ".safetensors" if path.is_file() else any(path.glob("*.safetensors"))


@dataclass(frozen=True)
class Kitchen:
    """Makes the recipes of one search. Paths of models are relative to `folder`; a recipe saves into `place`."""

    name: str
    folder: Path
    place: Path
    file: str
    may_grow: bool = False
    """Whether a soup can be made from its running average."""

    def node(self, name: str, method: Method) -> Node:
        folder = self.place if isinstance(method, Save) else self.folder
        return Node(name, method, Location(self.file), {}, folder)

    def load(self, model: Model) -> tuple[Node, ...]:
        """The load node, after base and adapter where the reference is `base+adapter`."""
        return with_adapters(self.node(model.name, Load.model_validate({"model": model.reference})))

    def recipe(self, nodes: Iterable[Node], saved: str, seed: int = 0) -> Recipe:
        """The nodes that `saved` needs, and a save of it."""
        known = _needed({node.name: node for node in nodes}, saved)
        out = "out" if "out" not in known else "out_"
        save = self.node(out, Save.model_validate({"input": saved, "path": MODEL}))
        return Recipe(self.name, seed, known | {out: save}, self.place, self.file)

    def single(self, model: Model) -> Candidate:
        nodes = self.load(model)
        single = model.reference if len(nodes) == 1 else ""
        return Candidate(model.name, self.recipe(nodes, model.name), single=single, facts={"members": [model.name]})

    def soup(self, members: Sequence[Model], label: str = "") -> Candidate:
        """Their plain average; of one model, the model. The last member is the one that was added."""
        if len(members) == 1:
            return self.single(members[0])
        names = [member.name for member in members]
        loads = [node for member in members for node in self.load(member)]
        nodes = [*loads, self.node("soup", Soup.model_validate({"inputs": tuple(names)}))]
        grown = Grown(tuple(names[:-1]), names[-1]) if self.may_grow and len(names) > 2 else None
        shown = label or " + ".join(names)
        return Candidate(shown, self.recipe(nodes, "soup"), grown=grown, facts={"members": names})

    def mixed(self, nodes: Iterable[Node], ends: tuple[str, str], weights: tuple[int, int], seed: int) -> Recipe:
        """The average of two nodes, weighted; of one of them where the other weighs nothing."""
        pairs = [(name, weight) for name, weight in zip(ends, weights, strict=True) if weight]
        if len(pairs) == 1:
            return self.recipe(nodes, pairs[0][0], seed)
        inputs = tuple({"from": name, "weight": float(weight)} for name, weight in pairs)
        known = list(nodes)
        mix = "mix" if all(node.name != "mix" for node in known) else "mix_"
        return self.recipe([*known, self.node(mix, Soup.model_validate({"inputs": inputs}))], mix, seed)


def _needed(nodes: Mapping[str, Node], wanted: str) -> dict[str, Node]:
    """`wanted` and every node that it names, or that those name, in their order."""
    needed, pending = {wanted}, [wanted]
    while pending:
        new = {name for _, name in named_nodes(nodes[pending.pop()].method)} - needed
        needed |= new
        pending += sorted(new)
    return {name: node for name, node in nodes.items() if name in needed}
