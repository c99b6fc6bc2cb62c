"""The linear operations: what one tensor becomes, against the arithmetic a person would do; and which tensors meet."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mergegraph import pipeline
from mergegraph.errors import RecipeError
from mergegraph.expr import Expr, Linear, Read, Space, read
from mergegraph.methods.base import Method, Parameters, SpaceError
from mergegraph.methods.registry import methods
from tests.plan.small_plans import planned, recipe, vector, write_vectors, written
from tests.tiny_models import llama_tensors, write_model

VALUES = {name: Fraction(prime, 8) for name, prime in zip("abcd", (3, 7, 11, 19), strict=True)}
READS = {name: read(name, "w", "F32", (1,), 0, 4) for name in VALUES}
A, B, C, D = VALUES.values()


def worth(expr: Expr | None) -> Fraction:
    match expr:
        case Read():
            return VALUES[expr.path]
        case Linear():
            return sum((coefficient * worth(x) for coefficient, x in expr.terms), Fraction(0))
        case _:
            raise AssertionError(expr)


def expanded(method: Method, absent: str = "", numbers: Mapping[Any, Fraction] | None = None) -> Fraction:
    """One tensor of the method; the nodes called `absent` are deltas without it."""
    inputs = [None if edge.node in absent else READS[edge.node] for edge in method.edges()]
    given = {path: Fraction(repr(value)) for path, value in method.coefficients()}
    return worth(method.expand(inputs, Parameters(given | dict(numbers or {})), "weights"))


def node(op: str, **fields: object) -> Method:
    return methods()[op].model_validate(fields)


def soup(*weighted: tuple[str, float], normalize: bool = True) -> Method:
    return node("soup", inputs=[{"from": name, "weight": weight} for name, weight in weighted], normalize=normalize)


def total(*names: str) -> Method:
    return node("sum", inputs=list(names))


ARITHMETIC = [
    ("a task vector", node("delta", model="a", base="b"), "", A - B),
    ("a tensor that one model lacks has no task vector", node("delta", model="a", base="b"), "a", Fraction(0)),
    ("the other way round", node("delta", model="a", base="b"), "b", Fraction(0)),
    ("a strength", node("scale", input="a", by=0.3), "", Fraction(3, 10) * A),
    ("a strength of zero", node("scale", input="a", by=0.0), "", Fraction(0)),
    ("the opposite", node("negate", input="a"), "", -A),
    ("the opposite of nothing", node("negate", input="a"), "a", Fraction(0)),
    ("everything added", total("a", "b", "c"), "", A + B + C),
    ("twice the same", total("a", "a"), "", 2 * A),
    ("a delta that lacks the tensor adds nothing", total("a", "b", "c"), "b", A + C),
    ("an average", soup(("a", 1), ("b", 1), ("c", 1)), "", (A + B + C) / 3),
    ("weights are shares", soup(("a", 1), ("b", 3)), "", (A + 3 * B) / 4),
    ("weights are decimals, not floats", soup(("a", 0.1), ("b", 0.2)), "", (A + 2 * B) / 3),
    ("weights as they are", soup(("a", 0.1), ("b", 0.2), normalize=False), "", A / 10 + B / 5),
    ("an absent delta counts in the average as zero", soup(("a", 1), ("b", 1)), "b", A / 2),
    ("weights that add up to zero, not normalised", soup(("a", 1), ("b", -1), normalize=False), "", A - B),
]


@pytest.mark.parametrize(("why", "method", "absent", "result"), ARITHMETIC, ids=[row[0] for row in ARITHMETIC])
def test_one_tensor(why: str, method: Method, absent: str, result: Fraction) -> None:
    assert expanded(method, absent) == result, why


SPACES: list[tuple[Method, tuple[Space, ...], Space | str]] = [
    (node("delta", model="a", base="b"), ("weights", "weights"), "delta"),
    (node("delta", model="a", base="b"), ("weights", "delta"), 'takes weights here, and "b" is delta'),
    (node("delta", model="a", base="b"), ("delta", "weights"), 'takes weights here, and "a" is delta'),
    (node("scale", input="a", by=2.0), ("weights",), "weights"),
    (node("scale", input="a", by=2.0), ("delta",), "delta"),
    (node("negate", input="a"), ("delta",), "delta"),
    (node("negate", input="a"), ("weights",), 'takes deltas, and "a" is weights'),
    (total("a", "b"), ("weights", "delta"), "weights"),
    (total("a", "b"), ("delta", "weights"), "weights"),
    (total("a", "b"), ("delta", "delta"), "delta"),
    (total("a", "b", "c"), ("delta", "weights", "weights"), 'Two weights are summed: "b" and "c"'),
    (soup(("a", 1), ("b", 1)), ("weights", "weights"), "weights"),
    (soup(("a", 1), ("b", 1)), ("delta", "delta"), "delta"),
    (soup(("a", 1), ("b", 1)), ("delta", "weights"), '"a" is delta, "b" is weights'),
]


@pytest.mark.parametrize(("method", "spaces", "result"), SPACES)
def test_the_space_of_a_result(method: Method, spaces: tuple[Space, ...], result: str) -> None:
    if result in ("weights", "delta"):
        assert method.space(spaces) == result
        return
    with pytest.raises(SpaceError) as refused:
        method.space(spaces)
    assert result in str(refused.value)
    assert refused.value.fix


def test_two_summed_weights_are_told_of_soup() -> None:
    with pytest.raises(SpaceError) as refused:
        total("a", "b").space(["weights", "weights"])
    assert refused.value.edge == 1
    assert refused.value.fix.startswith("use {op: soup, inputs: [a, b]} to average them")


MALFORMED: list[tuple[dict[str, Any], str]] = [
    ({}, "takes `inputs: [A, B]` or `models: GLOB`"),
    ({"inputs": ["a"], "models": "runs/*"}, "takes `inputs: [A, B]` or `models: GLOB`"),
    ({"inputs": ["a"], "last": 2}, "`last` goes with `models: GLOB`"),
    ({"models": "runs/*", "last": 0}, "greater than or equal to 1"),
]


@pytest.mark.parametrize(("fields", "message"), MALFORMED)
def test_a_soup_takes_inputs_or_a_glob(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        methods()["soup"].model_validate(fields)


@pytest.fixture(scope="module")
def llamas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llamas")
    base = llama_tensors()
    for seed, name in enumerate("ab", 1):
        write_model(folder / name, llama_tensors(noise_of=base, seed=seed))
    return folder


def test_a_weight_may_differ_from_tensor_to_tensor(llamas: Path) -> None:
    nodes = "m: {op: soup, inputs: [{from: a, weight: [{kind: attention, value: 3}, {value: 1}]}, b]}"
    plan = planned(llamas, f"{nodes}\nout: {{op: save, input: m, path: out}}")
    (output,) = plan.outputs
    assert written(plan, output, "model.layers.1.self_attn.q_proj.weight") == "0.75 a + 0.25 b"
    assert written(plan, output, "model.layers.1.mlp.up_proj.weight") == "0.5 a + 0.5 b"


def test_a_weight_may_be_a_gradient(llamas: Path) -> None:
    nodes = "m: {op: soup, normalize: false, inputs: [{from: a, weight: [0.25, 0.5]}, {from: b, weight: 2}]}"
    plan = planned(llamas, f"{nodes}\nout: {{op: save, input: m, path: out}}")
    (output,) = plan.outputs
    assert written(plan, output, "model.layers.0.mlp.up_proj.weight") == "0.25 a + 2 b"
    assert written(plan, output, "model.layers.1.mlp.up_proj.weight") == "0.5 a + 2 b"


@pytest.mark.parametrize(
    ("weights", "tensor"),
    [
        (("1", "-1"), "lm_head.weight"),
        (("0", "0"), "lm_head.weight"),
        (("0.1", "-0.1"), "lm_head.weight"),
        (("[{part: k, value: -2}, {value: 1}]", "2"), "model.layers.0.self_attn.k_proj.weight"),
    ],
)
def test_weights_that_add_up_to_zero_are_refused(weights: tuple[str, str], tensor: str, llamas: Path) -> None:
    first, second = weights
    nodes = f"m: {{op: soup, inputs: [{{from: a, weight: {first}}}, {{from: b, weight: {second}}}]}}"
    with pytest.raises(RecipeError) as refused:
        pipeline.check(recipe(llamas, f"{nodes}\nout: {{op: save, input: m, path: out}}"))
    (problem,) = refused.value.problems
    assert problem.fact == "The weights of a soup add up to zero."
    assert (problem.node, problem.tensor) == ("m", tensor)
    assert "normalize: false" in problem.fix


MISSING = [
    ("error", "two models of one base have one set of tensors", "missing: error", None),
    ("keep", "as the trunk, the first, has it", "missing: keep", {"w": "0.5 a + 0.5 b", "x": "a"}),
    ("drop", "only what all have", "missing: drop", {"w": "0.5 a + 0.5 b"}),
]


@pytest.mark.parametrize(("policy", "why", "option", "tensors"), MISSING, ids=[row[0] for row in MISSING])
def test_a_tensor_that_one_model_lacks(
    policy: str, why: str, option: str, tensors: dict[str, str] | None, tmp_path: Path
) -> None:
    write_vectors(tmp_path, ("b",), a={"w": vector(1), "x": vector(2, 3)})
    nodes = f"m: {{op: soup, inputs: [a, b], {option}}}\nout: {{op: save, input: m, path: out}}"
    if tensors is None:
        with pytest.raises(RecipeError, match='"b" lacks a tensor that "a" has'):
            planned(tmp_path, nodes)
        return
    plan = planned(tmp_path, nodes)
    (output,) = plan.outputs
    assert {each.name: written(plan, output, each.name) for each in output.tensors} == tensors, why
    assert [problem.severity for problem in plan.warnings] == ["warning"]


def test_a_kept_tensor_is_zero_in_a_delta(tmp_path: Path) -> None:
    """base has x and a lacks it: with `keep`, a's task vector is zero there, and the sum leaves x alone."""
    write_vectors(tmp_path, ("a",), base={"w": vector(1), "x": vector(2, 3)})
    nodes = "d: {op: delta, model: a, base: base, missing: keep}\nm: {op: sum, inputs: [base, d]}"
    plan = planned(tmp_path, f"{nodes}\nout: {{op: save, input: m, path: out}}")
    (output,) = plan.outputs
    assert {each.name: written(plan, output, each.name) for each in output.tensors} == {"w": "a", "x": "base"}
