"""Which number each tensor gets, as mergekit 0.1.5 gave it when it was run on models of zeros and ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from mergegraph.methods.linear import Soup
from mergegraph.recipe.load import parse_recipe
from mergegraph.schedule import resolve_schedule
from tests.mergekit.texts import imported

EMBED, NORM, HEAD = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"


def names(layers: int) -> list[str]:
    inner = ("self_attn.q_proj", "mlp.up_proj", "input_layernorm")
    return [
        EMBED,
        *(f"model.layers.{layer}.{part}.weight" for layer in range(layers) for part in inner),
        NORM,
        HEAD,
    ]


def numbers(config: str, layers: int, node: str = "merged", *, fix: bool = False) -> dict[str, float]:
    """The weight of the second input of a soup, for every tensor of a model with so many layers."""
    text = imported(config, fix=fix).text
    soup = parse_recipe(text, file="recipe.yaml", folder=Path("/nowhere")).nodes[node].method
    assert isinstance(soup, Soup)
    schedule, _ = resolve_schedule(soup.inputs[1].weight, names(layers), field="weight")
    return {name: float(schedule.value(name)) for name in names(layers)}


def models(weight: str) -> str:
    return (
        "merge_method: linear\n"
        "models:\n"
        "- {model: org/zero, parameters: {weight: 1}}\n"
        f"- {{model: org/one, parameters: {{weight: {weight}}}}}\n"
        "parameters: {normalize: false}\n"
    )


def spread(found: dict[str, float], part: str = "self_attn.q_proj") -> list[float]:
    """The numbers of the embedding, of `part` in each layer, of the final norm and of the head."""
    return [found[name] for name in found if f".{part}." in name or name in (EMBED, NORM, HEAD)]


# weight; embedding, five layers, final norm, head; why
GRADIENTS: list[tuple[str, list[float], str]] = [
    ("0.25", [0.25] * 8, "a number is the same everywhere"),
    ("[0, 1]", [0, 0, 0.25, 0.5, 0.75, 1, 0, 0], "whatever is outside the layers gets the first value"),
    ("[0, 1, 0]", [0, 0, 0.5, 1, 0.5, 0, 0, 0], "three values run in two lines"),
    ("[0, 1, 0, 1, 0, 1, 0]", [0, 0, 0.5, 1, 0.5, 0, 0, 0], "more values than layers are passed over"),
    ("[0.3]", [0.3] * 8, "a list of one is a number"),
    ("'[{filter: \"*\", value: [0.3, 0.9]}]'", [0.3, 0.3, 0.45, 0.6, 0.75, 0.9, 0.3, 0.3], "a star alone is all"),
    ("'1e-3'", [0.001] * 8, "a quoted number"),
    ("[1e-3, 1e-1]", [0.001, 0.001, 0.02575, 0.0505, 0.07525, 0.1, 0.001, 0.001], "exponents"),
    ("[{filter: layers.1, value: 0.3}, {value: 0}]", [0, 0, 0.3, 0, 0, 0, 0, 0], "a layer's number in the name"),
    ("[{filter: 'layers.*.self', value: 0.3}, {value: 0}]", [0] * 8, "a filter is no glob"),
    ("[{filter: 'q_proj|k_proj', value: 0.3}, {value: 0}]", [0] * 8, "a filter is no regular expression"),
    ("[{filter: SELF, value: 0.3}, {value: 0}]", [0] * 8, "letters in their own case"),
    ("[{value: 0.25}, {filter: self_attn, value: 0.75}]", [0.25] * 8, "nothing is read after what fits all"),
    ("[{filter: norm, value: [0.2, 0.7]}, {filter: head, value: [0.3, 0.9]}, {value: 0}]",
     [0, 0, 0, 0, 0, 0, 0.2, 0.3], "the final norm and the head get the first value of a filtered gradient too"),
]  # fmt: skip


@pytest.mark.parametrize(("weight", "expected", "why"), GRADIENTS, ids=[row[2] for row in GRADIENTS])
def test_a_parameter_as_mergekit_spreads_it(weight: str, expected: list[float], why: str) -> None:
    unquoted = weight.strip("'") if weight.startswith("'[") else weight
    assert spread(numbers(models(unquoted), 5)) == pytest.approx(expected), why


def test_a_filtered_gradient_runs_over_all_layers() -> None:
    weight = "[{filter: self_attn, value: 0.1}, {filter: mlp, value: [0, 1]}, {value: 0.5}]"
    found = numbers(models(weight), 5)
    assert spread(found) == pytest.approx([0.5, 0.1, 0.1, 0.1, 0.1, 0.1, 0.5, 0.5])
    assert spread(found, "mlp.up_proj") == pytest.approx([0.5, 0, 0.25, 0.5, 0.75, 1, 0.5, 0.5])
    assert spread(found, "input_layernorm") == pytest.approx([0.5] * 8)


def sliced(own: str = "", slice_level: str = "", top: str = "{normalize: false, weight: 0.4}") -> str:
    """Two slices, of three and of two layers; `own` and `slice_level` are parameters in the first alone."""
    given = f", parameters: {own}" if own else ""
    level = f"  parameters: {slice_level}\n" if slice_level else ""
    return (
        "merge_method: linear\nslices:\n"
        f"- sources: [{{model: org/zero, layer_range: [0, 3]}}, {{model: org/one, layer_range: [0, 3]{given}}}]\n"
        f"{level}"
        "- sources: [{model: org/zero, layer_range: [3, 5]}, {model: org/one, layer_range: [3, 5]}]\n"
        f"parameters: {top}\n"
    )


FIRST, SECOND = 3, 2
TOP_GRADIENT = "{normalize: false, weight: [1, 2]}"

# parameters of source, slice and top; the first slice's numbers, with what is outside; the second's; why
LEVELS: list[tuple[tuple[str, str, str], list[float], list[float], str]] = [
    (("{weight: 0.1}", "{weight: 0.2}", "{normalize: false, weight: 0.4}"), [0.1] * 6, [0.4] * 5,
     "a source goes before its slice, a slice before the whole"),
    (("", "{weight: 0.2}", "{normalize: false, weight: 0.4}"), [0.2] * 6, [0.4] * 5, "a slice before the whole"),
    (("{weight: [0.1, 0.9]}", "", "{normalize: false, weight: 0.4}"), [0.1, 0.1, 0.5, 0.9, 0.1, 0.1], [0.4] * 5,
     "a gradient of a source runs over its slice"),
    (("", "{weight: [0.1, 0.9]}", TOP_GRADIENT), [0.1, 0.1, 0.5, 0.9, 0.1, 0.1], [1, 1, 2, 1, 1],
     "a gradient of the whole runs over each slice anew"),
    (("{weight: [{filter: mlp, value: 0.1}]}", "{weight: [{filter: self_attn, value: 0.2}]}",
      "{normalize: false, weight: [{filter: embed, value: 0.6}, {value: 0.4}]}"),
     [0.6, 0.2, 0.2, 0.2, 0.4, 0.4], [0.6, 0.4, 0.4, 0.4, 0.4],
     "what no filter of a level fits goes on to the next level"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "first", "second", "why"), LEVELS, ids=[row[3] for row in LEVELS])
def test_levels_in_the_order_of_mergekit(
    given: tuple[str, str, str], first: list[float], second: list[float], why: str
) -> None:
    config = sliced(*given)
    assert spread(numbers(config, FIRST, "part_1")) == pytest.approx(first), why
    assert spread(numbers(config, SECOND, "part_2")) == pytest.approx(second), why


def test_the_only_layer_of_a_slice_gets_the_last_value() -> None:
    config = sliced().replace("[0, 3]", "[2, 3]").replace("weight: 0.4", "weight: [0.25, 0.75, 0.6]")
    assert spread(numbers(config, 1, "part_1")) == pytest.approx([0.25, 0.6, 0.25, 0.25])
    assert spread(numbers(config, 1, "part_1", fix=True)) == pytest.approx([0.25, 0.25, 0.6, 0.6])


def test_fixing_the_faults_lets_a_gradient_reach_norm_and_head() -> None:
    assert spread(numbers(models("[0, 1]"), 5, fix=True)) == pytest.approx([0, 0, 0.25, 0.5, 0.75, 1, 1, 1])


# merge_method; whether the result is an average where nothing is said
NORMALIZE = {
    "linear": True, "task_arithmetic": False, "ties": True, "dare_ties": False, "dare_linear": False, "della": True,
    "della_linear": False, "breadcrumbs": False, "breadcrumbs_ties": False,
}  # fmt: skip


@pytest.mark.parametrize("method", NORMALIZE)
def test_whether_weights_are_normalised_where_nothing_says_so(method: str) -> None:
    base = "" if method == "linear" else "base_model: org/base\n"
    config = (
        f"merge_method: {method}\n{base}models: [{{model: org/one}}, {{model: org/two}}]\nparameters: {{weight: 1}}\n"
    )
    text = imported(config).text
    assert ("normalize: true" in text) is NORMALIZE[method]
    assert ("normalize: false" in text) is not NORMALIZE[method]


# merge_method; what is given; what the recipe says because of a default
DEFAULTS: list[tuple[str, str, str]] = [
    ("breadcrumbs", "density: 0.5", "gamma: 0.01"),
    ("breadcrumbs", "density: 0.5", "rescale: none"),
    ("della", "density: 0.5", "epsilon: 0.15"),
    ("della_linear", "density: 0.5", "rescale: l1"),
    ("dare_linear", "density: 0.5", "rescale: l1"),
    ("dare_ties", "density: 0.5", "combine: sum"),
    ("ties", "lambda: 1", "density: 1"),
    ("ties", "density: 0.5", "rescale: none"),
    ("sce", "int8_mask: true", "select_topk: 1"),
    ("model_stock", "int8_mask: true", "axis: tensor"),
    ("nuslerp", "weight: 2", "axis: tensor"),
    ("nuslerp", "nuslerp_row_wise: true", "axis: tensor"),
    ("karcher", "max_iter: 7", "tol: 1e-5"),
    ("karcher", "tol: 1e-3", "max_iter: 10"),
    ("ram", "epsilon: 0.1", "epsilon: 0.1"),
    ("ramplus_tl", "epsilon: 0.1", "r: 0.1"),
    ("ramplus_tl", "epsilon: 0.1", "alpha: 0.2"),
]


@pytest.mark.parametrize(("method", "given", "said"), DEFAULTS, ids=lambda row: str(row))
def test_a_default_of_mergekit_is_written_out(method: str, given: str, said: str) -> None:
    weight = "" if "weight" in given else ", weight: 1"
    models_ = "models: [{model: org/one}, {model: org/two}]"
    config = f"merge_method: {method}\nbase_model: org/base\n{models_}\nparameters: {{{given}{weight}}}\n"
    text = imported(config).text
    assert f" {said}" in text or f"{{{said}" in text
    assert "scaled" not in text


def test_a_density_of_one_drops_nothing() -> None:
    config = "merge_method: dare_ties\nbase_model: org/base\nmodels: [{model: org/one, parameters: {weight: 0.5}}]\n"
    assert "d_one:  {op: delta, model: one, base: base}" in imported(config).text


@pytest.mark.parametrize("method", ["dare_linear", "della", "breadcrumbs"])
@pytest.mark.parametrize(
    ("density", "node"), [("1.5", "d_one:  {op: delta"), ("-0.5", "op: scale, input: d_one, by: 0}")]
)
def test_a_density_beyond_its_range_keeps_all_or_nothing(method: str, density: str, node: str) -> None:
    given = f"parameters: {{weight: 0.5, density: {density}}}"
    config = f"merge_method: {method}\nbase_model: org/base\nmodels: [{{model: org/one, {given}}}]\n"
    assert node in imported(config).text
