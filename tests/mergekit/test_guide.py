"""The guide for users of mergekit shows what `mergegraph import` writes, and options that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

from mergegraph.cli.app import app
from mergegraph.recipe.load import parse_recipe
from tests.mergekit.guide import CONFIGURATIONS, GUIDE, guide_as_it_should_be, recipe_of


def test_configurations_stand_beside_what_import_writes_of_them() -> None:
    guide = GUIDE.read_text()
    assert guide == guide_as_it_should_be(guide), "python -m tests.mergekit.guide"


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_what_import_writes_is_a_recipe(name: str) -> None:
    assert parse_recipe(recipe_of(name), file="x.yaml", folder=Path("/nowhere")).nodes["merged"]


def test_every_option_in_the_right_column_is_one_of_a_command() -> None:
    commands = typer.main.get_command(app).commands  # pyright: ignore[reportAttributeAccessIssue]
    known = {option for command in commands.values() for each in command.params for option in each.opts}
    (table,) = re.findall(r"\| mergekit-yaml \|.*?\n\n", GUIDE.read_text(), re.DOTALL)
    named = {option for row in table.strip().splitlines()[2:] for option in re.findall(r"--[a-z-]+", row.split("|")[2])}
    assert len(named) > 3
    assert named <= known
