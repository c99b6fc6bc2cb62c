"""Inputs that differ in dtype, tying or vocabulary: refused, or stored as the trunk stores them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from mergegraph.errors import RecipeError
from mergegraph.expr import apply, read
from tests.plan.small_plans import planned, tensor
from tests.tiny_models import llama_tensors, write_model

TIED = {"model_type": "llama", "num_hidden_layers": 2, "tie_word_embeddings": True}
EMBEDDING = "model.embed_tokens.weight"


def refusal(folder: Path, nodes: str) -> str:
    with pytest.raises(RecipeError) as refused:
        planned(folder, nodes)
    return "\n".join(map(str, refused.value.problems))


def pair(folder: Path, one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> Path:
    write_model(folder / "a", one)
    write_model(folder / "b", other)
    return folder


FLOATS, INTEGERS = torch.ones(4), torch.arange(4)


@pytest.mark.parametrize(
    ("one", "other", "node"),
    [
        (INTEGERS, INTEGERS.int(), "{op: select, cases: [{kind: other, from: b}], otherwise: a}"),
        (INTEGERS, FLOATS, "{op: select, cases: [{kind: other, from: b}], otherwise: a}"),
        (FLOATS, INTEGERS, "{op: soup, inputs: [a, b]}"),
        (INTEGERS, FLOATS, "{op: soup, inputs: [a, b]}"),
        (FLOATS, INTEGERS.int(), "{op: clamp, input: a, within: [b]}"),
    ],
    ids=["two integer dtypes", "integers and floats", "floats and integers", "integers first", "clamp"],
)
def test_what_is_not_stored_alike_is_not_mixed(
    tmp_path: Path, one: torch.Tensor, other: torch.Tensor, node: str
) -> None:
    said = refusal(pair(tmp_path, {"w": one}, {"w": other}), f"m: {node}\nout: {{op: save, input: m, path: out}}")
    assert "w" in said
    assert "int" in said or "I64" in said
    assert "fix" in said


def test_float8_is_written_only_when_that_is_asked_for(tmp_path: Path) -> None:
    values = torch.tensor([1.0, 2.0, 4.0, 8.0]).to(torch.float8_e4m3fn)
    write_model(tmp_path / "a", {"w": values})
    nodes = "m: {op: soup, inputs: [a, {from: b, weight: 3}]}\nout: {op: save, input: m, path: out%s}"
    other = values.float().mul(2).to(torch.float8_e4m3fn)
    write_model(tmp_path / "b", {"w": other})
    assert tensor(planned(tmp_path, nodes % "").outputs[0]).dtype.torch_name == "bfloat16"
    assert tensor(planned(tmp_path, nodes % ", dtype: float8_e4m3fn").outputs[0]).dtype.torch_name == "float8_e4m3fn"
    copied = "m: {op: select, cases: [{from: b}], otherwise: a}\nout: {op: save, input: m, path: out}"
    assert tensor(planned(tmp_path, copied).outputs[0]).dtype.torch_name == "float8_e4m3fn"


def test_a_stacked_layer_keeps_the_dtype_it_is_stored_in(tmp_path: Path) -> None:
    names = [f"model.layers.{layer}.mlp.up_proj.weight" for layer in range(3)]
    stored = dict(zip(names, (torch.ones(4, 4), torch.ones(4, 4).bfloat16(), torch.ones(4, 4)), strict=True))
    write_model(tmp_path / "a", stored)
    nodes = 'm: {op: stack, slices: [{from: a, layers: "0:1"}, {from: a, layers: "2:3"}]}\n'
    plan = planned(tmp_path, nodes + "out: {op: save, input: m, path: out}")
    assert [each.dtype.code for each in plan.outputs[0].tensors] == ["F32", "F32"]
    assert all(each.is_copy for each in plan.outputs[0].tensors)


def test_a_stack_takes_embedding_and_head_from_models_that_go_together(tmp_path: Path) -> None:
    untied = llama_tensors()
    tied = {name: value for name, value in llama_tensors(noise_of=untied, seed=1).items() if "lm_head" not in name}
    write_model(tmp_path / "untied", untied)
    write_model(tmp_path / "tied", tied, config=TIED)
    write_model(tmp_path / "wide", llama_tensors(vocab=32))
    slices = 'm: {{op: stack, slices: [{{from: {}, layers: "0:1"}}, {{from: {}, layers: "1:2"}}]{}}}\n'
    save = "out: {op: save, input: m, path: out}"
    for first, last in (("untied", "tied"), ("tied", "untied")):
        tensors = planned(tmp_path, slices.format(first, last, "") + save).outputs[0].tensors
        assert "lm_head.weight" in {each.name for each in tensors}  # the tied model's embedding is its head
    write_model(tmp_path / "headless", tied)  # nothing says that it is tied
    for first, last in (("untied", "headless"), ("headless", "untied")):
        assert "is tied and has no head" in refusal(tmp_path, slices.format(first, last, "") + save)
    mixed = slices.format("untied", "tied", ", head_from: untied") + save
    assert "lm_head.weight" in {each.name for each in planned(tmp_path, mixed).outputs[0].tensors}
    assert "different vocabularies" in refusal(tmp_path, slices.format("untied", "wide", "") + save)


def test_a_tied_head_that_is_stored_gets_the_embedding_s_numbers(tmp_path: Path) -> None:
    base = llama_tensors()
    base["lm_head.weight"] = base[EMBEDDING].clone()
    tuned = llama_tensors(noise_of=base, seed=1)
    tuned["lm_head.weight"] = tuned[EMBEDDING].clone()
    write_model(tmp_path / "base", base, config=TIED)
    write_model(tmp_path / "tuned", tuned, config=TIED)
    nodes = "d: {{op: delta, model: tuned, base: base}}\nm: {{op: scale, input: d, by: {}}}\n"
    nodes += "s: {{op: sum, inputs: [base, m]}}\nout: {{op: save, input: s, path: out}}"
    assert planned(tmp_path, nodes.format("0.5")).outputs
    said = refusal(tmp_path, nodes.format("[{kind: head, value: 0.1}, {value: 0.5}]"))
    assert "tied" in said
    assert "lm_head.weight" in said


def test_dropping_what_is_missing_keeps_buffers(tmp_path: Path) -> None:
    buffer = "model.layers.0.self_attn.rotary_emb.inv_freq"
    pair(tmp_path, {"w": FLOATS, "v": FLOATS + 1, buffer: FLOATS + 2}, {"w": FLOATS * 1.01})
    plan = planned(tmp_path, "m: {op: soup, inputs: [a, b], missing: drop}\nout: {op: save, input: m, path: out}")
    assert {each.name for each in plan.outputs[0].tensors} == {"w", buffer}


def test_a_schedule_with_a_gap_is_a_problem_and_not_a_crash(tmp_path: Path) -> None:
    pair(tmp_path, {"w": FLOATS}, {"w": FLOATS * 1.01})
    nodes = "m: {op: soup, inputs: [a, {from: b, weight: [{kind: mlp, value: 2}]}]}\nout: {op: save, input: m, path: o}"
    assert "inputs.1.weight" in refusal(tmp_path, nodes)


def test_outputs_stay_out_of_each_other_and_of_partial_folders(tmp_path: Path) -> None:
    pair(tmp_path, {"w": FLOATS}, {"w": FLOATS * 1.01})
    both = "m: 0.5*a + 0.5*b\none: {{op: save, input: m, path: {}}}\ntwo: {{op: save, input: m, path: {}}}"
    for paths in (("out", "out/sub"), ("out/sub", "out")):
        assert "Two saves meet on disk" in refusal(tmp_path, both.format(*paths))
    assert "names that end in .partial" in refusal(tmp_path, both.format("out", "out.partial"))
    write_model(tmp_path / "x.partial", {"w": FLOATS})
    nodes = "y: {op: load, model: ./x.partial}\nm: 0.5*a + 0.5*y\nout: {op: save, input: m, path: x}"
    assert 'The output is an input: "y"' in refusal(tmp_path, nodes)


def test_numbers_of_other_types_are_other_expressions() -> None:
    x = read("p", "w", "F32", (4,), 0, 16)
    made = {apply("clamp", [x], [("n", value)], "weights") for value in (1, 1.0, True)}
    assert len(made) == 3


def test_a_chain_longer_than_the_stack_is_planned(tmp_path: Path) -> None:
    pair(tmp_path, {"w": FLOATS}, {"w": FLOATS * 1.01})
    links = "\n".join(f"x{n + 1}: {{op: clamp, input: {f'x{n}' if n else 'a'}, within: [b]}}" for n in range(1200))
    plan = planned(tmp_path, f"{links}\nout: {{op: save, input: x1200, path: out}}")
    assert plan.projection.shape.slots <= 4
