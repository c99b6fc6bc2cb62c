"""What to type where a command that looks at models is given an adapter: such a command knows no BASE+ADAPTER."""

from __future__ import annotations

import shlex
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from mergegraph.errors import InputError, Problem
from mergegraph.tensors.foreign import ONLY_ADDED, adapter_base
from mergegraph.tensors.sources.location import is_remote

_MERGED = "out/with-adapter"


@contextmanager
def models_alone() -> Generator[None]:
    """InputError from inside says of an adapter, or of BASE+ADAPTER, how it is merged first."""
    try:
        yield
    except InputError as error:
        raise InputError(*map(_merged_first, error.problems)) from error.__cause__


def is_base_with_adapter(reference: str) -> bool:
    """Whether `reference` is nothing by itself, and its parts around a plus sign are."""
    base, plus, adapter = reference.rpartition("+")
    return bool(plus and base and adapter) and not Path(reference).exists() and Path(base).exists()


def _merged_first(problem: Problem) -> Problem:
    if is_base_with_adapter(problem.model):
        base, _, adapter = problem.model.rpartition("+")
    elif problem.why == ONLY_ADDED:
        adapter = problem.model
        if Path(adapter).is_file():
            adapter = str(Path(adapter).parent)
        base = adapter_base(Path(adapter).absolute()) if not is_remote(adapter) else "BASE"
    else:
        return problem
    model = f"{_from_here(base)}+{_from_here(adapter)}"
    typed = shlex.join(["mergegraph", "run", "-e", "a", "-m", f"a={model}", "-o", _MERGED])
    return replace(problem, fix=f"merge it first: {typed}")


def _from_here(reference: str) -> str:
    """A path from this folder, with `./`: `models/code` alone is also the name of a model of the Hub."""
    path, here = Path(reference), Path.cwd()
    if not path.exists():
        return reference
    path = path.absolute()
    return f"./{path.relative_to(here)}" if path.is_relative_to(here) else str(path)
