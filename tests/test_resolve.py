"""The graph meets real headers: which tensors each node has, what does not fit, and with which numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mergegraph import pipeline
from mergegraph.errors import InputError, MergegraphError, Problem, RecipeError
from mergegraph.opening import open_inputs
from mergegraph.recipe.load import parse_recipe
from mergegraph.recipe.model import Recipe
from mergegraph.resolve import Resolved
from tests.execute.merging import merged, planned
from tests.tiny_models import llama_tensors, write_model

Tensors = Mapping[str, torch.Tensor]
BASE = llama_tensors()
TUNED = llama_tensors(noise_of=BASE, seed=1)
Q = "model.layers.0.self_attn.q_proj.weight"
K = "model.layers.1.self_attn.k_proj.weight"
BUFFER = "model.layers.0.self_attn.rotary_emb.inv_freq"
HEAD = "mergegraph: 1\nnodes:\n"
LOADS = "base: {op: load, model: base}\ncode: {op: load, model: code}\n"


def without(tensors: Tensors, *names: str) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name not in names}


def recipe(folder: Path, nodes: str) -> Recipe:
    text = HEAD + "".join(f"  {line}\n" for line in nodes.strip().splitlines())
    return parse_recipe(text, file="merge.yaml", folder=folder)


def checked(folder: Path, nodes: str) -> Resolved:
    return pipeline.check(recipe(folder, f"{nodes}\nout: {{op: save, input: x, path: out}}"))


def refused(folder: Path, nodes: str) -> tuple[Problem, ...]:
    with pytest.raises(MergegraphError) as caught:
        checked(folder, nodes)
    return caught.value.problems


def models(folder: Path, base: Tensors = BASE, code: Tensors = TUNED) -> Path:
    write_model(folder / "base", base)
    write_model(folder / "code", code)
    return folder


def tensors_of(resolved: Resolved, name: str) -> set[str]:
    return set(resolved.nodes[name].tensors)


EXPRESSIONS = [
    ("x: base + 0.5*(code - base)", "d: {op: delta, model: code, base: base, missing: keep}"),
    ("x: 0.5*base + 0.5*code", "missing: keep}"),
    ("x: base + 0.5*(code - (0.5*base + 0.5*base))", "missing: keep}"),
]


@pytest.mark.parametrize(("nodes", "fix"), EXPRESSIONS)
def test_an_expression_is_advised_a_node_for_what_it_cannot_hold(nodes: str, fix: str, tmp_path: Path) -> None:
    models(tmp_path, code=without(TUNED, Q))
    (problem,) = refused(tmp_path, LOADS + nodes)
    assert "write a node for it" in problem.fix
    assert fix in problem.fix


def test_an_expression_over_an_inner_result_is_to_be_written_as_nodes(tmp_path: Path) -> None:
    models(tmp_path, code=without(TUNED, Q))
    (problem,) = refused(tmp_path, LOADS + "x: base + 0.5*(code - (0.3*base + 0.7*code))")
    assert "missing: keep" in problem.fix


def test_models_and_adapters_that_cannot_be_opened_are_told_together(tmp_path: Path) -> None:
    models(tmp_path)
    nodes = (
        "gone: {op: load, model: ./gone}\nl: {op: lora, adapter: ./none, base: base}\nx: {op: sum, inputs: [gone, l]}"
    )
    assert [problem.node for problem in refused(tmp_path, LOADS + nodes)] == ["gone", "l"]


RULES = """x:
  op: scale
  input: code
  by:
    - {kind: expert, value: 1}
    - {value: 2}
    - {kind: attention,
       value: 3}
    - match: "nothing"
      value: 4"""


def test_a_problem_of_a_rule_is_where_the_rule_is(tmp_path: Path) -> None:
    problems = refused(models(tmp_path), LOADS + RULES)
    assert {problem.fact.split(" of ")[0]: problem.at.line for problem in problems
        if problem.node == "x" and problem.at} == {
        "Rule 1": 9, "Rule 3": 11, "Rule 4": 13,
    }  # fmt: skip


def words(problems: Iterable[Problem]) -> str:
    return "\n".join(map(str, problems))


# Tensors that one model has and another lacks

COMBINED = {
    "delta": "x0: {{op: delta, model: code, base: base{policy}}}\nx: {{op: sum, inputs: [base, x0]}}",
    "soup": "x: {{op: soup, inputs: [base, code]{policy}}}",
    "clamp": "x: {{op: clamp, input: base, within: [code]{policy}}}",
}


@pytest.mark.parametrize("nodes", COMBINED.values(), ids=COMBINED)
def test_a_tensor_that_is_missing_is_an_error_that_names_it(nodes: str, tmp_path: Path) -> None:
    models(tmp_path, code=without(TUNED, Q, K))
    (problem,) = refused(tmp_path, LOADS + nodes.format(policy=""))
    assert '"code" lacks 2 tensors that "base" has' in problem.fact
    assert str(problem.at) == "merge.yaml:5"
    assert problem.tensor == Q
    assert K in problem.why
    assert "missing: keep" in problem.fix


@pytest.mark.parametrize("nodes", COMBINED.values(), ids=COMBINED)
def test_missing_tensors_may_be_kept(nodes: str, tmp_path: Path) -> None:
    models(tmp_path, code=without(TUNED, Q))
    resolved = checked(tmp_path, LOADS + nodes.format(policy=", missing: keep"))
    assert tensors_of(resolved, "x") == set(BASE)
    assert "kept as" in words(resolved.warnings)
    merged(
        planned(tmp_path, f"{LOADS}{nodes.format(policy=', missing: keep')}\nout: {{op: save, input: x, path: out}}")
    )
    output = load_file(tmp_path / "out" / "model.safetensors")
    assert output[Q].equal(BASE[Q])
    if "clamp" not in nodes:
        assert not output[K].equal(BASE[K])


def test_missing_tensors_may_be_dropped(tmp_path: Path) -> None:
    models(tmp_path, code=without(TUNED, Q))
    resolved = checked(tmp_path, LOADS + COMBINED["soup"].format(policy=", missing: drop"))
    assert tensors_of(resolved, "x") == set(BASE) - {Q}
    assert "left out" in words(resolved.warnings)


def test_a_tensor_too_many_is_an_error_or_is_dropped(tmp_path: Path) -> None:
    models(tmp_path, code={**TUNED, "extra.weight": torch.ones(3)})
    (problem,) = refused(tmp_path, LOADS + COMBINED["soup"].format(policy=""))
    assert '"code" has a tensor that "base" lacks' in problem.fact
    assert problem.tensor == "extra.weight"
    assert "extra: drop" in problem.fix
    resolved = checked(tmp_path, LOADS + COMBINED["soup"].format(policy=", extra: drop"))
    assert tensors_of(resolved, "x") == set(BASE)
    assert "extra.weight" in words(resolved.warnings)


@pytest.mark.parametrize("side", ["base", "code"])
def test_buffers_that_carry_no_learning_only_warn(side: str, tmp_path: Path) -> None:
    held = {"base": BASE, "code": TUNED}
    models(tmp_path, **{**held, side: {**held[side], BUFFER: torch.ones(4)}})
    resolved = checked(tmp_path, LOADS + COMBINED["soup"].format(policy=""))
    (warning,) = resolved.warnings
    assert warning.severity == "warning"
    assert BUFFER in warning.why
    assert (BUFFER in resolved.nodes["x"].tensors) == (side == "base")


def test_two_shapes_of_one_tensor_are_an_error_with_both(tmp_path: Path) -> None:
    grown = {**TUNED, "lm_head.weight": torch.ones(19, 8), "model.embed_tokens.weight": torch.ones(19, 8)}
    models(tmp_path, code=grown)
    (problem,) = refused(tmp_path, LOADS + COMBINED["soup"].format(policy=""))
    assert "has two shapes (1 more tensors differ)" in problem.fact
    assert problem.why == '"base" is [16, 8], "code" is [19, 8]'
    assert "vocabulary" in problem.fix


# Deltas


def test_tensors_that_a_delta_lacks_are_zeros(tmp_path: Path) -> None:
    models(tmp_path)
    write_model(tmp_path / "d", {Q: torch.full((8, 8), 0.5)}, metadata={"mergegraph.space": "delta"})
    merged(
        planned(
            tmp_path,
            """
