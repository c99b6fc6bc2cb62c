"""What a path of a configuration is in a recipe, and how many layers the model there has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mergegraph.mergekit.importing import import_configuration
from mergegraph.mergekit.places import Names, Places, identifier, name_of
from tests.mergekit.texts import NOWHERE


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """Started in `work`; the configuration is in `work/configs`, the recipe goes to `work/recipes`."""
    for folder in ("work/models/one", "work/configs/near", "work/recipes", "work/org/also-here"):
        (tmp_path / folder).mkdir(parents=True)
    return Places(tmp_path / "work", tmp_path / "work/configs", tmp_path / "work/recipes")


# as written; as the recipe says it; why
REFERENCES = [
    ("models/one", "../models/one", "mergekit counts from where it is started"),
    ("./models/one", "../models/one", "the same with a dot"),
    ("near", "../configs/near", "beside the configuration, where nothing is at the start"),
    ("org/two", "org/two", "nothing there: an id of the Hub"),
    ("org/two@main", "org/two@main", "with a revision"),
    ("org/also-here", "../org/also-here", "a folder goes before an id, as in mergekit"),
    ("./gone", "../gone", "plainly a path, though nothing is there"),
    ("models/one+org/lora", "../models/one+org/lora", "each part by itself"),
    ("/elsewhere/x", "/elsewhere/x", "absolute"),
    ("s3://bucket/x", "s3://bucket/x", "an address"),
]


@pytest.mark.parametrize(("written", "said", "why"), REFERENCES, ids=[row[2] for row in REFERENCES])
def test_a_reference_in_the_recipe(places: Places, written: str, said: str, why: str) -> None:
    assert places.reference(written) == said, why


@pytest.mark.parametrize(
    ("config", "count"),
    [({"num_hidden_layers": 4}, 4), ({"n_layer": 12}, 12), ({"num_hidden_layers": "4"}, None), ([], None)],
)
def test_the_layers_that_a_local_config_says(places: Places, config: object, count: int | None) -> None:
    (places.started_in / "models/one/config.json").write_text(json.dumps(config))
    assert places.layer_count("models/one") == count


def test_a_slice_of_all_layers_is_the_model_itself(places: Places) -> None:
    (places.started_in / "models/one/config.json").write_text('{"num_hidden_layers": 4}')
    config = (
        "merge_method: linear\nslices:\n- sources:\n"
        "  - {model: models/one, layer_range: [0, 4], parameters: {weight: 1}}\n"
        "  - {model: org/two, layer_range: [0, 4], parameters: {weight: 1}}\n"
    )
    text = import_configuration(config, "merge.yml", places).text
    assert 'two_0_4: {op: stack, slices: [{from: two, layers: "0:4"}]}' in text
    assert "{op: soup, inputs: [{from: one, weight: 1}, {from: two_0_4, weight: 1}], normalize: true}" in text


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("./models/Mistral-7B-v0.1", "Mistral_7B_v0_1"),
        ("org/name@3f1c", "name"),
        ("org/base+user/sql.lora/", "base_sql_lora"),
        ("./x/model.safetensors", "model"),
        ("org/7b-chat", "m_7b_chat"),
        ("org/été", "t"),
        ("org/---", "model"),
    ],
)
def test_a_node_is_called_after_its_folder(reference: str, name: str) -> None:
    assert name_of(reference) == name


def test_names_are_given_once() -> None:
    names = Names()
    assert [names.new(word) for word in ("a", "a", "b", "a")] == ["a", "a_2", "b", "a_3"]
    assert identifier("class") == "class"


def test_a_model_called_like_the_result_is_told_apart() -> None:
    config = "merge_method: linear\nmodels: [{model: org/merged}, {model: org/out}]\nparameters: {weight: 1}\n"
    text = import_configuration(config, "merge.yml", NOWHERE).text
    assert "merged_2: {op: soup, inputs: [{from: merged, weight: 1}, {from: out, weight: 1}]" in text
    assert "out_2:    {op: save, input: merged_2" in text
