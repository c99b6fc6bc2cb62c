"""A YAML file to a Recipe, or everything that is wrong with it at once, each problem with its line and a fix.

Does not look at checkpoints, nor at how the nodes are wired: spaces, cycles and unused nodes are the graph's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path as FilePath
from typing import TypeVar

from mergegraph.errors import Location, Problem, RecipeError, raise_errors
from mergegraph.recipe import sweep
from mergegraph.recipe.assemble import assemble
from mergegraph.recipe.document import Document, parse_document
from mergegraph.recipe.includes import read_file
from mergegraph.recipe.model import Recipe
from mergegraph.recipe.override import Setting, read_setting
from mergegraph.recipe.saves import place_problems, saves, with_paths
from mergegraph.recipe.sweep import Point, Sweep

_T = TypeVar("_T")


def load_recipe(path: FilePath | str, *, sets: Sequence[str] = (), sweeps: Sequence[str] = ()) -> Recipe:
    """The recipe in the file at `path`, after `--set` and `--sweep`. RecipeError carries every problem."""
    path = FilePath(path)
    document = read_file(path, str(path))
    return recipe_of(document, path.absolute().parent, (path.resolve(),), sets, sweeps)


def parse_recipe(
    text: str, *, file: str, folder: FilePath, sets: Sequence[str] = (), sweeps: Sequence[str] = ()
) -> Recipe:
    """The recipe in `text`, shown as `file`, with paths relative to `folder`. RecipeError carries every problem."""
    return recipe_of(parse_document(text, file), folder, ((folder / file).resolve(),), sets, sweeps)


def recipe_of(
    document: Document, folder: FilePath, chain: tuple[FilePath, ...], sets: Sequence[str], sweeps: Sequence[str]
) -> Recipe:
    """The recipe that `document` says, in `folder`; `chain` is its file, which no include may lead back to."""
    overrides = _each(read_setting, sets)
    swept = _each(sweep.read_sweep, sweeps)
    raise_errors(_overruled(overrides, swept), RecipeError)
    paths: dict[str, str] = {}

    def build(point: Point) -> Recipe:
        settings = [*overrides, *sweep.settings(swept, point)]
        draft = assemble(document, folder, settings, chain=chain)
        paths.update((node.name, save.path) for node, save in saves(draft.nodes.values()))
        nodes, problems = with_paths(draft.nodes, sweep.labels(swept, point))
        problems += place_problems(nodes, draft.file, are_all_known=not draft.unreadable)
        warnings = raise_errors(_in_order([*draft.problems, *problems], draft.file), RecipeError)
        return Recipe(draft.name, draft.seed, nodes, folder, draft.file, warnings)

    if not swept:
        return build(())
    recipes = {point: build(point) for point in sweep.points(swept)}
    _check_one_seed(recipes.values(), swept)
    return sweep.combine(swept, recipes, paths)


def _overruled(settings: Sequence[Setting], swept: Sequence[Sweep]) -> Iterator[Problem]:
    """A value that a sweep would put another in place of."""
    for setting in settings:
        for each in swept:
            place = tuple(each.path.split("."))
            if setting.path[: len(place)] == place:
                fact = f"{setting.shown} is overruled: --sweep sets {each.path} too."
                yield Problem(fact, Location(setting.shown), fix="leave one of them out")


def _each(read: Callable[[str], _T], texts: Sequence[str]) -> list[_T]:
    """`read` of every text; RecipeError with the problems of all."""
    values: list[_T] = []
    problems: list[Problem] = []
    for text in texts:
        try:
            values.append(read(text))
        except RecipeError as error:
            problems += error.problems
    raise_errors(problems, RecipeError)
    return values


def _in_order(problems: Iterable[Problem], file: str) -> list[Problem]:
    """Each problem once, those of `file` first, as they stand in it from top to bottom."""

    def place(problem: Problem) -> tuple[bool, str, int]:
        at = problem.at or Location(file)
        return at.file != file, at.file, at.line

    return sorted(dict.fromkeys(problems), key=place)


def _check_one_seed(recipes: Iterable[Recipe], sweeps: Sequence[Sweep]) -> None:
    if len({(recipe.seed, recipe.name) for recipe in recipes}) > 1:
        fact = "A sweep changes the seed or the name of the recipe, and one run has one of each."
        path = next((each.path for each in sweeps if each.path in ("seed", "name")), sweeps[0].path)
        raise RecipeError(Problem(fact, fix=f"run the recipe once for each: --set {path}=VALUE"))
