"""What `stats` measures: a recipe, or models against a base."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mergegraph.cli.adapters import models_alone
from mergegraph.cli.source import recipe_from_file
from mergegraph.errors import Problem, RecipeError
from mergegraph.methods.load import Load
from mergegraph.pipeline import model_name, plan, plan_models
from mergegraph.plan.outputs import Stats
from mergegraph.plan.plan import Plan
from mergegraph.recipe.model import Recipe
from mergegraph.tensors.checkpoint import Checkpoint, open_checkpoint
from mergegraph.tensors.sources.hub_names import looks_like_id
from mergegraph.tensors.sources.location import restored


@dataclass(frozen=True)
class Asked:
    """What the command line says."""

    sources: tuple[Path, ...]
    base: str | None = None
    exact: bool = False
    budget_bytes: int | None = None
    workers: int | None = None
    sets: tuple[str, ...] = ()
    allow_unrelated: bool = False
    max_header_bytes: int = 25_000_000
    tier: int = 1


def plan_of(asked: Asked) -> Plan:
    """RecipeError for what does not go together."""
    first, *more = asked.sources
    if not more and _is_recipe(first):
        return _recipe_plan(asked, recipe_from_file(first, asked.sets))
    if any(_is_recipe(path) for path in asked.sources):
        raise RecipeError(Problem("A recipe is measured alone.", fix=shlex.join(["mergegraph", "stats", str(first)])))
    if asked.sets:
        raise RecipeError(Problem("--set changes a recipe, and models were named.", fix="leave --set out"))
    named = _named(asked.sources, asked.base)
    base = _reference(Path(asked.base)) if asked.base is not None else None
    with models_alone():
        return plan_models(named, base, budget_bytes=asked.budget_bytes, workers=asked.workers,
                           max_header_bytes=asked.max_header_bytes)  # fmt: skip


def _recipe_plan(asked: Asked, recipe: Recipe) -> Plan:
    return plan(
        recipe,
        budget_bytes=asked.budget_bytes,
        workers=asked.workers,
        allow_unrelated=asked.allow_unrelated,
        max_header_bytes=asked.max_header_bytes,
        stats=Stats(writes=False, base=_base(asked, recipe)),
    )


def _is_recipe(path: Path) -> bool:
    """A name that ends like a recipe's, there or not; what else it may be is told when it is opened."""
    return path.suffix in (".yaml", ".yml") and not path.is_dir()


def _base(asked: Asked, recipe: Recipe) -> str | Checkpoint | None:
    """The load node of that name, else the model."""
    node = recipe.nodes.get(asked.base or "")
    if asked.base is None or (node is not None and isinstance(node.method, Load)):
        return asked.base
    with models_alone():
        return open_checkpoint(_reference(Path(asked.base)), Path.cwd(), max_header_bytes=asked.max_header_bytes)


def _named(paths: Sequence[Path], base: str | None) -> dict[str, str]:
    """Models by the last parts of their paths; by the whole paths where those are the same, or the base's."""
    names = [model_name(str(path)) for path in paths]
    taken = [*names, *([model_name(base)] if base is not None else [])]
    if len(set(paths)) < len(paths):
        raise RecipeError(Problem("A model was named twice.", fix="name each once"))
    return {
        name if taken.count(name) == 1 else str(path): _reference(path) for name, path in zip(names, paths, strict=True)
    }


def _reference(path: Path) -> str:
    """What stands here is meant, whatever its name looks like."""
    return f"./{path}" if looks_like_id(str(path)) and path.exists() else restored(str(path))
