"""Where a command's recipe comes from: a file, or an expression on the command line."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mergegraph.errors import Location, Problem, RecipeError, on_one_line, raise_errors

if TYPE_CHECKING:
    from mergegraph.recipe.model import Recipe


def recipe_from_file(
    path: Path,
    sets: Sequence[str] = (),
    sweeps: Sequence[str] = (),
    *,
    output: Path | None = None,
    fix_known_faults: bool = False,
) -> Recipe:
    """The recipe at `path`, or the one that the mergekit configuration there means.

    RecipeError names the nearest file when there is none.
    """
    require_file(path, "recipe")
    from mergegraph.mergekit.documents import is_configuration_file

    if is_configuration_file(path):
        from mergegraph.mergekit.importing import load_configuration

        return load_configuration(path, sets=sets, sweeps=sweeps, fix=fix_known_faults)
    if fix_known_faults:
        fact = f"{path} is a recipe, and --fix-known-faults is about mergekit configurations."
        raise RecipeError(Problem(fact, fix="leave --fix-known-faults out"))
    from mergegraph.recipe.load import load_recipe

    if output is not None and sweeps:
        return _swept_to(output, path, sets, sweeps)
    return load_recipe(path, sets=sets, sweeps=sweeps)


def _swept_to(output: Path, file: Path, sets: Sequence[str], sweeps: Sequence[str]) -> Recipe:
    """A recipe whose one save goes to `output`. RecipeError where the sweep makes several, with the setting of a path
    that has a place for each."""
    from mergegraph.recipe.load import load_recipe
    from mergegraph.recipe.saves import saves

    recipe, made = None, 0
    try:
        recipe = load_recipe(file, sets=sets, sweeps=sweeps)
        made = len(list(saves(recipe.nodes.values())))
    except RecipeError:
        pass  # for want of a path of each, or for something else, which is told below
    if made != 1 and (instead := _path_of_each(output, file, sets, sweeps)):
        fact = "-o gives one path, and the sweep makes several outputs."
        fix = f"in place of -o: --set {shlex.quote(instead)}"
        raise RecipeError(Problem(fact, Location(f"-o {output}"), fix=fix))
    return recipe or load_recipe(file, sets=sets, sweeps=sweeps)


def _path_of_each(output: Path, file: Path, sets: Sequence[str], sweeps: Sequence[str]) -> str:
    """`out.path=out2/{boost.by}`, where the recipe is a good one with it; else ""."""
    from mergegraph.recipe.load import load_recipe
    from mergegraph.recipe.saves import saves
    from mergegraph.tensors.sources.location import is_remote, restored

    path = restored(str(output))
    if not is_remote(path) and file.absolute().parent != Path.cwd():
        path = str(output.absolute())
    if "{" not in path:
        path += "/" + "-".join(f"{{{text.partition('=')[0].strip()}}}" for text in sweeps)
    try:
        names = [node.name for node, _ in saves(load_recipe(file, sets=sets).nodes.values())]
        instead = f"{names[0]}.path={path}" if len(names) == 1 else ""
        load_recipe(file, sets=(*sets, *filter(None, [instead])), sweeps=sweeps)
    except RecipeError:
        return ""
    return instead


def chosen_recipe(
    recipe: Path | None,
    expression: str | None,
    models: Sequence[str],
    output: Path | None,
    sets: Sequence[str],
    sweeps: Sequence[str],
    *,
    fix_known_faults: bool,
) -> Recipe:
    """The recipe of `run`: its file, or what stands after `-e`. RecipeError where neither or both are given."""
    if expression is not None:
        _only_expression(recipe, sets, sweeps)
        return recipe_from_expression(expression, models, output)
    if recipe is None:
        fix = 'mergegraph run merge.yaml, or mergegraph run -e "0.5*a + 0.5*b" -m a=DIR -m b=DIR -o out'
        raise RecipeError(Problem("Nothing says what to run.", fix=fix))
    return recipe_from_file(recipe, sets, sweeps, output=output, fix_known_faults=fix_known_faults)


def _only_expression(recipe: Path | None, sets: Sequence[str], sweeps: Sequence[str]) -> None:
    """An expression stands alone: there is no file to change."""
    if recipe is not None:
        raise RecipeError(Problem(f"Both {recipe} and -e say what to run.", fix="leave one of them out"))
    if sets or sweeps:
        raise RecipeError(
            Problem("--set and --sweep change a recipe file.", fix="write the numbers into the expression")
        )


def recipe_from_expression(text: str, models: Sequence[str], output: Path | None) -> Recipe:
    """The recipe of `-e TEXT -m NAME=REF … -o OUT`, paths relative to the current folder."""
    from mergegraph.recipe.command_line import from_expression

    problems = list(_model_problems(models))
    if output is None:
        problems.append(
            Problem("An expression needs to know where its result goes.", Location("-e"), fix="add -o FOLDER")
        )
    raise_errors(problems, RecipeError)
    references = dict(part.split("=", 1) for part in models)
    return from_expression(text, references, str(output))


def _model_problems(models: Sequence[str]) -> list[Problem]:
    names = [part.partition("=")[0] for part in models]
    problems = [
        Problem(f'"-m {part}" does not name a model.', fix="write -m NAME=FOLDER, as in -m base=./models/base")
        for part in models
        if "=" not in part
    ]
    return problems + [
        Problem(f'Two models are called "{name}".', Location("-m"), fix="give each -m a name of its own")
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]


def require_file(path: Path, what: str) -> None:
    """RecipeError where no file is at `path`, a `what`: the nearest one, or what can be done with the folder there."""
    if path.is_dir() or not path.exists():
        raise RecipeError(_no_file(path, what))


def _no_file(path: Path, what: str) -> Problem:
    if path.is_dir():
        return _folder(path, what)
    if path.is_symlink():
        from mergegraph.tensors.links import end_of

        return Problem(f"There is no {what} {path}.", why=f"it is a link that {end_of(path)}", fix="correct the link")
    return Problem(f"There is no {what} {path}.", fix=nearest_file(path.parent, path.name))


def _folder(path: Path, what: str) -> Problem:
    """What to type for a folder: a recipe in it, else what can be done with the model in it."""
    from mergegraph.tensors.foreign import convert_command, is_pickled_weights

    names = [entry.name for entry in path.iterdir()]
    has_model, has_pickle = any(name.endswith(".safetensors") for name in names), any(map(is_pickled_weights, names))
    if recipes_in(path) or not (has_model or has_pickle):
        return Problem(f"{path} is a folder, not a {what}.", fix=nearest_file(path, ""))
    fix = shlex.join(["mergegraph", "info", str(path)]) if has_model else convert_command(path)
    fact = f"{path} is the folder of a model, not a {what}."
    return Problem(fact, why=f"a {what} is a page of YAML that names the models", fix=fix)


def nearest_file(folder: Path, name: str) -> str:
    """The file of `folder` that may have been meant, as it would be typed."""
    if not folder.is_dir():
        return f"the folder {folder} does not exist; give the path of a .yaml file"
    names = recipes_in(folder)
    by_stem = {Path(each).stem: each for each in names}
    close = list(by_stem) if len(names) == 1 else difflib.get_close_matches(Path(name).stem, by_stem, n=1, cutoff=0.5)
    if close:
        return f"did you mean {on_one_line(str(folder / by_stem[close[0]]))}?"
    return f"{folder} has {', '.join(map(on_one_line, names[:8]))}" if names else f"there is no .yaml file in {folder}"


def recipes_in(folder: Path) -> list[str]:
    """The YAML files of `folder`, by name."""
    return sorted(entry.name for entry in folder.iterdir() if entry.suffix in (".yaml", ".yml"))
