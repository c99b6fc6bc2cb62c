"""Stacks of layers: which tensors from where, under which numbers, and what config.json says of them afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from mergegraph import pipeline
from mergegraph.errors import RecipeError
from tests.plan.small_plans import planned, recipe, written
from tests.tiny_models import llama_tensors, write_model

LAYERS = 4


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`a` and `b`, of four layers; `two`, with an encoder and a decoder; `flat`, with no layers."""
    folder = tmp_path_factory.mktemp("models")
    base = llama_tensors(LAYERS)
    config = {"num_hidden_layers": LAYERS, "layer_types": ["full", "slide", "full", "slide"]}
    for seed, name in enumerate("ab", 1):
        write_model(folder / name, llama_tensors(noise_of=base, seed=seed), config=config)
    towers = {
        f"{side}.layers.{layer}.fc1.weight": base[f"model.layers.{layer}.mlp.up_proj.weight"].clone()
        for side, count in (("encoder", 2), ("decoder", 3))
        for layer in range(count)
    }
    write_model(folder / "two", {"shared.embed_tokens.weight": base["model.embed_tokens.weight"], **towers})
    write_model(folder / "flat", {"w": base["model.norm.weight"]})
    return folder


def sources(folder: Path, stack: str) -> dict[str, str]:
    """Output tensor → `model: stored name` it is a copy of."""
    plan = planned(folder, f"m: {{op: stack, {stack}}}\nout: {{op: save, input: m, path: out}}")
    (output,) = plan.outputs
    assert all(tensor.is_copy for tensor in output.tensors)
    return {tensor.name: f"{written(plan, output, tensor.name)}: {tensor.reads[0].name}" for tensor in output.tensors}


def refusal(folder: Path, stack: str) -> str:
    with pytest.raises(RecipeError) as refused:
        pipeline.check(recipe(folder, f"m: {{op: stack, {stack}}}\nout: {{op: save, input: m, path: out}}"))
    errors = [problem for problem in refused.value.problems if problem.severity == "error"]
    assert all(problem.node == "m" and problem.at for problem in errors)
    return str(refused.value)


def test_every_wrong_slice_is_told_once(models: Path) -> None:
    said = refusal(models, 'slices: [{from: a, layers: "0:9"}, {from: flat, layers: "0:1"}, {from: flat, layers: ":"}, '
                           '{from: b, layers: "7:8"}]')  # fmt: skip
    assert [said.count(part) for part in ('all of "a"', '"flat" has no stack', 'all of "b"')] == [1, 1, 1]


def test_layers_are_numbered_in_the_order_they_are_written(models: Path) -> None:
    found = sources(models, 'slices: [{from: a, layers: "1:3"}, {from: b, layers: "0:1"}, {from: a, layers: "1:2"}]')
    norms = {name: source for name, source in found.items() if "input_layernorm" in name}
    assert norms == {
        "model.layers.0.input_layernorm.weight": "a: model.layers.1.input_layernorm.weight",
        "model.layers.1.input_layernorm.weight": "a: model.layers.2.input_layernorm.weight",
        "model.layers.2.input_layernorm.weight": "b: model.layers.0.input_layernorm.weight",
        "model.layers.3.input_layernorm.weight": "a: model.layers.1.input_layernorm.weight",
    }
    assert len(found) == 4 * 9 + 3


OUTER = [
    ("embedding from the first slice, norm and head from the last", "", ("a", "b", "b")),
    ("embedding from elsewhere", ", embed_from: b", ("b", "b", "b")),
    ("head from elsewhere", ", head_from: a", ("a", "a", "a")),
    ("both, the other way round", ", embed_from: b, head_from: a", ("b", "a", "a")),
]


@pytest.mark.parametrize(("why", "options", "expected"), OUTER, ids=[row[0] for row in OUTER])
def test_where_the_ends_come_from(why: str, options: str, expected: tuple[str, str, str], models: Path) -> None:
    found = sources(models, 'slices: [{from: a, layers: "0:2"}, {from: b, layers: "2:4"}]' + options)
    names = ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight")
    assert tuple(found[name] for name in names) == tuple(
        f"{m}: {name}" for m, name in zip(expected, names, strict=True)
    ), why


RANGES = [("-2:", [2, 3]), (":2", [0, 1]), ("1:-1", [1, 2]), ("-3:-2", [1]), (":", [0, 1, 2, 3]), ("0:4", [0, 1, 2, 3])]


