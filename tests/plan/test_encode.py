"""Plans as JSON and back, and what the identity of a result depends on."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergegraph import pipeline
from mergegraph.expr import Expr, apply, cast, linear, read
from mergegraph.plan.encode import decode_expressions, encode_expressions, output_digests, plan_json
from mergegraph.recipe.load import parse_recipe
from mergegraph.walking import walk
from tests.plan.small_plans import planned, vector, write_vectors
from tests.tiny_models import write_model

FILES = [f"dir/file{n}" for n in range(3)]
READS = [read(FILES[n % 3], f"w{n}", "BF16", (3, n + 1), 64 * n, 6 * (n + 1), "weights") for n in range(4)]


@st.composite
def expressions(draw: st.DrawFn) -> list[Expr]:
    made: list[Expr] = [*READS, read(FILES[0], "d", "F32", (), 4096, 4, "delta")]
    for _ in range(draw(st.integers(0, 8))):
        operands = draw(st.lists(st.sampled_from(made), max_size=3))
        if draw(st.booleans()):
            made.append(
                linear([(draw(st.fractions()), x) for x in operands], draw(st.sampled_from(["weights", "delta"])))
            )
        else:
            parameters = [("t", draw(st.floats(allow_nan=False))), ("mode", "sign"), ("count", 3), ("twice", True)]
            made.append(apply("clamp", operands, parameters, "weights"))
    return [cast(x, "F16") if draw(st.booleans()) else x for x in draw(st.lists(st.sampled_from(made), max_size=4))]


@given(expressions())
def test_expressions_survive_json(roots: list[Expr]) -> None:
    """The same objects come back: equal expressions are one object within a process."""
    table, indices = json.loads(json.dumps(encode_expressions(roots, FILES)))
    decoded = decode_expressions(table, indices, FILES)
    assert [id(expr) for expr in decoded] == [id(expr) for expr in roots]


@given(expressions())
def test_a_shared_expression_is_written_once(roots: list[Expr]) -> None:
    table, _ = encode_expressions(roots, FILES)
    assert len(table) == sum(1 for _ in walk(*roots))


def test_large_fractions_stay_exact() -> None:
    """JSON's numbers are floats to many readers; numerators of 60 digits must come back whole."""
    third = linear([(Fraction(10**60 + 1, 3**90), READS[0])], "weights")
    table, indices = json.loads(json.dumps(encode_expressions([third], FILES)))
    assert decode_expressions(table, indices, FILES)[0] is third


def test_files_elsewhere_can_stand_in() -> None:
    """A worker that has the models in other places decodes with its own paths."""
    table, indices = encode_expressions([READS[1]], FILES)
    (moved,) = decode_expressions(table, indices, [f"/mnt/{path}" for path in FILES])
    assert moved is read("/mnt/dir/file1", "w1", "BF16", (3, 2), 64, 12)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return write_vectors(tmp_path)


SOUP = "m: {op: soup, inputs: [a, {from: b, weight: 2}]}\nout: {op: save, input: m, path: out}"


def digest(folder: Path, nodes: str = SOUP, **options: Any) -> str:
    plan = planned(folder, nodes, **options)
    return output_digests(plan, next(output for output in plan.outputs if output.node == "out"))[1]


OTHER_SOUP = "n: {op: soup, inputs: [b, a]}\nmore: {op: save, input: n, path: more}"
SAME: list[tuple[str, str, dict[str, Any]]] = [
    ("the folder it is written to", SOUP.replace("path: out", "path: elsewhere"), {}),
    ("-o", SOUP, {"output": Path("/nowhere/out")}),
    ("the budget", SOUP, {"budget_bytes": 1 << 20}),
    ("the workers", SOUP, {"workers": 1}),
    ("what else is saved", f"{SOUP}\nmore: {{op: save, input: b, path: more, dtype: bf16}}", {}),
    ("what else is saved, from shared reads", f"{SOUP}\n{OTHER_SOUP}", {}),
    ("the names of nodes", SOUP.replace("m: {op: soup", "avg: {op: soup").replace("input: m", "input: avg"), {}),
    ("how the same numbers are written", SOUP.replace("[a, {from: b, weight: 2}]", "[{from: a, weight: 0.5}, b]"), {}),
]


