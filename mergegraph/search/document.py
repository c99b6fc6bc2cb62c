"""A SEARCH.yaml to a Search, or everything that is wrong with it at once, each problem with its line and a fix.

Models and recipes that it names are not opened here; `mergegraph.search.preparing` does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mergegraph.errors import Location, Problem, RecipeError, did_you_mean, raise_errors
from mergegraph.recipe.document import Document
from mergegraph.recipe.includes import read_file
from mergegraph.recipe.scalars import Value
from mergegraph.recipe.validate import read_described, shown
from mergegraph.search.evaluators import problems
from mergegraph.search.kinds import KINDS, Search

_NAMED = re.compile(r"`(\w+)")


@dataclass(frozen=True)
class Loaded:
    """A search with the lines it was read from. Paths in it are relative to `folder`."""

    search: Search
    document: Document
    folder: Path

    @property
    def name(self) -> str:
        return self.search.name or Path(self.document.file).stem

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / Path(self.document.file).name

    def where(self, *path: str | int) -> Location:
        return self.document.where(path)

    def place(self, output: Path | None) -> Path:
        """The folder of the search: `output`, or what the search says, or `NAME.search` beside its file."""
        if output is not None:
            return output
        wanted = self.search.path or f"{Path(self.document.file).stem}.search"
        path = os.path.normpath(self.folder / wanted)
        return Path(os.path.relpath(path) if path.startswith(f"{Path.cwd()}{os.sep}") else path)


def load_search(path: Path) -> Loaded:
    """The search in the file at `path`. RecipeError carries every problem."""
    document = read_file(path, str(path))
    top = _mapping(document)
    kind = _kind(document, top)
    read = read_described(kind, dict(top), document.where)
    if isinstance(read, tuple):
        raise RecipeError(*document.problems, *_in_order(tuple(_placed(problem, document) for problem in read)))
    folder = path.absolute().parent
    found = [*document.problems, *problems(read.evaluator, read.splits, document, folder)]
    raise_errors(found, RecipeError)
    return Loaded(read, document, folder)


def is_search(path: Path) -> bool:
    """Whether the file at `path` is meant as a search; one that cannot be read is none."""
    try:
        value = read_file(path, str(path)).value
    except RecipeError:
        return False
    return isinstance(value, dict) and "search" in value and "nodes" not in value


def _mapping(document: Document) -> Mapping[str, Value]:
    at, fix = Location(document.file), "write mergegraph: 1, then search: greedy_soup"
    if not isinstance(document.value, dict):
        what = "is empty" if document.value is None else f"is {shown(document.value)}, not a mapping"
        raise RecipeError(Problem(f"The search {what}.", at, fix=fix))
    return document.value


def _kind(document: Document, top: Mapping[str, Value]) -> type[Search]:
    said = top.get("search")
    if said is None and "nodes" in top:
        fix = f"mergegraph run {document.file}"
        raise RecipeError(Problem(f"{document.file} is a recipe, not a search.", document.where(("nodes",)), fix=fix))
    if not isinstance(said, str):
        fact = (
            "The file does not say which search it is."
            if said is None
            else f"`search:` takes a kind, not {shown(said)}."
        )
        raise RecipeError(Problem(fact, document.where(("search",)), fix=f"add `search:`, one of {', '.join(KINDS)}"))
    if said not in KINDS:
        raise RecipeError(
            Problem(
                f'There is no search "{said}".', document.where(("search",)), fix=did_you_mean(said, KINDS, "kinds")
            )
        )
    return KINDS[said]


def _placed(problem: Problem, document: Document) -> Problem:
    """What is said of several fields together is at the line of the one that it names first."""
    named = _NAMED.match(problem.fact)
    if named is None or (problem.at is not None and problem.at != document.where(())):
        return problem
    return replace(problem, at=document.where((named[1],)))


def _in_order(found: tuple[Problem, ...]) -> Iterator[Problem]:
    yield from sorted(found, key=lambda problem: problem.at.line if problem.at else 0)
