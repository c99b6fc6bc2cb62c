"""Selection: each tensor from the first case that matches it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mergegraph import pipeline
from mergegraph.errors import RecipeError
from tests.plan.small_plans import planned, recipe, vector, written
from tests.tiny_models import llama_tensors, write_model


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fine-tunes `a` and `b`; `base`; `short`, without the head; `wide`, with a larger embedding."""
    folder = tmp_path_factory.mktemp("models")
    base = llama_tensors()
    write_model(folder / "base", base)
    for seed, name in enumerate("ab", 1):
        write_model(folder / name, llama_tensors(noise_of=base, seed=seed))
    write_model(folder / "short", {name: tensor for name, tensor in base.items() if name != "lm_head.weight"})
    write_model(folder / "wide", base | {"model.embed_tokens.weight": vector(5, 17 * 8).reshape(17, 8)})
    return folder


def chosen(folder: Path, select: str) -> dict[str, str]:
    plan = planned(folder, f"m: {{op: select, {select}}}\nout: {{op: save, input: m, path: out}}")
    (output,) = plan.outputs
    return {tensor.name: written(plan, output, tensor.name) for tensor in output.tensors}


def refusal(folder: Path, nodes: str, saved: str = "input: m, path: out") -> str:
    with pytest.raises(RecipeError) as refused:
        pipeline.check(recipe(folder, f"{nodes}\nout: {{op: save, {saved}}}"))
    errors = [problem for problem in refused.value.problems if problem.severity == "error"]
    assert all(problem.node == "m" and problem.at for problem in errors)
    return str(refused.value)


def test_the_first_case_that_matches_decides(models: Path) -> None:
    found = chosen(
        models, 'cases: [{kind: attention, layers: "1:2", from: a}, {kind: attention, from: b}], otherwise: base'
    )
    for name, source in found.items():
        expected = "base" if "self_attn" not in name else "a" if ".1." in name else "b"
        assert source == expected, name


def test_a_later_case_gets_what_is_left(models: Path) -> None:
    found = chosen(models, 'cases: [{match: "*.mlp.*", from: a}, {layers: "0:1", from: b}], otherwise: base')
    assert found["model.layers.0.mlp.up_proj.weight"] == "a"
    assert found["model.layers.0.self_attn.q_proj.weight"] == "b"
    assert found["model.layers.1.self_attn.q_proj.weight"] == "base"


def test_cases_that_cover_everything_need_no_otherwise(models: Path) -> None:
    found = chosen(models, "cases: [{kind: mlp, from: a}, {from: b}]")
    assert set(found.values()) == {"a", "b"}


def test_tensors_that_no_case_matches_are_an_error(models: Path) -> None:
    message = refusal(models, "m: {op: select, cases: [{kind: attention, from: a}]}")
    assert "No case matches 13 tensors." in message
    assert "add `otherwise: NODE`" in message


def test_of_deltas_what_no_case_matches_is_left_out(models: Path) -> None:
    """And is zero where the delta is added."""
    plan = planned(
        models,
        "d: {op: delta, model: a, base: base}\nm: {op: select, cases: [{kind: attention, from: d}]}\n"
        "moved: {op: sum, inputs: [base, m]}\nout: {op: save, input: moved, path: out}",
    )
    (output,) = plan.outputs
    assert written(plan, output, "model.layers.0.self_attn.q_proj.weight") == "a"
    assert written(plan, output, "model.layers.0.mlp.up_proj.weight") == "base"
    assert len(output.tensors) == 21


def test_a_case_that_matches_nothing_is_an_error(models: Path) -> None:
    message = refusal(models, 'm: {op: select, cases: [{match: "*.attention.*", from: a}], otherwise: b}')
    assert "case 1" in message


def test_a_tensor_that_the_chosen_model_lacks(models: Path) -> None:
    message = refusal(models, "m: {op: select, cases: [{kind: head, from: short}], otherwise: a}")
    assert '"short" does not have lm_head.weight.' in message
    assert "narrow the case" in message


def test_a_model_that_lacks_a_tensor_may_give_others(models: Path) -> None:
    found = chosen(models, "cases: [{kind: mlp, from: short}], otherwise: a")
    assert found["lm_head.weight"] == "a"
    assert found["model.layers.0.mlp.up_proj.weight"] == "short"


def test_a_tensor_of_another_shape(models: Path) -> None:
    message = refusal(models, "m: {op: select, cases: [{kind: embedding, from: wide}], otherwise: a}")
    assert "Tensor model.embed_tokens.weight has two shapes." in message
    assert '"wide" is [17, 8], the trunk is [16, 8]' in message


def test_models_and_deltas_do_not_mix(models: Path) -> None:
    message = refusal(
        models, "d: {op: delta, model: a, base: base}\nm: {op: select, cases: [{kind: mlp, from: d}], otherwise: b}"
    )
    assert '"d" is delta, "b" is weights' in message


def test_the_other_model_gives_the_sidecar_files(tmp_path: Path) -> None:
    base = llama_tensors()
    for seed, name in enumerate("ab", 1):
        write_model(tmp_path / name, llama_tensors(noise_of=base, seed=seed), config={"of": name})
    ends = [("m: {op: select, cases: [{kind: mlp, from: a}], otherwise: b}", "b")]
    ends.append(("m: {op: select, cases: [{kind: mlp, from: a}, {from: b}]}", "a"))
    for nodes, trunk in ends:
        plan = planned(tmp_path, f"{nodes}\nout: {{op: save, input: m, path: out}}")
        assert plan.outputs[0].sidecars.config["of"] == trunk
