"""What an adapter's files may say, which tensors of a base it changes, and what is refused by name."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mergegraph.errors import InputError
from mergegraph.tensors.adapter import Adapter, open_adapter
from mergegraph.tensors.adapter_targets import targets
from tests.tiny_adapters import DEFAULTS, PREFIX, matrices, write_adapter

Q0, Q1 = "model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"
MODULES = {Q0: (6, 4), Q1: (6, 4)}
SHAPES = {f"{module}.weight": shape for module, shape in MODULES.items()} | {"model.norm.weight": (4,)}

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"use_dora": True}, "use_dora: true"),
    ({"init_lora_weights": "pissa"}, "init_lora_weights: pissa"),
    ({"init_lora_weights": "pissa_niter_16"}, "init_lora_weights: pissa_niter_16"),
    ({"init_lora_weights": "olora"}, "init_lora_weights: olora"),
    ({"init_lora_weights": "corda"}, "init_lora_weights: corda"),
    ({"init_lora_weights": "loftq"}, "init_lora_weights: loftq"),
    ({"init_lora_weights": "mica"}, "init_lora_weights: mica"),
    ({"init_lora_weights": 1}, "init_lora_weights: 1"),
    ({"layer_replication": [[0, 2]]}, "layer_replication"),
    ({"trainable_token_indices": [3]}, "trainable_token_indices"),
    ({"target_parameters": ["experts.gate_up_proj"]}, "target_parameters"),
    ({"lora_bias": True}, "lora_bias: true"),
    ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
    ({"bias": "lora_only"}, "bias: lora_only"),
    ({"use_qalora": True}, "use_qalora"),
    ({"use_bdlora": {"x": 1}}, "use_bdlora"),
    ({"alora_invocation_tokens": [5]}, "alora_invocation_tokens"),
    ({"velora_config": {"x": 1}}, "velora_config"),
    ({"monteclora_config": {"x": 1}}, "monteclora_config"),
    ({"arrow_config": {"x": 1}}, "arrow_config"),
    ({"kasa_config": {"x": 1}}, "kasa_config"),
    ({"ensure_weight_tying": True}, "ensure_weight_tying"),
    ({"peft_type": "LOHA"}, "peft_type: LOHA"),
    ({"made_up": "yes"}, "made_up: yes"),
    ({"r": 0}, "`r: 0` is not a whole number above zero"),
    ({"lora_alpha": "8"}, "`lora_alpha: 8` is not a number"),
    ({"rank_pattern": {"(": 3}}, "rank_pattern"),
    ({"alpha_pattern": {"q_proj": None}}, "alpha_pattern"),
    ({"layers_to_transform": "all"}, "layers_to_transform"),
    ({"layers_pattern": ["["]}, "layers_pattern"),
    ({"use_rslora": "yes"}, "use_rslora"),
]


def adapter(folder: Path, tensors: Mapping[str, Tensor] | None = None, **config: Any) -> Adapter:
    return open_adapter("lora", write_adapter(folder / "lora", tensors or matrices(MODULES), **config).parent)


def refusal(folder: Path, tensors: Mapping[str, Tensor] | None = None, **config: Any) -> str:
    with pytest.raises(InputError) as refused:
        adapter(folder, tensors, **config)
    assert all(problem.model == "lora" for problem in refused.value.problems)
    return str(refused.value)


@pytest.mark.parametrize(("config", "named"), REFUSED, ids=[named for _, named in REFUSED])
def test_what_is_no_plain_sum_is_refused_by_name(config: dict[str, Any], named: str, tmp_path: Path) -> None:
    assert named in refusal(tmp_path, **config)


def test_everything_that_is_refused_is_said_at_once(tmp_path: Path) -> None:
    text = refusal(tmp_path, use_dora=True, lora_bias=True, made_up=1)
    assert all(key in text for key in ("use_dora", "lora_bias", "made_up"))


@pytest.mark.parametrize(
    "config",
    [
        {"init_lora_weights": "gaussian"},
        {"init_lora_weights": False},
        {"init_lora_weights": "eva", "eva_config": {"rho": 2.0}},
        {"made_up": None, "made_up_too": [], "and_this": False},
        {"lora_dropout": 0.5, "task_type": None, "target_modules": "all-linear", "exclude_modules": ["lm_head"]},
        {"runtime_config": {"ephemeral_gpu_offload": False}, "megatron_config": {"x": 1}},
    ],
)
def test_what_changes_no_number_is_accepted(config: dict[str, Any], tmp_path: Path) -> None:
    assert [factors.module for factors in adapter(tmp_path, **config).factors] == [Q0, Q1]


SCALINGS: list[tuple[dict[str, Any], Fraction, Fraction, str]] = [
    ({}, Fraction(2), Fraction(2), "alpha / r"),
    ({"lora_alpha": 0.7}, Fraction(7, 30), Fraction(7, 30), "the decimals that are written"),
    ({"use_rslora": True}, Fraction(6 / math.sqrt(3)), Fraction(6 / math.sqrt(3)), "alpha / sqrt(r)"),
    ({"alpha_pattern": {"layers.1.self_attn.q_proj": 9}}, Fraction(2), Fraction(3), "the end of a module's name"),
    ({"alpha_pattern": {"proj": 9}}, Fraction(2), Fraction(2), "not the end of a part of it"),
    ({"alpha_pattern": {r"layers\.[1-9].*": 9, "q_proj": 3}}, Fraction(1), Fraction(3), "the first that fits"),
]


@pytest.mark.parametrize(("config", "first", "second", "reason"), SCALINGS, ids=[row[3] for row in SCALINGS])
def test_scaling(config: dict[str, Any], first: Fraction, second: Fraction, reason: str, tmp_path: Path) -> None:
    assert [factors.scaling for factors in adapter(tmp_path, **config).factors] == [first, second], reason


def test_a_rank_pattern_gives_a_module_its_rank_and_scaling(tmp_path: Path) -> None:
    tensors = matrices({Q0: (6, 4)}) | matrices({Q1: (6, 4)}, rank=2)
    made = adapter(tmp_path, tensors, rank_pattern={"layers.1.self_attn.q_proj": 2})
    assert [(factors.rank, factors.scaling) for factors in made.factors] == [(3, 2), (2, 3)]
    assert "do not have the rank 3" in refusal(tmp_path, tensors)


LAYERS: list[tuple[dict[str, Any], list[str], str]] = [
    ({"layers_to_transform": [1]}, [Q1], "a list"),
    ({"layers_to_transform": 0}, [Q0], "a number"),
    ({"layers_to_transform": []}, [Q0, Q1], "an empty list is none"),
    ({"layers_to_transform": [1], "layers_pattern": "layers"}, [Q1], "with the name of the layers"),
    ({"layers_to_transform": [1], "layers_pattern": ["blocks", "layers"]}, [Q1], "with several names"),
]


@pytest.mark.parametrize(("config", "kept", "reason"), LAYERS, ids=[row[2] for row in LAYERS])
def test_layers_to_transform(config: dict[str, Any], kept: list[str], reason: str, tmp_path: Path) -> None:
    made = adapter(tmp_path, **config)
    assert [factors.module for factors in made.factors] == kept, reason
    assert any("left out" in problem.fact for problem in made.warnings) == (len(kept) < 2)


STRANGE: list[tuple[str, Tensor, str]] = [
    (f"{PREFIX}{Q0}.lora_magnitude_vector", torch.ones(6), "no LoRA matrix is"),
    (f"{PREFIX}lm_head.weight", torch.ones(8, 4), "no LoRA matrix is"),
    (f"{PREFIX}{Q0}.lora_B.bias", torch.ones(6), "no LoRA matrix is"),
    (f"{PREFIX}{Q0}.bias", torch.ones(6), "no LoRA matrix is"),
    (f"{PREFIX}model.norm.lora_A.weight", torch.ones(3, 4), "lora_B is missing"),
    (f"{PREFIX}{Q0}.lora_A.weight", torch.ones(3, 4, dtype=torch.int32), "is I32, not floating point"),
    (f"{PREFIX}{Q0}.lora_A.weight", torch.ones(3), "not a matrix"),
    (f"{PREFIX}{Q0}.lora_A.weight", torch.ones(2, 4), "do not have the rank 3"),
    (f"{PREFIX}{Q0}.lora_B.weight", torch.ones(6, 5), "do not have the rank 3"),
]


@pytest.mark.parametrize(("name", "tensor", "said"), STRANGE)
def test_tensors_that_are_no_pair_are_named(name: str, tensor: Tensor, said: str, tmp_path: Path) -> None:
    text = refusal(tmp_path, matrices(MODULES) | {name: tensor})
    assert said in text
    assert name.removeprefix(PREFIX).partition(".lora_")[0] in text


def test_names_with_the_adapters_own_name_in_them_are_read(tmp_path: Path) -> None:
    """As a state dict that was saved without peft has them."""
    tensors = {
        name.removeprefix(PREFIX).replace(".weight", ".default.weight"): tensor
        for name, tensor in matrices(MODULES).items()
    }
    assert [factors.module for factors in adapter(tmp_path, tensors).factors] == [Q0, Q1]


def test_folders_that_are_no_adapter(tmp_path: Path) -> None:
    for name, file, said in (
        ("empty", "README.md", "there is no adapter_config.json"),
        ("model", "config.json", "op: delta"),
        ("half", "adapter_config.json", "there is no adapter_model.safetensors"),
        ("pickled", "adapter_model.bin", "mergegraph convert .*/pickled -o .*/pickled-safetensors"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(json.dumps(DEFAULTS))
        with pytest.raises(InputError, match=said):
            open_adapter(name, tmp_path)
    with pytest.raises(InputError, match="no folder or file"):
        open_adapter("nowhere", tmp_path)


def test_a_config_that_is_no_json_object_is_refused(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "lora", matrices(MODULES))
    for text, said in (("[]", "not a JSON object"), ('{"r": 1, "r": 2}', "there twice"), ("{", "not JSON")):
        (folder / "adapter_config.json").write_text(text)
        with pytest.raises(InputError, match=said) as refused:
            open_adapter("lora", tmp_path)
        assert "save the adapter again" in refused.value.problems[0].fix


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir], ids=["a pipe", "a folder"])
@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
def test_what_is_no_regular_file_is_refused_with_a_fix(file: str, make: Callable[[Path], None], tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "lora", matrices(MODULES))
    (folder / file).unlink()
    make(folder / file)
    with pytest.raises(InputError, match="not a regular file") as refused:
        open_adapter("lora", tmp_path)
    assert all(problem.fix for problem in refused.value.problems)


def fitted(made: Adapter, shapes: Mapping[str, tuple[int, ...]]) -> tuple[dict[str, bool], list[str]]:
    """Tensor → whether the product is transposed; and what is said."""
    found, problems = targets(made, shapes, "base")
    return {name: target.is_transposed for name, target in found.items()}, list(map(str, problems))


READINGS: list[tuple[str, str, str]] = [
    ("model.layers.0.q", "model.layers.0.q.weight", "the same"),
    ("transformer.h.0.q", "h.0.q.weight", "a base that was saved without its head"),
    ("layers.0.q", "model.layers.0.q.weight", "an adapter that was trained without a head"),
]


@pytest.mark.parametrize(("module", "name", "reason"), READINGS, ids=[row[2] for row in READINGS])
def test_names_are_mapped_to_the_bases(module: str, name: str, reason: str, tmp_path: Path) -> None:
    found, said = fitted(adapter(tmp_path, matrices({module: (6, 4)})), {"lm_head.weight": (8, 4), name: (6, 4)})
    assert (found, said) == ({name: False}, []), reason


def test_the_tensors_follow_the_base(tmp_path: Path) -> None:
    assert list(fitted(adapter(tmp_path), dict(reversed(SHAPES.items())))[0]) == [f"{Q1}.weight", f"{Q0}.weight"]


def test_a_module_that_the_base_lacks_is_named(tmp_path: Path) -> None:
    found, (said,) = fitted(adapter(tmp_path), {f"{Q0}.weight": (6, 4)})
    assert list(found) == [f"{Q0}.weight"]
    assert Q1 in said
    assert f"{PREFIX}{Q1}.lora_A.weight" in said


def test_a_shape_that_does_not_fit_is_told_with_both(tmp_path: Path) -> None:
    _, (said,) = fitted(adapter(tmp_path), SHAPES | {f"{Q0}.weight": (5, 4)})
    assert "[6, 4]" in said
    assert "[5, 4]" in said


ORIENTATIONS: list[tuple[dict[str, Any], dict[str, tuple[int, int]], dict[str, bool], str, str]] = [
    ({}, {"a": (6, 4), "s": (4, 4)}, {"a.weight": False, "s.weight": False}, "", "as it is"),
    ({"fan_in_fan_out": True}, {"a": (4, 6), "s": (4, 4)}, {"a.weight": True, "s.weight": True}, "", "as it says"),
    ({}, {"a": (4, 6), "b": (6, 4)}, {"a.weight": True, "b.weight": False}, "warning", "shapes are right"),
    ({}, {"a": (4, 6), "s": (4, 4)}, {"a.weight": True, "s.weight": False}, "s.weight, which is square", "unknown"),
]


@pytest.mark.parametrize(("config", "base", "expected", "said", "reason"), ORIENTATIONS)
def test_fan_in_fan_out(
    config: dict[str, Any], base: dict[str, tuple[int, int]], expected: dict[str, bool], said: str, reason: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    """The adapter's modules a and b make [6, 4], s [4, 4]; the base stores `base`."""
    made = {"a": (6, 4), "b": (6, 4), "s": (4, 4)}
    opened = adapter(tmp_path, matrices({module: made[module] for module in base}), **config)
    found, problems = fitted(opened, {f"{module}.weight": shape for module, shape in base.items()})
    assert found == expected, reason
    assert said in "\n".join(problems)
    assert bool(problems) == bool(said)


def test_an_embedding_is_always_transposed_and_its_copy_is_not_read(tmp_path: Path) -> None:
    module = "model.embed_tokens"
    tensors = {
        f"{PREFIX}{module}.lora_embedding_A": torch.ones(3, 16),
        f"{PREFIX}{module}.lora_embedding_B": torch.ones(4, 3),
        f"{PREFIX}{module}.base_layer.weight": torch.ones(16, 4),
    }
    made = adapter(tmp_path, tensors)
    assert fitted(made, {f"{module}.weight": (16, 4)}) == ({f"{module}.weight": True}, [])
    assert "is not read" in str(made.warnings[0])
    _, said = fitted(made, {f"{module}.weight": (18, 4)})
    assert "another vocabulary" in "\n".join(said)


def test_a_convolution_keeps_its_dimensions(tmp_path: Path) -> None:
    tensors = {f"{PREFIX}c.lora_A.weight": torch.ones(3, 5, 2, 2), f"{PREFIX}c.lora_B.weight": torch.ones(7, 3, 1, 1)}
    assert fitted(adapter(tmp_path, tensors), {"c.weight": (7, 5, 2, 2)}) == ({"c.weight": False}, [])
