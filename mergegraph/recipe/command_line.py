"""The recipe of `run -e TEXT -m NAME=REF … -o OUT`: load nodes, one expression, one save. No file is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from mergegraph.errors import Location, Problem, RecipeError, did_you_mean, raise_errors
from mergegraph.methods.load import Load
from mergegraph.methods.save import Save
from mergegraph.recipe.adapters import with_adapters
from mergegraph.recipe.expression import ExpressionError, names
from mergegraph.recipe.model import ON_COMMAND_LINE, Expression, Node, Recipe


def from_expression(text: str, models: Mapping[str, str], out: str) -> Recipe:
    """The recipe of `run -e TEXT -m NAME=REF … -o OUT`. Paths are relative to the current folder.

    RecipeError when the text is no expression or names a model that is not given.
    """
    at, folder = Location(ON_COMMAND_LINE), Path.cwd()
    merged, saved = _free_name("merged", models), _free_name("out", models)
    raise_errors(_command_problems(text, models), RecipeError)
    nodes = [
        node
        for name, ref in models.items()
        for node in with_adapters(
            Node(name, Load.model_validate({"model": ref}), Location(f"-m {name}={ref}"), {}, folder)
        )
    ]
    nodes.append(Node(merged, Expression(text), at, {}, folder))
    nodes.append(Node(saved, Save.model_validate({"input": merged, "path": out}), Location(f"-o {out}"), {}, folder))
    name = Path(out).name or "merged"
    return Recipe(name, 0, {node.name: node for node in nodes}, folder, ON_COMMAND_LINE)


def _free_name(wanted: str, taken: Mapping[str, str]) -> str:
    return wanted if wanted not in taken else _free_name(f"{wanted}_", taken)


def _command_problems(text: str, models: Mapping[str, str]) -> Iterable[Problem]:
    for name, reference in models.items():
        if not name.isidentifier():
            fix = "use letters, digits and underscores, and no digit first"
            yield Problem(f'"{name}" cannot name a model.', Location(f"-m {name}={reference}"), fix=fix)
        if not reference:
            yield Problem(
                f'The model "{name}" has no reference.', Location(f"-m {name}="), fix=f"write -m {name}=FOLDER"
            )
    try:
        used = names(text)
    except ExpressionError as error:
        yield error.problem.located(Location(ON_COMMAND_LINE))
        return
    for name in used:
        if name not in models:
            fix = f"{did_you_mean(name, models, 'models given')}; or add -m {name}=REF"
            yield Problem(
                f'The expression names "{name}", and no model has that name.', Location(ON_COMMAND_LINE), fix=fix
            )
