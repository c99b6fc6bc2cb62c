"""An expression on the command line is a recipe, and what is wrong with it is told in the words of the command."""

from __future__ import annotations

from pathlib import Path

import pytest

from mergegraph.errors import RecipeError
from mergegraph.expr import Space
from mergegraph.graph import build
from mergegraph.recipe.command_line import from_expression
from mergegraph.recipe.load import parse_recipe
from mergegraph.recipe.model import dump_recipe


def test_the_command_line_form_is_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    recipe = from_expression("0.5*merged + 0.5*b", {"merged": "org/a", "b": "./b"}, "results/blend")

    assert list(recipe.nodes) == ["merged", "b", "merged_", "out"]
    assert (recipe.name, recipe.file, recipe.folder) == ("blend", "-e", tmp_path)
    assert parse_recipe(dump_recipe(recipe), file="-e", folder=tmp_path) == recipe
    graph = build(recipe)
    assert graph.nodes["merged_"].inputs == ("merged", "b")
    assert graph.saves == ("out",)


def test_mistakes_on_the_command_line_are_reported_together() -> None:
    with pytest.raises(RecipeError) as caught:
        from_expression("0.5*a + 0.5*codde", {"a": "", "code": "org/code", "my-b": "x"}, "out")

    shown = str(caught.value)
    for part in ('"a" has no reference', '"my-b" cannot name', 'names "codde"', "Did you mean code?", "-m codde=REF"):
        assert part in shown
    with pytest.raises(RecipeError, match="-e"):
        from_expression("a /", {"a": "x"}, "out")


@pytest.mark.parametrize(
    ("text", "spaces", "typed"),
    [
        ("b - a", {}, '-e "a + (b - a)"'),
        ("0.5*(b - a) + d", {"d": "delta"}, '-e "a + (0.5*(b - a) + d)"'),
        ("2*d", {"d": "delta"}, '-e "MODEL + (2*d)" with -m MODEL=FOLDER'),
    ],
)
def test_a_delta_is_told_what_to_type(text: str, spaces: dict[str, Space], typed: str) -> None:
    with pytest.raises(RecipeError) as refused:
        build(from_expression(text, {"a": "./a", "b": "./b", "d": "./d"}, "out"), spaces)
    (problem,) = refused.value.problems
    assert problem.fix.startswith(f"add it to a model: {typed};")
    assert "{op" not in problem.fix
