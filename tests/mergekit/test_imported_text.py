"""The recipe that each kind of configuration is written as: fixtures of a configuration, `=====`, and the recipe."""

from __future__ import annotations

from pathlib import Path

import pytest

from mergegraph.errors import RecipeError
from mergegraph.mergekit.signatures import SIGNATURES
from mergegraph.recipe.load import parse_recipe
from tests.mergekit.texts import imported, lacking

FIXTURES = sorted((Path(__file__).parent / "fixtures").glob("*.txt"))


def parts(fixture: Path) -> tuple[str, str]:
    config, _, recipe = fixture.read_text("utf-8").partition("=====\n")
    return config, recipe


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda path: path.stem)
def test_a_configuration_becomes_this_recipe(fixture: Path) -> None:
    config, recipe = parts(fixture)
    assert imported(config, fix="--fix-known-faults" in config).text == recipe


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda path: path.stem)
def test_the_recipe_is_read_by_mergegraph(fixture: Path) -> None:
    recipe = parts(fixture)[1]
    missing = lacking(recipe)
    if missing:
        with pytest.raises(RecipeError) as caught:
            parse_recipe(recipe, file="recipe.yaml", folder=Path("/nowhere"))
        said = {" ".join(problem.fact.split()[:4]) for problem in caught.value.problems}
        assert all(fact.startswith(("There is no op", "load has no", "save has no")) for fact in said), said
        pytest.skip(f"mergegraph does not have {', '.join(sorted(missing))} yet")
    parse_recipe(recipe, file="recipe.yaml", folder=Path("/nowhere"))


def test_every_method_has_a_fixture() -> None:
    assert {name for name in SIGNATURES if any(f"merge_method: {name}\n" in parts(path)[0] for path in FIXTURES)} == {
        *SIGNATURES
    }


def test_lines_of_the_recipe_know_the_lines_of_the_configuration() -> None:
    config = (
        "merge_method: ties\n"
        "base_model: org/base\n"
        "models:\n"
        "  - model: org/one\n"
        "    parameters:\n"
        "      weight: 0.5\n"
        "      density: [1, 0.2]\n"
        "dtype: float32\n"
    )
    made = imported(config)
    of = dict(zip(made.text.splitlines(), (at.line for at in made.lines), strict=True))
    assert of["  one:    {op: load, model: org/one}"] == 4
    assert of["        weight: 0.5"] == 6
    assert of['          - {layers: "0:", value: [1, 0.2]}'] == 7
    assert of["  merged: {op: sum, inputs: [base, agreed]}"] == 1


def test_a_text_that_a_recipe_would_fill_in_stays_as_it_is() -> None:
    made = imported("merge_method: passthrough\nmodels: [{model: 'odd/${t} name'}]\n")
    recipe = parse_recipe(made.text, file="recipe.yaml", folder=Path("/nowhere"))
    assert recipe.nodes["t_name"].method.model == "odd/${t} name"  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