@pytest.mark.parametrize(("layers", "taken"), RANGES)
def test_ranges_are_read_as_in_python(layers: str, taken: list[int], models: Path) -> None:
    found = sources(models, f'slices: [{{from: a, layers: "{layers}"}}]')
    stored = [found[f"model.layers.{new}.mlp.up_proj.weight"] for new in range(len(taken))]
    assert stored == [f"a: model.layers.{old}.mlp.up_proj.weight" for old in taken]
    assert len(found) == 9 * len(taken) + 3


ONE_OF_TWO = 'slices: [{from: two, layers: "0:1"}]'
OTHER_TOWER = 'slices: [{from: two, layers: "0:1"}, {from: a, layers: "0:1"}], tower: encoder.layers'
REFUSED = [
    ("beyond the layers there are", 'slices: [{from: a, layers: "0:5"}]', "there are 4 layers"),
    ("a run of no layers", 'slices: [{from: a, layers: "2:2"}]', "takes none of 4 layers"),
    ("not a run", 'slices: [{from: a, layers: "3"}]', 'layers "3"'),
    ("a model without layers", 'slices: [{from: flat, layers: "0:1"}]', "no numbered layers"),
    ("two stacks of layers", ONE_OF_TWO, "2 stacks of layers"),
    ("a tower there is not", f"{ONE_OF_TWO}, tower: middle", 'there is no stack of layers "middle"'),
    ("a tower that a later slice lacks", OTHER_TOWER, '"a" has no stack of layers "encoder.layers"'),
]


@pytest.mark.parametrize(("why", "stack", "message"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_cannot_be_stacked(why: str, stack: str, message: str, models: Path) -> None:
    assert message in refusal(models, stack), why


def test_a_tower_is_stacked_and_the_other_stays(models: Path) -> None:
    found = sources(models, 'slices: [{from: two, layers: "2:3"}, {from: two, layers: "0:1"}], tower: decoder.layers')
    assert found == {
        "decoder.layers.0.fc1.weight": "two: decoder.layers.2.fc1.weight",
        "decoder.layers.1.fc1.weight": "two: decoder.layers.0.fc1.weight",
        "encoder.layers.0.fc1.weight": "two: encoder.layers.0.fc1.weight",
        "encoder.layers.1.fc1.weight": "two: encoder.layers.1.fc1.weight",
        "shared.embed_tokens.weight": "two: shared.embed_tokens.weight",
    }


def test_the_config_of_the_output_is_the_repaired_one(models: Path) -> None:
    nodes = 'm: {op: stack, slices: [{from: a, layers: "1:4"}, {from: b, layers: "1:2"}]}'
    plan = planned(models, f"{nodes}\nout: {{op: save, input: m, path: out}}")
    config = plan.outputs[0].sidecars.config
    assert config["num_hidden_layers"] == 4
    assert config["layer_types"] == ["slide", "full", "slide", "slide"]


def test_such_a_key_is_found_at_check_with_its_line(tmp_path: Path) -> None:
    write_model(tmp_path / "a", llama_tensors(LAYERS), config={"num_hidden_layers": LAYERS, "decoder_sparse_step": 2})
    nodes = 'm: {op: stack, slices: [{from: a, layers: "0:2"}]}\nout: {op: save, input: m, path: out}'
    with pytest.raises(RecipeError, match="decoder_sparse_step: 2") as refused:
        pipeline.check(recipe(tmp_path, nodes))
    assert refused.value.problems[0].at is not None


@pytest.mark.parametrize(
    ("stack", "fix"),
    [
        ('slices: [{from: a, layers: "0:9"}]', 'layers: "0:4"'),
        ('slices: [{from: a, layers: "0:2"}, {from: b, layers: "2:2"}]', 'layers: "0:4"'),
        ('slices: [{from: a, layers: "0-3"}]', 'layers: "0:4"'),
        ('slices: [{from: two, layers: "0:2"}]', "tower: encoder.layers"),
        ('slices: [{from: two, layers: "0:2"}], tower: midcoder', "tower: encoder.layers"),
        ('slices: [{from: a, layers: "0:2"}, {from: flat, layers: "0:1"}]', "model.layers"),
        ('slices: [{from: flat, layers: "0:1"}]', "select"),
    ],
)
def test_a_stack_that_cannot_be_made_is_told_what_to_type(models: Path, stack: str, fix: str) -> None:
    with pytest.raises(RecipeError) as refused:
        pipeline.check(recipe(models, f"m: {{op: stack, {stack}}}\nout: {{op: save, input: m, path: out}}"))
    (problem,) = [problem for problem in refused.value.problems if problem.node == "m"]
    assert fix in problem.fix
