"""Recipes written in Python are the recipes that a file would give."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mergegraph as mg
import mergegraph.builder
from mergegraph.builder import Handle, Merge
from mergegraph.errors import RecipeError
from mergegraph.graph import build
from mergegraph.recipe.load import parse_recipe
from mergegraph.recipe.model import Recipe, dump_recipe
from tests.cli.tiny_models import read_file, tensors, write_blend


def model(name: str) -> Handle:
    """A handle of a model that is not there: its wiring can be checked all the same."""
    return mg.load(f"./absent/{name}")


base, code, chat = model("base"), model("code"), model("chat")


def written(nodes: str, name: str = "x") -> Recipe:
    loads = "".join(f"  {each}: {{op: load, model: ./absent/{each}}}\n" for each in ("base", "code", "chat"))
    return parse_recipe(f"mergegraph: 1\nname: {name}\nnodes:\n{loads}{nodes}", file="x.yaml", folder=Path.cwd())


def same(merge: Merge, nodes: str) -> bool:
    """Whether the merge is the recipe with these nodes; loads that neither uses do not count."""
    made, wanted = merge.recipe(), written(nodes)
    used = {name: node for name, node in wanted.nodes.items() if name in made.nodes or name not in ("code", "chat")}
    return dict(made.nodes) == used and made.name == wanted.name and made.seed == wanted.seed


@pytest.mark.parametrize(
    ("make", "nodes"),
    [
        (lambda: base + 0.6 * (code - base),
         "n1: {op: delta, model: code, base: base}\n  n2: {op: scale, input: n1, by: 0.6}\n"
         "  n3: {op: sum, inputs: [base, n2]}\n  out: {op: save, input: n3, path: x}"),
        (lambda: base - 0.5 * (code - base),
         "n1: {op: delta, model: code, base: base}\n  n2: {op: scale, input: n1, by: -0.5}\n"
         "  n3: {op: sum, inputs: [base, n2]}\n  out: {op: save, input: n3, path: x}"),
        (lambda: base - (code - base),  # no number: negate
         "n1: {op: delta, model: code, base: base}\n  n2: {op: negate, input: n1}\n"
         "  n3: {op: sum, inputs: [base, n2]}\n  out: {op: save, input: n3, path: x}"),
        (lambda: base + sum([code - base, chat - base]),  # one sum
         "n1: {op: delta, model: code, base: base}\n  n2: {op: delta, model: chat, base: base}\n"
         "  n3: {op: sum, inputs: [base, n1, n2]}\n  out: {op: save, input: n3, path: x}"),
        (lambda: base + 0.5 * (0.2 * mg.delta(code, base)),  # 0.1 as it is written
         "n1: {op: delta, model: code, base: base}\n  n2: {op: scale, input: n1, by: 0.1}\n"
         "  n3: {op: sum, inputs: [base, n2]}\n  out: {op: save, input: n3, path: x}"),
        (lambda: mg.soup([base, code], weights=[1, 2]),
         "n1: {op: soup, inputs: [base, {from: code, weight: 2}]}\n  out: {op: save, input: n1, path: x}"),
        (lambda: mg.soup([base, code], normalize=False),
         "n1: {op: soup, inputs: [base, code], normalize: false}\n  out: {op: save, input: n1, path: x}"),
        (lambda: base + mg.scale(code - base, by=[{"kind": "mlp", "value": [0.1, 0.9]}, {"value": 1}]),
         "n1: {op: delta, model: code, base: base}\n"
         "  n2: {op: scale, input: n1, by: [{kind: mlp, value: [0.1, 0.9]}, {value: 1}]}\n"
         "  n3: {op: sum, inputs: [base, n2]}\n  out: {op: save, input: n3, path: x}"),
        (lambda: mg.select([{"kind": "mlp", "from": code}], otherwise=base),
         "n1: {op: select, cases: [{kind: mlp, from: code}], otherwise: base}\n  out: {op: save, input: n1, path: x}"),
        (lambda: mg.stack([(base, "0:2"), (code, "2:4"), (base, "3:4")], embed_from=code),
         "n1: {op: stack, slices: [{from: base, layers: '0:2'}, {from: code, layers: '2:4'}, "
         "{from: base, layers: '3:4'}], embed_from: code}\n  out: {op: save, input: n1, path: x}"),
        (lambda: mg.clamp(base, [base, code], name="held"),
         "held: {op: clamp, input: base, within: [base, code]}\n  out: {op: save, input: held, path: x}"),
        (lambda: mg.node("soup", inputs=[base, code], name="n1"),
         "n1: {op: soup, inputs: [base, code]}\n  out: {op: save, input: n1, path: x}"),
    ],
)  # fmt: skip
def test_operators_and_verbs_make_the_recipe_of_a_file(make: Callable[[], Handle], nodes: str) -> None:
    assert same(mg.save(make(), "x"), f"  {nodes}\n")


def test_the_text_of_a_merge_loads_to_the_same_recipe() -> None:
    merge = mg.merge(
        mg.save(base + 0.3 * (code - base), "one", dtype="bfloat16", files_from=code),
        mg.save(code - base, "two", name="learnt", format="delta"),
        name="both",
        seed=7,
    )
    recipe = merge.recipe()
    assert (recipe.name, recipe.seed) == ("both", 7)
    assert [node for node in recipe.nodes if recipe.nodes[node].method.op == "save"] == ["out", "learnt"]  # pyright: ignore
    assert parse_recipe(str(merge), file="x.yaml", folder=Path.cwd()) == recipe
    assert build(recipe).saves == ("out", "learnt")


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: base + code, ("base + code", "mg.soup([base, code])")),
        (lambda: base + 0.5 * code, ("mg.soup",)),
        (lambda: (code - base) - base, ("a model is subtracted", "base - BASE")),
        (lambda: base + 1, ("1 is added to", "multiply")),
        (lambda: 1 - cast("Any", base), ("1 is added to or subtracted from base",)),
        (lambda: (code - base) + 0.1, ("0.1 is added to", "0.5 * (code - base)")),
        (lambda: base * code, ("multiplied or divided by (code)", "mg.soup([base, code])")),
        (lambda: base * (code - base), ("by (code - base)", "add the delta to the model")),
        (lambda: base * True, ("by True", "plain number")),
        (lambda: (code - base) * np.ones(3), ("by a ndarray", "float(x)")),
        (lambda: np.ones(3) * cast("Any", code - base), ("by a ndarray", "mg.scale")),
        (lambda: (code - base) / 0, ("divided by zero",)),
        (lambda: 3 / cast("Any", base), ("3 is divided by base",)),
        (lambda: cast("Any", mg.soup)(base, code), ("one list", "mg.soup([A, B])")),
        (lambda: cast("Any", mg.soup)(base), ("one list",)),
        (lambda: mg.negate(base), ("negate takes delta", "base")),
        (lambda: mg.delta(base, code - base), ("delta takes weights",)),
        (lambda: mg.soup([base, code - base]), ("takes models, or deltas, not both",)),
        (lambda: mg.soup([base, code], weights=[1]), ("2 inputs and 1 weight.",)),
        (lambda: mg.save(base, "x").plan(budget="2 gigs"), ('"2 gigs" is not a size', 'budget="2GiB"')),
        (lambda: mg.save(base, "x").run(threads=0), ("There cannot be 0 threads", "threads=1")),
        (lambda: mg.delta(code, "base"), ("handle", 'base = mg.load("PATH")')),  # type: ignore[arg-type]
        (lambda: mg.save(base, "x", files_from="code"), ("files_from", "handle")),
        (lambda: mg.node("scal", input=base), ("Did you mean scale?",)),
        (lambda: mg.scale(base, by=1, name="s").inputs and mg.node("scale", input=base, bye=1), ("Did you mean by?",)),
        (lambda: mg.save(mg.clamp(base, [mg.load("./absent/base", name="base"), code], name="base"), "x").recipe(),
         ('called "base"',)),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_where_it_is_written(make: Callable[[], object], parts: tuple[str, ...]) -> None:
    with pytest.raises(RecipeError) as caught:
        make()
    message = str(caught.value)
    assert all(part in message for part in parts), message
    assert "test_builder.py:" in message
    assert "  fix     " in message


@pytest.mark.parametrize(
    ("divided", "by"),
    [((code - base) / 4, 0.25), ((code - base) / 3, 1 / 3), (np.float64(0.5) * cast("Any", code - base), 0.5)],
)
def test_a_quotient_and_a_number_of_numpy_are_plain_factors(divided: Handle, by: float) -> None:
    assert getattr(divided.method, "by", None) == by


def test_handles_know_their_space() -> None:
    learnt = code - base
    assert (base.space, learnt.space, (base + learnt).space, (-learnt).space) == (
        "weights",
        "delta",
        "weights",
        "delta",
    )
    assert repr(learnt) == "<delta code - base>"
    assert repr(base) == "<weights base>"


def test_names_are_given_once_and_numbered_where_they_meet() -> None:
    one, other = mg.load("./here/model"), mg.load("./there/model")
    blended = mg.soup([one, other], name="n1")
    recipe = mg.save(blended + 0.5 * (one - other), "x").recipe()
    assert list(recipe.nodes) == ["model", "model_2", "n1", "n2", "n3", "n4", "out"]


def test_a_deep_chain_needs_no_stack() -> None:
    blended = base
    for _ in range(2000):
        blended = mg.soup([blended, code])
    assert len(mg.save(blended, "x").recipe().nodes) == 2003


@given(st.lists(st.floats(-4, 4, allow_nan=False), min_size=1, max_size=4))
def test_numbers_enter_as_they_are_written(numbers: list[float]) -> None:
    learnt = code - base
    merged = base
    for number in numbers:
        merged = merged + number * learnt
    text = dump_recipe(mg.save(merged, "x").recipe())
    again = parse_recipe(text, file="x.yaml", folder=Path.cwd())
    scales = [node.method for node in again.nodes.values() if getattr(node.method, "op", "") == "scale"]
    assert [scale.by for scale in scales] == numbers  # pyright: ignore


def test_a_merge_plans_and_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_blend(tmp_path)
    monkeypatch.chdir(tmp_path)
    first, second = mg.load("base"), mg.load(Path("code"))
    merge = mg.save(first + 0.5 * (second - first), "out")
    assert merge.plan(budget="64MiB").projection.budget_bytes == 64 << 20
    assert not Path("out").exists()
    report = merge.run(threads=1)
    assert report.tensors == 3
    made = read_file(tmp_path / "out" / "model.safetensors")
    for name, (_, values) in tensors().items():
        assert made[name] == pytest.approx([value + 0.125 for value in values], abs=1e-6)
    mg.save(first, "out").run(overwrite=True)
    assert read_file(tmp_path / "out" / "model.safetensors") == read_file(tmp_path / "base" / "model.safetensors")


def test_a_saved_delta_is_loaded_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_blend(tmp_path)
    monkeypatch.chdir(tmp_path)
    first = mg.load("base")
    mg.save(mg.load("code") - first, "learnt", format="delta").run()
    learnt = mg.load("learnt")
    assert learnt.space == "delta"
    assert mg.save(first + learnt, "out").run().tensors == 3


def test_a_soup_over_a_glob_holds_what_matches_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("run-9", "run-10"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    merge = mg.save(mg.node("soup", models="run-*", name="avg"), "out")
    assert list(merge.recipe().nodes) == ["avg.run_9", "avg.run_10", "avg", "out"]
    with pytest.raises(RecipeError, match="No checkpoint matches"):
        mg.save(mg.node("soup", models="runs-*"), "out").recipe()


def test_the_example_of_the_module_is_true() -> None:
    failed, attempted = doctest.testmod(mergegraph.builder)
    assert attempted >= 4
    assert failed == 0


def test_the_public_names_are_these() -> None:
    assert sorted(mg.__all__) == [
        "check", "clamp", "delta", "errors", "load", "load_recipe", "make_plan", "merge", "negate", "node", "run",
        "save", "scale", "select", "soup", "stack",
    ]  # fmt: skip
    assert all(getattr(mg, name) is not None for name in mg.__all__)
    assert set(mg.__all__) <= set(dir(mg))
    with pytest.raises(AttributeError, match="no attribute 'sope'"):
        _ = mg.sope  # pyright: ignore


@pytest.mark.parametrize(
    ("make", "typed"),
    [
        (lambda: 0.5 * base + 0.5 * code, "mg.soup([base, code], weights=[0.5, 0.5])"),
        (lambda: base + 0.5 * code, "mg.soup([base, code], weights=[1, 0.5])"),
        (lambda: mg.soup([base, code]) + chat, "mg.soup([mg.soup([base, code]), chat])"),
        (lambda: (base + 0.5 * (code - base)) + chat, "mg.soup([base + 0.5 * (code - base), chat])"),
        (lambda: (base - (code - base)) + chat, "mg.soup([base - (code - base), chat])"),
        (lambda: mg.scale(base, by=[0.1, 0.2]) + chat, "mg.soup([SCALE, chat])"),
        (lambda: mg.clamp(base, [code, chat], name="held") + chat, "mg.soup([held, chat])"),
        (lambda: mg.clamp(base, [code, chat]) + chat, "mg.soup([CLAMP, chat])"),
        (lambda: (code - base) - chat, "chat - BASE"),
    ],
)
def test_advice_can_be_typed(make: Callable[[], Handle], typed: str) -> None:
    with pytest.raises(RecipeError) as refused:
        make()
    assert typed in refused.value.problems[0].fix
    if "[" in typed and not any(word in typed for word in ("SCALE", "CLAMP", "held")):
        known = {"mg": mg, "base": base, "code": code, "chat": chat}
        assert eval(typed, known).space == "weights"


def test_what_is_too_long_to_type_is_a_word() -> None:
    deltas = [(code - base) * (number / 8) for number in range(1, 9)]
    with pytest.raises(RecipeError, match=r"mg\.soup\(\[SUM, chat\]\)"):
        base + sum(deltas) + chat
