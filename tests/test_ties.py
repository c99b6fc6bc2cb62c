"""Tied heads: kept where all are tied, offered where one is not, refused where two results would be one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mergegraph.errors import RecipeError, RunError
from mergegraph.ties import is_tied, untied_config
from tests.execute.merging import merged, planned
from tests.tiny_models import Tensors, llama_tensors, write_model

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
TIED = {"model_type": "llama", "tie_word_embeddings": True}
UNTIED = {"model_type": "llama", "tie_word_embeddings": False}
FULL = llama_tensors()


def tuned(seed: int, head: str = "own") -> Tensors:
    """A fine-tune; its head is its own, a copy of the embedding, or not stored."""
    tensors = llama_tensors(noise_of=FULL, seed=seed)
    if head == "own":
        return tensors
    del tensors[HEAD]
    return tensors if head == "none" else {**tensors, HEAD: tensors[EMBEDDING].clone()}


def models(folder: Path, **heads: tuple[str, Mapping[str, object]]) -> dict[str, Tensors]:
    made = {name: tuned(seed, head) for seed, (name, (head, _)) in enumerate(heads.items(), 1)}
    for name, (_, config) in heads.items():
        write_model(folder / name, made[name], config=config)
    return made


def soup(folder: Path, *names: str, extra: str = "") -> tuple[Tensors, dict[str, object]]:
    loads = "".join(f"{name}: {{op: load, model: {name}}}\n" for name in names)
    nodes = f"m: {{op: soup, inputs: [{', '.join(names)}]{extra}}}\nout: {{op: save, input: m, path: out}}"
    merged(planned(folder, loads + nodes))
    return load_file(folder / "out" / "model.safetensors"), json.loads((folder / "out" / "config.json").read_text())


@pytest.mark.parametrize("heads", [("none", "none"), ("copy", "copy"), ("copy", "none"), ("none", "copy")])
def test_models_that_are_all_tied_give_one_without_a_head(heads: tuple[str, str], tmp_path: Path) -> None:
    held = models(tmp_path, a=(heads[0], TIED), b=(heads[1], TIED))
    found, config = soup(tmp_path, "a", "b")
    assert HEAD not in found
    assert torch.equal(found[EMBEDDING], 0.5 * held["a"][EMBEDDING] + 0.5 * held["b"][EMBEDDING])
    assert config["tie_word_embeddings"] is True


@pytest.mark.parametrize("order", [("tied", "free"), ("free", "tied")])
@pytest.mark.parametrize("head", ["none", "copy"])
def test_a_tied_model_offers_its_embedding_to_one_that_is_not(
    head: str, order: tuple[str, str], tmp_path: Path
) -> None:
    held = models(tmp_path, tied=(head, TIED), free=("own", UNTIED))
    found, config = soup(tmp_path, *order)
    assert torch.allclose(found[HEAD], 0.5 * held["tied"][EMBEDDING] + 0.5 * held["free"][HEAD], atol=1e-7)
    assert torch.allclose(found[EMBEDDING], 0.5 * held["tied"][EMBEDDING] + 0.5 * held["free"][EMBEDDING], atol=1e-7)
    assert config["tie_word_embeddings"] is False


def test_a_tied_model_that_meets_no_other_stays_tied(tmp_path: Path) -> None:
    """Two merges in one recipe: only models that meet are looked at together."""
    models(tmp_path, a=("none", TIED), b=("none", TIED), free=("own", UNTIED))
    nodes = "".join(f"{name}: {{op: load, model: {name}}}\n" for name in ("a", "b", "free"))
    nodes += "m: 0.5*a + 0.5*b\none: {op: save, input: m, path: one}\ntwo: {op: save, input: free, path: two}"
    merged(planned(tmp_path, nodes))
    assert HEAD not in load_file(tmp_path / "one" / "model.safetensors")
    assert json.loads((tmp_path / "one" / "config.json").read_text())["tie_word_embeddings"] is True
    assert HEAD in load_file(tmp_path / "two" / "model.safetensors")


def test_a_stored_head_that_is_not_the_embedding_stops_the_run(tmp_path: Path) -> None:
    models(tmp_path, a=("own", TIED), b=("none", TIED))
    with pytest.raises(RunError) as refused:
        soup(tmp_path, "a", "b")
    assert "holds other numbers than model.embed_tokens.weight" in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_head_from_another_model_than_the_embedding_is_refused(tmp_path: Path) -> None:
    models(tmp_path, a=("copy", TIED), b=("copy", TIED))
    nodes = "a: {op: load, model: a}\nb: {op: load, model: b}\n"
    nodes += "m: {op: select, cases: [{kind: head, from: b}], otherwise: a}\nout: {op: save, input: m, path: out}"
    with pytest.raises(RecipeError) as refused:
        planned(tmp_path, nodes)
    (problem,) = refused.value.problems
    assert problem.fact == f"Head and embedding are tied, and come from different models: {HEAD} and {EMBEDDING}."


TWO_NUMBERS = "t: [{kind: embedding, value: 0.2}, {kind: head, value: %s}, {value: 0.5}]"


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("none", [f"rule 2 gives the head 0.7, rule 1 gives {EMBEDDING} 0.2"]),
        ("copy", [f't of "m": {HEAD} gets 0.7, {EMBEDDING} gets 0.2', HEAD, EMBEDDING]),
    ],
)
def test_two_numbers_for_a_tied_head_and_its_embedding_are_refused_with_both(
    head: str, said: list[str], tmp_path: Path
) -> None:
    models(tmp_path, a=(head, TIED), b=(head, TIED))
    nodes = "a: {op: load, model: a}\nb: {op: load, model: b}\nm: {op: slerp, a: a, b: b, %s}\n"
    nodes = nodes % TWO_NUMBERS + "out: {op: save, input: m, path: out}"
    with pytest.raises(RecipeError) as refused:
        planned(tmp_path, nodes % "0.7")
    (problem,) = refused.value.problems
    assert problem.severity == "error"
    assert all(each in f"{problem.fact} {problem.why}" for each in said)
    assert planned(tmp_path, nodes % "0.2").warnings == ()


CAUSAL = {"architectures": ["GemmaForCausalLM"]}


@pytest.mark.parametrize(
    ("config", "head", "tied", "why"),
    [
        ({"tie_word_embeddings": True}, "own", True, "it says so"),
        ({"tie_word_embeddings": False}, "none", False, "it says so"),
        ({"text_config": {"tie_word_embeddings": True}}, "none", True, "said of the text model inside"),
        (CAUSAL, "none", True, "a language model needs a head, and transformers leaves out what is its default"),
        (CAUSAL, "own", False, "it has a head"),
        ({"architectures": ["LlamaModel"]}, "none", False, "a model without a head has none to tie"),
        ({}, "none", False, "nothing is known"),
    ],
)
def test_who_is_tied(config: dict[str, object], head: str, tied: bool, why: str) -> None:
    assert is_tied(config, tuned(1, head)) is tied, why


def test_an_untied_config_says_so_at_every_place_it_may_be_read() -> None:
    nested = untied_config({"tie_word_embeddings": True, "text_config": {"hidden_size": 8}})
    assert nested == {"tie_word_embeddings": False, "text_config": {"hidden_size": 8, "tie_word_embeddings": False}}
    assert untied_config({"hidden_size": 8}) == {"hidden_size": 8, "tie_word_embeddings": False}
