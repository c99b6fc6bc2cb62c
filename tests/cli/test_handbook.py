"""The pages of operations and of recipes are written from the classes, and are current."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mergegraph.cli.handbook import methods_page
from mergegraph.cli.recipe_page import recipe_page
from mergegraph.cli.signature import field_lines, piece_lines
from mergegraph.fields import Case, FieldModel, Rule, Selector, Slice, WeightedInput
from mergegraph.graph import build
from mergegraph.methods.load import Vocab
from mergegraph.methods.registry import methods
from mergegraph.recipe.load import parse_recipe

DOCS = Path(__file__).resolve().parents[2] / "docs"
RECIPES = DOCS.parent / "recipes"


def test_the_page_in_docs_is_what_the_classes_say() -> None:
    written = (DOCS / "methods.md").read_text().rstrip()
    assert written == methods_page().rstrip(), "mergegraph ops --markdown > docs/methods.md"


@pytest.mark.parametrize("op", methods())
def test_every_operation_is_shown_by_a_recipe(op: str) -> None:
    text = "".join(path.read_text() for path in RECIPES.glob("*.yaml"))
    assert f"op: {op}," in text or f"op: {op}\n" in text


def test_the_reference_of_recipes_is_what_the_classes_say() -> None:
    written = (DOCS / "recipe.md").read_text().rstrip()
    assert written == recipe_page().rstrip(), "mergegraph schema --markdown > docs/recipe.md"


def test_the_recipes_of_the_reference_are_recipes() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", recipe_page(), re.DOTALL)
    assert len(blocks) > 4
    for block in blocks:
        build(parse_recipe(block, file="page.yaml", folder=DOCS))


@pytest.mark.parametrize("piece", [Selector, Rule, WeightedInput, Case, Slice, Vocab])
def test_every_field_of_a_piece_says_what_it_is(piece: type[FieldModel]) -> None:
    assert all(line.description for line in piece_lines(piece))


@pytest.mark.parametrize("op", methods())
def test_every_field_of_an_operation_says_what_it_is(op: str) -> None:
    assert all(line.description for line in field_lines(methods()[op]))