base: {op: load, model: base}
d: {op: load, model: d}
x: base - 2*d
out: {op: save, input: x, path: out}""",
        )
    )
    output = load_file(tmp_path / "out" / "model.safetensors")
    assert output.pop(Q).equal(BASE[Q] - 1)
    assert all(tensor.equal(BASE[name]) for name, tensor in output.items())
    assert output.keys() == BASE.keys() - {Q}


def test_a_tensor_that_only_a_delta_has_is_an_error(tmp_path: Path) -> None:
    models(tmp_path)
    write_model(tmp_path / "d", {Q: BASE[Q], "other.weight": torch.ones(2)}, metadata={"mergegraph.space": "delta"})
    problems = refused(tmp_path, "base: {op: load, model: base}\nd: {op: load, model: d}\nx: base + d")
    assert '"d" has a tensor that "base" lacks' in words(problems)


def test_a_saved_delta_loads_as_a_delta_and_adds_up_to_the_model(tmp_path: Path) -> None:
    models(tmp_path)
    delta = "d: {op: delta, model: code, base: base}\nout: {op: save, input: d, path: task, format: delta}"
    merged(planned(tmp_path, LOADS + delta))
    nodes = "base: {op: load, model: base}\ntask: {op: load, model: task}\nx: {op: sum, inputs: [base, task]}"
    assert checked(tmp_path, nodes).nodes["task"].node.space == "delta"
    merged(planned(tmp_path, f"{nodes}\nout: {{op: save, input: x, path: out}}"))
    output = load_file(tmp_path / "out" / "model.safetensors")
    for name, tensor in output.items():
        assert tensor.equal(BASE[name] + (TUNED[name] - BASE[name]))


def test_integers_are_in_weights_and_not_in_deltas(tmp_path: Path) -> None:
    ids = {"position_ids": torch.arange(5)}
    models(tmp_path, {**BASE, **ids}, {**TUNED, **ids})
    resolved = checked(tmp_path, LOADS + COMBINED["delta"].format(policy=""))
    assert "position_ids" not in resolved.nodes["x0"].tensors
    assert "position_ids" in resolved.nodes["x"].tensors


# Renaming


def test_rename_changes_prefixes_so_that_models_meet(tmp_path: Path) -> None:
    models(tmp_path, code={f"language_model.{name}": tensor for name, tensor in TUNED.items()})
    nodes = 'base: {op: load, model: base}\ncode: {op: load, model: code, rename: {language_model.: ""}}\n'
    resolved = checked(tmp_path, nodes + COMBINED["soup"].format(policy=""))
    assert tensors_of(resolved, "code") == set(BASE)
    assert resolved.nodes["code"].stored[Q].name == f"language_model.{Q}"


def test_the_longest_prefix_decides(tmp_path: Path) -> None:
    models(tmp_path)
    nodes = "x: {op: load, model: base, rename: {model.: m., model.layers.: blocks.}}"
    names = tensors_of(checked(tmp_path, nodes), "x")
    assert {"m.norm.weight", "blocks.0.self_attn.q_proj.weight", "lm_head.weight"} < names


def test_a_rename_that_makes_two_tensors_one_is_an_error(tmp_path: Path) -> None:
    models(tmp_path)
    problems = refused(tmp_path, "x: {op: load, model: base, rename: {model.layers.0.: model.layers.1.}}")
    assert "`rename` gives two tensors the name model.layers.1." in problems[0].fact
    assert {str(problem.at) for problem in problems} == {"merge.yaml:3"}


def test_a_rename_that_finds_nothing_is_an_error(tmp_path: Path) -> None:
    models(tmp_path)
    (problem,) = refused(tmp_path, "x: {op: load, model: base, rename: {text_model.: model.}}")
    assert problem.fact == '`rename`: no tensor begins with "text_model.".'
    assert "the first tensor of the model is" in problem.why


# Schedules


def test_schedules_become_one_exact_number_for_each_tensor(tmp_path: Path) -> None:
    models(tmp_path)
    by = "[{kind: attention, value: [0.1, 0.7]}, {kind: embedding, value: 0.3}, {value: 1}]"
    delta = "d: {op: delta, model: code, base: base}\n"
    nodes = f"{delta}s: {{op: scale, input: d, by: {by}}}\nx: {{op: sum, inputs: [base, s]}}"
    resolved = checked(tmp_path, LOADS + nodes)
    node = resolved.nodes["s"]
    assert {name: node.parameters(name).by for name in (Q, K, "model.embed_tokens.weight", "model.norm.weight")} == {
        Q: Fraction(1, 10), K: Fraction(7, 10), "model.embed_tokens.weight": Fraction(3, 10), "model.norm.weight": 1,
    }  # fmt: skip


def test_a_soup_has_a_weight_for_each_input(tmp_path: Path) -> None:
    models(tmp_path)
    resolved = checked(tmp_path, LOADS + "x: {op: soup, inputs: [base, {from: code, weight: [2, 5]}]}")
    assert dict(resolved.nodes["x"].parameters(K)) == {
        ("inputs", 0, "weight"): Fraction(1), ("inputs", 1, "weight"): Fraction(5),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("by", "says"),
    [
        ("[{kind: attention, value: 0.5}]", "no rule"),  # the other tensors have no number
        ("[{match: '*nothing*', value: 0.5}, {value: 1}]", "*nothing*"),
    ],
)
def test_a_schedule_that_does_not_fit_is_an_error_at_its_line(by: str, says: str, tmp_path: Path) -> None:
    models(tmp_path)
    problems = refused(tmp_path, f"{LOADS}d: {{op: delta, model: code, base: base}}\n"
                       f"s: {{op: scale, input: d, by: {by}}}\nx: {{op: sum, inputs: [base, s]}}")  # fmt: skip
    assert says in words(problems).lower()
    assert {(problem.node, str(problem.at)) for problem in problems} == {("s", "merge.yaml:6")}


def test_numbers_that_a_method_cannot_use_are_found_at_the_tensor(tmp_path: Path) -> None:
    models(tmp_path)
    nodes = "x: {op: soup, inputs: [base, {from: code, weight: [{kind: mlp, value: -1}, {value: 1}]}]}"
    (problem,) = refused(tmp_path, LOADS + nodes)
    assert problem.fact == "The weights of a soup add up to zero."
    assert "mlp" in problem.tensor


# Everything at once


def test_problems_of_several_nodes_are_reported_together_with_their_lines(tmp_path: Path) -> None:
    models(tmp_path, code=without(TUNED, Q))
    write_model(tmp_path / "more", {**TUNED, "extra.weight": torch.ones(3)})
    problems = refused(tmp_path, f"{LOADS}more: {{op: load, model: more}}\n"
        "u: {op: soup, inputs: [base, code]}\nv: {op: soup, inputs: [base, more]}\n"
        "w: {op: scale, input: base, by: [{match: nothing, value: 1}, {value: 2}]}\n"
        "x: {op: soup, inputs: [u, v, w]}")  # fmt: skip
    assert [(problem.node, str(problem.at)) for problem in problems if problem.severity == "error"] == [
        ("u", "merge.yaml:6"), ("v", "merge.yaml:7"), ("w", "merge.yaml:8"),
    ]  # fmt: skip


def test_every_model_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    models(tmp_path)
    with pytest.raises(InputError) as caught:
        open_inputs(recipe(tmp_path, "base: {op: load, model: base}\nu: {op: load, model: cod}\n"
                           "v: {op: load, model: cod}\nw: {op: load, model: gone}\n"
                           "x: {op: soup, inputs: [base, u, v, w]}\nout: {op: save, input: x, path: out}"))  # fmt: skip
    assert [(problem.node, str(problem.at)) for problem in caught.value.problems] == [
        ("u", "merge.yaml:4"), ("w", "merge.yaml:6"),
    ]  # fmt: skip
    assert caught.value.problems[0].fix == "Did you mean code?"


def test_wrong_wiring_is_said_before_missing_models(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="negate takes deltas"):
        checked(
            tmp_path, "gone: {op: load, model: gone}\nx0: {op: negate, input: gone}\nx: {op: scale, input: x0, by: 1}"
        )


def test_one_model_under_two_names_is_opened_once(tmp_path: Path) -> None:
    models(tmp_path)
    opened = open_inputs(recipe(tmp_path, "a: {op: load, model: base}\nb: {op: load, model: base}\n"
                                "x: 0.5*a + 0.5*b\nout: {op: save, input: x, path: out}"))  # fmt: skip
    assert opened["a"] is opened["b"]


def test_a_node_without_tensors_is_an_error(tmp_path: Path) -> None:
    models(tmp_path, {Q: BASE[Q], K: BASE[K]}, {Q: BASE[Q]})
    write_model(tmp_path / "more", {K: BASE[K]})
    nodes = "more: {op: load, model: more}\nx: {op: soup, inputs: [base, code, more], missing: drop}"
    problems = refused(tmp_path, LOADS + nodes)
    assert [problem.fact for problem in problems if problem.severity == "error"] == ["No tensor is left."]
