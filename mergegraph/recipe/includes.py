"""Another recipe's nodes under a name: `include: {x: {recipe: f.yaml, with: {t: 0.3}}}` gives `x.merged`.

Reads the entry, opens the file, and renames what it gave; putting its nodes together is `assemble`'s.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path as FilePath

from mergegraph.errors import Location, Problem, RecipeError, did_you_mean
from mergegraph.methods.save import Save
from mergegraph.recipe.document import Document, parse_document
from mergegraph.recipe.model import Node
from mergegraph.recipe.scalars import Value
from mergegraph.recipe.template import Given
from mergegraph.recipe.text import decode, read_raw, special_kind
from mergegraph.recipe.validate import shown
from mergegraph.recipe.wiring import renamed

_KEYS = ("recipe", "with")


@dataclass(frozen=True)
class Include:
    """An entry of `include:`: the file as it is written, the values for its parameters, and where it stands."""

    name: str
    file: str
    given: Given


def read_file(path: FilePath, file: str) -> Document:
    """The document in the file at `path`, shown as `file`. RecipeError when it cannot be read."""
    at = Location(file)
    if kind := special_kind(path):
        raise RecipeError(Problem(f"{file} is {kind}, not a recipe.", at, fix="name a YAML file"))
    try:
        raw = read_raw(path)
    except FileNotFoundError as error:
        raise RecipeError(Problem(f"There is no file {file}.", at, fix="check the name and the folder")) from error
    except (OSError, ValueError) as error:
        fix = "name a YAML file that you may read"
        reason = error.strerror if isinstance(error, OSError) else error
        raise RecipeError(Problem(f"{file} cannot be read: {reason}.", at, fix=fix)) from error
    return parse_document(decode(raw, file), file)


def read_include(document: Document, name: str, value: Value) -> Include:
    """The entry `name: value` of `include:`. RecipeError with everything that is wrong with its form."""
    path = ("include", name)
    at = document.where(path)
    form = f"write {name}: {{recipe: FILE.yaml, with: {{t: 0.3}}}}"
    if not isinstance(value, dict):
        raise RecipeError(Problem(f"An include takes a mapping, not {shown(value)}.", at, name, fix=form))
    problems = [
        Problem(f'An include has no "{key}".', document.where((*path, key)), name, fix=did_you_mean(key, _KEYS))
        for key in value
        if key not in _KEYS
    ]
    file, values = value.get("recipe"), value.get("with", {})
    if not isinstance(file, str) or not file:
        problems.append(Problem("An include names the file of a recipe.", at, name, fix=form))
    if not isinstance(values, dict):
        problems.append(Problem(f"`with:` takes a mapping of parameters, not {shown(values)}.", at, name, fix=form))
    if problems or not isinstance(file, str) or not isinstance(values, dict):
        raise RecipeError(*problems)
    lines = {key: document.where((*path, "with", key)) for key in values}
    return Include(name, file, Given(values, lines, at))


def _nearest(file: str, path: FilePath) -> str:
    """The recipe beside the one that is missing which may have been meant, as it would be written; else ""."""
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.suffix in (".yaml", ".yml")]
    except OSError:
        return ""
    said = did_you_mean(path.name, names)
    near = said.removeprefix("Did you mean ").removesuffix("?")
    return f"Did you mean {file.removesuffix(path.name)}{near}?" if near != said and file.endswith(path.name) else ""


def open_include(
    document: Document, folder: FilePath, include: Include, chain: tuple[FilePath, ...]
) -> tuple[Document, FilePath]:
    """The included document and its resolved path. `chain`: the files on the way here, outermost first.

    RecipeError when it is not there, cannot be read, or includes itself.
    """
    path = FilePath(os.path.realpath(folder / include.file))
    at = document.where(("include", include.name, "recipe"))
    if path in chain:
        circle = " -> ".join(each.name for each in (*chain[chain.index(path) :], path))
        fix = f'take the include "{include.name}" out of {document.file}'
        raise RecipeError(Problem(f"The includes form a circle: {circle}.", at, include.name, fix=fix))
    if not path.is_file():
        fact = f'The included recipe "{include.file}" is not there.'
        fix = _nearest(include.file, path) or "correct the path; it is relative to the folder of this recipe"
        raise RecipeError(Problem(fact, at, include.name, why=f"there is no file {path}", fix=fix))
    return read_file(path, str(FilePath(document.file).parent / include.file)), path


def under_name(name: str, nodes: Iterable[Node]) -> tuple[dict[str, Node], list[Problem]]:
    """The nodes of an included recipe as `name.node`, wired to each other; its saves are left out, with a warning."""
    kept: dict[str, Node] = {}
    problems: list[Problem] = []
    for node in nodes:
        full = f"{name}.{node.name}"
        if isinstance(node.method, Save):
            fact = f'The save node "{node.name}" is left out: an included recipe gives nodes, not outputs.'
            fix = f"to save it, add to this recipe: out: {{op: save, input: {name}.{node.method.input}, path: ./out}}"
            problems.append(Problem(fact, node.at, full, fix=fix, severity="warning"))
        else:
            method = renamed(node.method, lambda other: f"{name}.{other}")
            kept[full] = Node(full, method, node.at, node.lines, node.folder)
    return kept, problems


def unused_seed(document: Document) -> list[Problem]:
    """A warning for the seed of an included recipe: one run has one seed."""
    if not isinstance(document.value, dict) or "seed" not in document.value:
        return []
    fix = "remove it, or set `seed:` in the recipe that includes this one"
    fact = f"The seed of {document.file} is not used: that of the including recipe counts."
    return [Problem(fact, document.where(("seed",)), fix=fix, severity="warning")]
