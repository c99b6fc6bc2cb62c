"""`--sweep`: one recipe for many values, with everything that does not depend on them shared."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergegraph.errors import Location, RecipeError
from mergegraph.graph import build
from mergegraph.methods.base import Method
from mergegraph.methods.save import Save
from mergegraph.recipe.load import load_recipe, parse_recipe
from mergegraph.recipe.model import Expression, Recipe, dump_recipe
from mergegraph.recipe.sweep import read_sweep

HERE = Path("/no/such/folder")
TEXT = """\
mergegraph: 1
name: n
models: {base: org/base, code: org/code}
nodes:
  d: {op: delta, model: code, base: base}
  boost: {op: scale, input: d, by: 0.5}
  other: {op: scale, input: d, by: 0.25}
  merged: base + boost
  both: {op: sum, inputs: [base, boost, other]}
  out: {op: save, input: merged, path: "out/{boost.by}"}
  plain: {op: save, input: code, path: out/plain, files_from: base}
"""
BOTH = TEXT + '  two: {op: save, input: both, path: "out/{boost.by}-{other.by}", tokenizer_from: code}\n'


def read(*sweeps: str, text: str = TEXT, sets: tuple[str, ...] = ()) -> Recipe:
    return parse_recipe(text, file="merge.yaml", folder=HERE, sweeps=sweeps, sets=sets)


def paths(recipe: Recipe) -> dict[str, str]:
    return {name: node.method.path for name, node in recipe.nodes.items() if isinstance(node.method, Save)}


VALUES: list[tuple[str, tuple[str, ...], str]] = [
    ("0.2:0.9:0.1", ("0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9"), "exact decimals, the stop with them"),
    ("0:1:0.25", ("0", "0.25", "0.5", "0.75", "1"), "whole numbers at the ends"),
    ("0:1:0.3", ("0", "0.3", "0.6", "0.9"), "the stop is not met: 1.2 is more than half a step beyond"),
    ("0:1:0.35", ("0", "0.35", "0.7", "1.05"), "1.05 is less than half a step beyond the stop"),
    ("0:1:0.4", ("0", "0.4", "0.8"), "1.2 is exactly half a step beyond, which is too far"),
    ("1:0:-0.5", ("1", "0.5", "0"), "downwards"),
    ("-0.5:0.5:0.5", ("-0.5", "0", "0.5"), "through nought"),
    ("1e-3:3e-3:1e-3", ("0.001", "0.002", "0.003"), "exponents"),
    ("3:3:1", ("3",), "one value"),
    ("0.2,0.5", ("0.2", "0.5"), "a list"),
    ("1e-3, 2", ("0.001", "2"), "a list with a space and an exponent"),
    ("7", ("7",), "one value"),
    ("bfloat16,float32", ("bfloat16", "float32"), "words"),
    ("[0.1,0.2],[0.3,0.4]", ("0.1_0.2", "0.3_0.4"), "gradients"),
    ("org/a,org_a", ("org_a_1", "org_a_2"), "values that would be called the same are numbered"),
    ("a:b,c:d", ("a_b", "c_d"), "colons that are no range"),
    ("true,false", ("true", "false"), "switches"),
]


@pytest.mark.parametrize(("written", "labels", "reason"), VALUES, ids=[row[0] for row in VALUES])
def test_the_values_of_a_sweep(written: str, labels: tuple[str, ...], reason: str) -> None:
    assert read_sweep(f"boost.by={written}").labels == labels, reason


def test_values_are_the_decimals_that_a_person_means() -> None:
    assert read_sweep("a.by=0.2:0.9:0.1").values == (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@given(st.integers(-50, 50), st.integers(1, 40), st.integers(1, 9))
def test_a_range_counts_in_exact_steps(start: int, count: int, step: int) -> None:
    stop = start + step * count

    sweep = read_sweep(f"a.by={start / 100:.2f}:{stop / 100:.2f}:{step / 100:.2f}")

    assert [round(float(str(value)) * 100, 9) for value in sweep.values] == list(range(start, stop + 1, step))


def test_what_depends_on_the_sweep_is_cloned_and_the_rest_is_shared() -> None:
    recipe = read("boost.by=0.2,0.5")

    assert list(recipe.nodes) == [
        "base",
        "code",
        "d",
        "boost@0.2",
        "boost@0.5",
        "other",
        "merged@0.2",
        "merged@0.5",
        "both@0.2",
        "both@0.5",
        "out@0.2",
        "out@0.5",
        "plain",
    ]
    assert recipe.nodes["merged@0.2"].method == Expression("base + boost@0.2")
    assert getattr(recipe.nodes["boost@0.2"].method, "by", None) == 0.2
    assert paths(recipe) == {"out@0.2": "out/0.2", "out@0.5": "out/0.5", "plain": "out/plain"}


def test_a_clone_knows_the_node_and_the_line_it_comes_from() -> None:
    node = read("boost.by=0.2,0.5").nodes["merged@0.5"]

    assert (node.within, node.at) == ("merged", Location("merge.yaml", 8))


def test_a_sweep_is_one_graph() -> None:
    graph = build(read("boost.by=0.2:0.9:0.1"))

    assert len(graph.saves) == 9
    assert [name for name in graph.nodes if name in ("base", "code", "d")] == ["base", "code", "d"]


def test_several_sweeps_are_a_product_and_names_follow_the_order_given() -> None:
    recipe = read("boost.by=0.2,0.5", "other.by=7,8", text=BOTH)

    assert [name for name in recipe.nodes if name.startswith("both")] == [
        "both@0.2,7",
        "both@0.2,8",
        "both@0.5,7",
        "both@0.5,8",
    ]
    assert [name for name in recipe.nodes if name.startswith("other")] == ["other@7", "other@8"]
    assert paths(recipe)["two@0.5,7"] == "out/0.5-7"
    assert [name for name in paths(recipe) if name.startswith("out")] == ["out@0.2", "out@0.5"]
    both = recipe.nodes["both@0.5,8"].method
    assert isinstance(both, Method)
    assert [edge.node for edge in both.edges()] == ["base", "boost@0.5", "other@8"]


def test_the_node_that_gives_the_files_is_renamed_with_the_rest() -> None:
    text = TEXT.replace("files_from: base", "files_from: base, dtype: bfloat16").replace(
        "out/plain", '"out/{base.model}"'
    )

    recipe = read("base.model=./a,./b", text=text, sets=("out.path=o/{base.model}",))

    save = recipe.nodes["plain@._b"].method
    assert isinstance(save, Save)
    assert (save.input, save.files_from, save.path) == ("code", "base@._b", "out/._b")


def test_a_swept_recipe_reads_the_same_when_written_out() -> None:
    recipe = read("boost.by=0.2,-0.5", "other.by=7,8", text=BOTH)

    again = read(text=dump_recipe(recipe))

    assert again == recipe
    assert {name: node.within for name, node in again.nodes.items()}["both@-0.5,8"] == "both"


def test_anything_that_can_be_set_can_be_swept() -> None:
    text = "mergegraph: 1\nparameters: {t: 1}\nmodels: {a: x/y, b: z/w}\nnodes:\n"
    text += '  m: (1 - ${t})*a + ${t}*b\n  o: {op: save, input: m, path: "o/{parameters.t}"}\n'

    recipe = read("parameters.t=0:1:0.5", text=text)

    assert recipe.nodes["m@0.5"].method == Expression("(1 - 0.5)*a + 0.5*b")
    assert paths(recipe) == {"o@0": "o/0", "o@0.5": "o/0.5", "o@1": "o/1"}
    assert len(build(recipe).saves) == 3


def test_one_value_is_a_setting() -> None:
    assert list(read("boost.by=0.75").nodes) == list(read().nodes)
    assert paths(read("boost.by=0.75"))["out"] == "out/0.75"


def test_without_a_sweep_a_placeholder_is_the_number_of_the_node() -> None:
    assert paths(read()) == {"out": "out/0.5", "plain": "out/plain"}
    assert paths(read(sets=("boost.by=1e-3",)))["out"] == "out/0.001"
    assert paths(read(text=TEXT.replace("{boost.by}", "{{x}}-{boost.by}")))["out"] == "out/{x}-0.5"


def test_a_sweep_over_a_file_keeps_its_folder(tmp_path: Path) -> None:
    (tmp_path / "merge.yaml").write_text(TEXT)

    recipe = load_recipe(tmp_path / "merge.yaml", sweeps=["boost.by=1,2"])

    assert {node.folder for node in recipe.nodes.values()} == {tmp_path}


WRONG: list[tuple[tuple[str, ...], str, tuple[str, ...], str]] = [
    (("boost.by",), TEXT, ("does not say what to sweep", "START:STOP:STEP"), "no values"),
    (("boost.by=",), TEXT, ("does not say what to sweep",), "no values after ="),
    (("boost.by=0.1:0.3",), TEXT, ("has no step", "--sweep boost.by=0.1:0.3:0.1"), "a range without a step"),
    (("boost.by=1:0",), TEXT, ("has no step", "--sweep boost.by=1:0:-0.1"), "one that goes down"),
    (("boost.by=0:500",), TEXT, ("has no step", "--sweep boost.by=0:500:100"), "a long one"),
    (("boost.by=0.2:0.9:0",), TEXT, ("Steps of 0",), "no step"),
    (("boost.by=0.2:0.9:-0.1",), TEXT, ("do not lead from 0.2 to 0.9", "0.2:0.9:0.1"), "the wrong way"),
    (("boost.by=0:1:0.0001",), TEXT, ("10,001 values", "larger steps"), "too many values"),
    (("boost.by=0:50:1", "other.by=0:50:1"), BOTH, ("2,601 combinations",), "too many combinations"),
    (("boost.by=0.5,0.50",), TEXT, ("written twice",), "the same value twice"),
    (("boost.by=1,2", "boost.by=3,4"), TEXT, ("boost.by is swept twice",), "the same place twice"),
    (("bost.by=1,2",), TEXT, ('no node "bost"', "Did you mean boost?"), "a misspelt node"),
    (("boost.by=1,high",), TEXT, ('not "high"', "--sweep boost.by=high"), "a value that does not fit"),
    (("boost.by=[1,2",), TEXT, ("not valid YAML",), "an open list"),
    (("seed=1,2",), TEXT, ("one run has one of each", "--set seed=VALUE"), "the seed"),
    (
        ("boost.by=1,2",),
        TEXT.replace('"out/{boost.by}"', "./out/x/"),
        ("makes 2 results", "./out/x/", "only one place", 'path: "./out/x/{boost.by}"'),
        "a path without a placeholder",
    ),
    ((), TEXT.replace("{boost.by}", "{bost.by}"), ("names no field", "Did you mean {boost.by}?"), "a misspelt place"),
    ((), TEXT.replace("{boost.by}", "{x.y}"), ("names no field", "write {NODE.FIELD}; nodes: "), "no place"),
    (("boost.by=1,2",), TEXT.replace(', path: "out/{boost.by}"', ""), ("no path",), "no path at all"),
    (
        ("boost.by=1,2", "other.by=3,4,5"),
        BOTH.replace("out/{boost.by}-{other.by}", "two/{boost.by}"),
        ("makes 6 results", "only 2 places", 'path: "two/{boost.by}/{other.by}"'),
        "a path with one of two placeholders",
    ),
    (
        ("boost.by=1,2",),
        TEXT.replace("out/plain", "out/2"),
        ("Two saves go to one path, out/2", '"out" (merge.yaml:10)', "out/2-plain"),
        "a value that meets another save",
    ),
    (
        ("boost.by=[1,2],[2,1]",),
        TEXT.replace("{boost.by}", "{boost.by.0}") + '  two: {op: save, input: both, path: "out/{boost.by.1}"}\n',
        ("go to one path, out/2", '"two@2_1"', "go to one path, out/1"),
        "two saves that meet across values",
    ),
]


@pytest.mark.parametrize(("sweeps", "text", "said", "reason"), WRONG, ids=[row[3] for row in WRONG])
def test_a_sweep_that_cannot_be_is_explained(
    sweeps: tuple[str, ...], text: str, said: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        read(*sweeps, text=text)

    shown = str(caught.value)
    assert all(part in shown for part in said), shown
    assert len(caught.value.problems) == (2 if "across" in reason else 1), shown
    assert caught.value.problems[0].fix, reason