@pytest.mark.parametrize(("what", "nodes", "options"), SAME, ids=[row[0] for row in SAME])
def test_a_result_does_not_depend_on(what: str, nodes: str, options: dict[str, Any], models: Path) -> None:
    assert digest(models, nodes, **options) == digest(models), what


DIFFERENT = [
    ("a coefficient", SOUP.replace("weight: 2", "weight: 2.0000001")),
    ("the order of terms", SOUP.replace("[a, {from: b, weight: 2}]", "[{from: b, weight: 2}, a]")),
    ("the models", SOUP.replace("[a,", "[c,")),
    ("the dtype", SOUP.replace("path: out", "path: out, dtype: bf16")),
    ("an operation", f"{SOUP.replace('input: m', 'input: n')}\nn: {{op: clamp, input: m, within: [a, b]}}"),
    ("a delta saved as such", "d: {op: delta, model: a, base: b}\nout: {op: save, input: d, path: out, format: delta}"),
]


@pytest.mark.parametrize(("what", "nodes"), DIFFERENT, ids=[row[0] for row in DIFFERENT])
def test_a_result_depends_on(what: str, nodes: str, models: Path) -> None:
    assert digest(models, nodes) != digest(models), what


def test_a_result_depends_on_the_seed(models: Path) -> None:
    def with_seed(seed: int) -> str:
        text = f"mergegraph: 1\nseed: {seed}\nmodels: {{a: ./a}}\nnodes: {{out: {{op: save, input: a, path: out}}}}"
        plan = pipeline.plan(parse_recipe(text, file="seed.yaml", folder=models))
        return output_digests(plan, plan.outputs[0])[1]

    assert with_seed(1) == with_seed(1)
    assert with_seed(1) != with_seed(2)


def test_a_result_depends_on_how_it_is_cut_into_files(tmp_path: Path) -> None:
    write_vectors(tmp_path, (), a={"v": vector(0), "w": vector(1)}, b={"v": vector(2), "w": vector(3)})
    assert digest(tmp_path, SOUP.replace("path: out", "path: out, max_shard_size: 20")) != digest(tmp_path)


def test_a_result_depends_on_the_repaired_config(models: Path) -> None:
    before = digest(models)
    (models / "a" / "config.json").write_text('{"model_type": "llama"}')
    assert digest(models) != before


def test_a_result_depends_on_what_is_in_its_inputs(models: Path) -> None:
    before = digest(models)
    shutil.rmtree(models / "a")
    write_model(models / "a", {"w": vector(99)})
    assert digest(models) != before


def test_a_model_that_is_not_read_does_not_matter(models: Path) -> None:
    """Its numbers cannot reach the output: its coefficient is 0."""
    nodes = "m: {op: soup, inputs: [a, b, {from: c, weight: 0}]}\nout: {op: save, input: m, path: out}"
    before = digest(models, nodes)
    write_model(models / "c", {"w": vector(99)})
    assert digest(models, nodes) == before


def test_the_json_of_a_plan_has_all_a_worker_needs(models: Path) -> None:
    nodes = f"{SOUP}\nhalf: {{op: save, input: m, path: half, dtype: fp16}}"
    plan = planned(models, nodes, budget_bytes=3 << 20, workers=2)
    value = json.loads(json.dumps(plan_json(plan)))
    files = [entry["path"] for entry in value["inputs"]]
    assert files == [str(models / name / "model.safetensors") for name in "ab"]
    assert [entry["identity"] for entry in value["inputs"]] == [file.identity for file in plan.inputs]
    for output, entry in zip(plan.outputs, value["outputs"], strict=True):
        assert (entry["node"], entry["path"]) == (output.node, str(output.path))
        assert [file["bytes"] for file in entry["files"]] == [file.file_bytes for file in output.layout.files]
        roots = [tensor["expression"] for tensor in entry["tensors"]]
        assert decode_expressions(value["expressions"], roots, files) == [tensor.root for tensor in output.tensors]
    assert value["outputs"][1]["tensors"][0]["dtype"] == "F16"
    assert value["read_bytes"] == 32
    assert value["write_bytes"] == plan.write_bytes
    assert value["memory"]["budget_bytes"] == 3 << 20
    assert value["problems"] == []
