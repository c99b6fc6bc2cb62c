"""A soup over a glob: the checkpoints it stands for become load nodes, in the order a person counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from mergegraph.errors import Location, RecipeError
from mergegraph.graph import build
from mergegraph.methods.base import Method
from mergegraph.methods.linear import Soup
from mergegraph.recipe.load import load_recipe, parse_recipe
from mergegraph.recipe.model import Recipe, dump_recipe


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("run-epoch-16", "run-epoch-9", "run-epoch-100", "run-epoch-2", ".hidden", "run-epoch-3.partial"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    for name in ("last.safetensors", "notes.txt", "optimizer.bin"):
        (tmp_path / "runs" / name).touch()
    for name in ("a/step", "b/step", "c/9"):
        (tmp_path / "trees" / name).mkdir(parents=True)
    return tmp_path


def soup(folder: Path, fields: str) -> Recipe:
    file = folder / "recipes" / "merge.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"mergegraph: 1\nnodes:\n  avg: {{op: soup, {fields}}}\n  o: {{op: save, input: avg, path: o}}\n")
    return load_recipe(file)


def models(recipe: Recipe) -> dict[str, str]:
    return {name: str(getattr(node.method, "model", "")) for name, node in recipe.nodes.items() if node.within}


def test_checkpoints_are_in_natural_order(folder: Path) -> None:
    recipe = soup(folder, 'models: "../runs/*"')

    assert models(recipe) == {
        "avg.last": "../runs/last.safetensors",
        "avg.run_epoch_2": "../runs/run-epoch-2",
        "avg.run_epoch_9": "../runs/run-epoch-9",
        "avg.run_epoch_16": "../runs/run-epoch-16",
        "avg.run_epoch_100": "../runs/run-epoch-100",
    }
    averaged = recipe.nodes["avg"].method
    assert isinstance(averaged, Soup)
    assert [item.from_ for item in averaged.inputs] == list(models(recipe))
    assert averaged.models is None
    assert list(recipe.nodes)[-2:] == ["avg", "o"]


def test_only_the_last_are_taken_and_the_other_fields_are_kept(folder: Path) -> None:
    recipe = soup(folder, 'models: "../runs/run-*", last: 2, normalize: false, missing: keep')

    assert list(models(recipe)) == ["avg.run_epoch_16", "avg.run_epoch_100"]
    averaged = recipe.nodes["avg"].method
    assert isinstance(averaged, Soup)
    assert (averaged.normalize, averaged.missing, averaged.last) == (False, "keep", None)


def test_equal_and_numeric_names_still_name_nodes(folder: Path) -> None:
    assert list(models(soup(folder, 'models: "../trees/*/*"'))) == ["avg.step", "avg.step_2", "avg._9"]


def test_a_path_below_the_recipe_is_no_hub_id(folder: Path) -> None:
    (folder / "recipes" / "m" / "n1").mkdir(parents=True)

    assert models(soup(folder, 'models: "m/n*"')) == {"avg.n1": "./m/n1"}


def test_an_absolute_glob_stays_absolute(folder: Path) -> None:
    recipe = soup(folder, f'models: "{folder}/runs/run-epoch-?"')

    assert list(models(recipe).values()) == [str(folder / "runs" / f"run-epoch-{epoch}") for epoch in (2, 9)]


def test_the_nodes_belong_to_the_soup_and_survive_being_written_out(folder: Path) -> None:
    recipe = soup(folder, 'models: "../runs/run-epoch-?"')
    text = dump_recipe(recipe)

    again = parse_recipe(text, file="merge.yaml", folder=recipe.folder)

    assert {node.within for name, node in recipe.nodes.items() if name.startswith("avg.")} == {"avg"}
    assert recipe.nodes["avg.run_epoch_2"].at == Location(str(folder / "recipes" / "merge.yaml"), 3)
    assert again == recipe
    assert len(build(again).nodes) == 4


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ('models: "../runs/nothing-*"', ('No checkpoint matches "../runs/nothing-*"', "nothing matches")),
        ('models: "../runs/*.txt"', ("No checkpoint matches", "1 other", "folders and .safetensors files count")),
        ('models: "../runs/run-*", last: 9', ("the last 9 checkpoints", "matches 4", "`last: 4`")),
    ],
)
def test_a_glob_that_gives_too_little_is_an_error(folder: Path, fields: str, said: tuple[str, ...]) -> None:
    with pytest.raises(RecipeError) as caught:
        soup(folder, fields)

    (problem,) = caught.value.problems
    assert all(part in str(problem) for part in said), str(problem)
    assert (problem.node, problem.at) == ("avg", Location(str(folder / "recipes" / "merge.yaml"), 3))


def test_edges_of_the_soup_follow_the_checkpoints(folder: Path) -> None:
    averaged = soup(folder, 'models: "../runs/run-epoch-?"').nodes["avg"].method

    assert isinstance(averaged, Method)
    assert [edge.node for edge in averaged.edges()] == ["avg.run_epoch_2", "avg.run_epoch_9"]
