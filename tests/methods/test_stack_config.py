"""What config.json says of a stack: counts, lists and indices follow the layers, or the key is refused by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from mergegraph.errors import RecipeError
from mergegraph.methods.stack import Stack

Config = dict[str, Any]


def repaired(configs: Sequence[Mapping[str, Any]], *layers: str, tower: str | None = None) -> Config:
    """Slice i is `layers[i]` of a model with the i-th config; the last config serves the rest."""
    slices = [{"from": f"model{index}", "layers": each} for index, each in enumerate(layers)]
    each = [configs[min(index, len(configs) - 1)] for index in range(len(layers))]
    return Stack.model_validate({"slices": slices, "tower": tower}).repair_config(each, 0)


def four(**more: Any) -> Config:
    """A config of four layers."""
    return deep(4, **more)


def deep(count: int, **more: Any) -> Config:
    """A config of `count` layers."""
    return {"num_hidden_layers": count, **more}


REPAIRS: list[tuple[str, list[Config], list[str], Config]] = [
    ("the count", [four()], ["0:4", "1:3"], deep(6)),
    ("the count under the name it has", [{"n_layer": 4}], ["0:3"], {"n_layer": 3}),
    ("other keys stay", [four(hidden_size=8, x=[1])], ["0:2"], deep(2, hidden_size=8, x=[1])),
    (
        "a list with an entry for each layer",
        [four(layer_types=list("abcd"))],
        ["2:4", "0:1"],
        deep(3, layer_types=list("cda")),
    ),
    (
        "lists are taken from their own models",
        [four(layer_types=list("abcd")), four(layer_types=list("wxyz"))],
        ["0:1", "3:4"],
        deep(2, layer_types=list("az")),
    ),
    (
        "models of different depth",
        [four(sizes=[1, 2, 3, 4]), deep(2, sizes=[5, 6])],
        ["-1:", ":"],
        deep(3, sizes=[4, 5, 6]),
    ),
    (
        "lists that are as long by chance",
        [four(architectures=list("abcd"), eos_token_id=[1, 2, 3, 4])],
        ["0:1"],
        deep(1, architectures=list("abcd"), eos_token_id=[1, 2, 3, 4]),
    ),
    ("all layers before the window stay so", [four(max_window_layers=4)], ["0:4", "0:4"], deep(8, max_window_layers=8)),
    ("a prefix that stays a prefix", [four(max_window_layers=2)], ["0:2", "1:4"], deep(5, max_window_layers=3)),
    ("no layer of the prefix is left", [four(first_k_dense_replace=1)], ["1:3"], deep(2, first_k_dense_replace=0)),
    (
        "the dense first layer stays the first",
        [four(first_k_dense_replace=1)],
        ["0:4", "2:4"],
        deep(6, first_k_dense_replace=1),
    ),
    ("indices are mapped", [four(mlp_only_layers=[0, 3])], ["0:2", "2:4", "3:4"], deep(5, mlp_only_layers=[0, 3, 4])),
    (
        "indices by model",
        [four(mlp_only_layers=[0]), four(mlp_only_layers=[2])],
        ["0:1", "1:3"],
        deep(3, mlp_only_layers=[0, 2]),
    ),
    ("no indices", [four(mlp_only_layers=[])], ["0:2"], deep(2, mlp_only_layers=[])),
    ("a step of one moves with any layer", [four(decoder_sparse_step=1)], ["1:3"], deep(2, decoder_sparse_step=1)),
    ("a period that is not set", [four(attn_layer_period=None)], ["1:3"], deep(2, attn_layer_period=None)),
    (
        "inside a nested config",
        [{"model_type": "vl", "text_config": four(layer_types=list("abcd"))}],
        ["3:4"],
        {"model_type": "vl", "text_config": deep(1, layer_types=["d"])},
    ),
    ("a config that counts no layers stays", [{"model_type": "x"}], ["0:1"], {"model_type": "x"}),
    ("no config at all", [{}], ["0:1"], {}),
]


@pytest.mark.parametrize(("why", "configs", "layers", "expected"), REPAIRS, ids=[row[0] for row in REPAIRS])
def test_a_config_follows_its_layers(why: str, configs: list[Config], layers: list[str], expected: Config) -> None:
    before = [dict(config) for config in configs]
    assert repaired(configs, *layers) == expected, why
    assert configs == before, "the inputs' configs are left alone"


CANNOT: list[tuple[str, list[Config], list[str], str]] = [
    ("a prefix with a hole", [four(max_window_layers=2)], ["0:3", "1:4"], "max_window_layers: 2"),
    ("a dense first layer in the middle", [four(first_k_dense_replace=1)], ["2:4", "0:4"], "first_k_dense_replace: 1"),
    ("every second layer", [four(decoder_sparse_step=2)], ["0:4"], "decoder_sparse_step: 2"),
    ("attention in every eighth", [four(attn_layer_period=8)], ["0:4"], "attn_layer_period: 8"),
    ("experts in every second", [four(expert_layer_period=2)], ["0:4"], "expert_layer_period: 2"),
    ("a list that another model lacks", [four(layer_types=list("abcd")), four()], ["0:1", "0:1"], "layer_types: None"),
    (
        "a list of another length",
        [four(layer_types=list("abcd")), four(layer_types=list("ab"))],
        ["0:1", "0:1"],
        "layer_types: ['a', 'b']",
    ),
]


@pytest.mark.parametrize(("why", "configs", "layers", "named"), CANNOT, ids=[row[0] for row in CANNOT])
def test_a_key_that_no_stack_can_keep_is_named(why: str, configs: list[Config], layers: list[str], named: str) -> None:
    with pytest.raises(RecipeError) as refused:
        repaired(configs, *layers)
    assert named in str(refused.value), why


T5 = {"num_layers": 4, "num_decoder_layers": 6}
BART = {"encoder_layers": 4, "decoder_layers": 6, "num_hidden_layers": 4}
CLIP = {"text_config": {"num_hidden_layers": 4}, "vision_config": {"num_hidden_layers": 6}}
TOWERS: list[tuple[str, Config, str, Config]] = [
    ("the encoder of a T5", T5, "encoder.block", {"num_layers": 3}),
    ("its decoder", T5, "decoder.block", {"num_decoder_layers": 3}),
    ("the encoder of a BART", BART, "model.encoder.layers", {"encoder_layers": 3}),
    ("its decoder", BART, "model.decoder.layers", {"decoder_layers": 3}),
    ("a decoder alone", four(), "model.decoder.layers", deep(3)),
    ("the text tower of a CLIP", CLIP, "text_model.encoder.layers", {"text_config": deep(3)}),
    ("its vision tower", CLIP, "vision_model.encoder.layers", {"vision_config": deep(3)}),
    ("a language model inside a vision-language model", CLIP, "language_model.layers", {"text_config": deep(3)}),
]


@pytest.mark.parametrize(("why", "config", "tower", "changed"), TOWERS)
def test_the_count_of_the_stacked_tower_changes(why: str, config: Config, tower: str, changed: Config) -> None:
    assert repaired([config], "1:4", tower=tower) == config | changed, why


def test_a_config_that_counts_fewer_layers_than_there_are_is_refused() -> None:
    """The tensors have the sixth layer, or the stack would have been refused before; only the config says four."""
    with pytest.raises(RecipeError) as refused:
        repaired([deep(6), four()], "0:6", "4:6")
    assert 'The config.json of "model1" does not fit its tensors' in str(refused.value)
    assert "num_hidden_layers says 4" in str(refused.value)
