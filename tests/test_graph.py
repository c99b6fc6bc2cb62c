"""Recipes become graphs whose every edge fits, or errors that name each wrong edge and each cycle with its line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from mergegraph.errors import Problem, RecipeError
from mergegraph.expr import Space
from mergegraph.graph import Graph, build, needed_loads
from mergegraph.recipe.load import parse_recipe
from mergegraph.recipe.model import Recipe

HEAD = "mergegraph: 1\nnodes:\n"
LOADS = "a: {op: load, model: ./a}\nb: {op: load, model: ./b}\nc: {op: load, model: ./c}\n"


def recipe(nodes: str) -> Recipe:
    """A recipe of `nodes`, one a line, from line 3."""
    text = HEAD + "".join(f"  {line}\n" for line in nodes.strip().splitlines())
    return parse_recipe(text, file="merge.yaml", folder=Path("/nowhere"))


def graph(nodes: str, spaces: Mapping[str, Space] | None = None) -> Graph:
    return build(recipe(nodes), spaces)


def refused(nodes: str, spaces: Mapping[str, Space] | None = None) -> tuple[Problem, ...]:
    with pytest.raises(RecipeError) as caught:
        graph(nodes, spaces)
    return caught.value.problems


OUT = "\nout: {op: save, input: x, path: out}"
D = "d: {op: delta, model: b, base: a}\n"


@pytest.mark.parametrize(
    ("nodes", "space"),
    [
        ("x: {op: scale, input: a, by: 0.5}", "weights"),
        (D + "x: {op: scale, input: d, by: 0.5}", "delta"),
        ("x: {op: delta, model: b, base: a}", "delta"),
        (D + "x: {op: negate, input: d}", "delta"),
        (D + "x: {op: sum, inputs: [a, d]}", "weights"),
        (D + "x: {op: sum, inputs: [d, a]}", "weights"),  # in any order
        (D + "x: {op: sum, inputs: [d, d]}", "delta"),
        ("x: {op: soup, inputs: [a, b]}", "weights"),
        (D + "x: {op: soup, inputs: [d, d]}", "delta"),
        ("x: {op: clamp, input: a, within: [b, c]}", "weights"),
        ("x: {op: select, cases: [{kind: mlp, from: a}], otherwise: b}", "weights"),
        (D + "x: {op: select, cases: [{kind: mlp, from: d}]}", "delta"),
        ("x: {op: stack, slices: [{from: a, layers: '0:1'}]}", "weights"),
        ("x: a + 0.5*(b - a)", "weights"),
        ("x: 0.5*a + 0.5*b", "weights"),
        ("x: 0.5*(b - a)", "delta"),
    ],
)
def test_the_space_of_a_node_follows_from_its_inputs(nodes: str, space: Space) -> None:
    kept = ", format: delta" if space == "delta" else ""
    built = graph(f"{LOADS}{nodes}\nout: {{op: save, input: x, path: out{kept}}}")
    assert (built.nodes["x"].space, built.nodes["out"].space) == (space, space)


@pytest.mark.parametrize(
    ("node", "line", "says"),
    [
        ("x: {op: delta, model: d, base: a}", 7, 'delta takes weights here, and "d" is delta'),
        ("x: {op: delta, model: b, base: d}", 7, 'delta takes weights here, and "d" is delta'),
        ("x: {op: negate, input: a}", 7, 'negate takes deltas, and "a" is weights'),
        ("x: {op: sum, inputs: [a, b]}", 7, "soup"),
        ("x: {op: soup, inputs: [a, d]}", 7, '"a" is weights, "d" is delta'),
        ("x: {op: clamp, input: d, within: [a]}", 7, 'clamp takes weights here, and "d" is delta'),
        ("x: {op: clamp, input: a, within: [a, d]}", 7, 'clamp takes weights here, and "d" is delta'),
        ("x: {op: select, cases: [{kind: mlp, from: d}], otherwise: a}", 7, '"d" is delta, "a" is weights'),
        ("x: {op: stack, slices: [{from: d, layers: '0:1'}]}", 7, 'stack takes weights here, and "d" is delta'),
        ("x: {op: stack, slices: [{from: a, layers: '0:1'}], head_from: d}", 7, 'and "d" is delta'),
        ("x: 0.5*a + 0.6*b", 7, "0.5*a + 0.6*b"),
        ("x: a + b", 7, "a + b"),
    ],
)
def test_a_wrong_edge_is_an_error_with_its_line_and_a_fix(node: str, line: int, says: str) -> None:
    (problem,) = refused(LOADS + D + node + OUT)
    assert str(problem.at) == f"merge.yaml:{line}"
    assert problem.node == "x"
    assert says in str(problem)
    assert problem.fix


@pytest.mark.parametrize(
    ("save", "says", "fix"),
    [
        ("{op: save, input: d, path: out}", "its input is a delta", "format: delta"),
        ("{op: save, input: a, path: out, format: delta}", "its input is weights", "{op: delta, model: a, base: BASE}"),
    ],
)
def test_a_save_of_the_other_space_is_an_error(save: str, says: str, fix: str) -> None:
    (problem,) = refused(f"{LOADS}{D}out: {save}")
    assert says in problem.fact
    assert fix in problem.fix


def test_the_line_is_that_of_the_edge_where_a_node_has_several() -> None:
    text = HEAD + "".join(f"  {line}\n" for line in (LOADS + D).strip().splitlines())
    text += "  x:\n    op: soup\n    inputs:\n      - a\n      - b\n      - d\n  out: {op: save, input: x, path: out}\n"
    with pytest.raises(RecipeError) as caught:
        build(parse_recipe(text, file="merge.yaml", folder=Path("/nowhere")))
    assert str(caught.value.problems[0].at) == "merge.yaml:12"


def test_every_wrong_edge_is_reported_and_what_follows_from_one_is_not() -> None:
    problems = refused(f"{LOADS}x: {{op: negate, input: a}}\ny: {{op: negate, input: x}}\n"
                       "z: {op: delta, model: b, base: x}\nw: {op: sum, inputs: [a, b]}\n"
                       "out: {op: save, input: y, path: out}")  # fmt: skip
    assert [problem.node for problem in problems] == ["x", "w"]


def test_a_cycle_is_named_node_by_node_with_lines() -> None:
    (problem,) = refused(f"{LOADS}x: {{op: scale, input: z, by: 1}}\ny: {{op: scale, input: x, by: 1}}\n"
                         f"z: {{op: scale, input: y, by: 1}}{OUT}")  # fmt: skip
    assert problem.why == "x (merge.yaml:6) needs z (merge.yaml:8) needs y (merge.yaml:7) needs x (merge.yaml:6)"
    assert str(problem.at) == "merge.yaml:6"


def test_every_cycle_is_named() -> None:
    problems = refused(
        f"{LOADS}x: {{op: scale, input: y, by: 1}}\ny: {{op: scale, input: x, by: 1}}\n"
        "u: {op: soup, inputs: [v, a]}\nv: 0.5*u + 0.5*a\ns: {op: scale, input: s, by: 2}\n"
        "out: {op: save, input: x, path: out}"
    )
    assert [problem.node for problem in problems] == ["x", "u", "s"]
    assert problems[2].why == "s (merge.yaml:10) needs s (merge.yaml:10)"


def test_a_cycle_hides_no_wrong_edge_elsewhere() -> None:
    problems = refused(
        f"{LOADS}x: {{op: scale, input: y, by: 1}}\ny: {{op: scale, input: x, by: 1}}\n"
        "u: {op: negate, input: y}\nv: {op: negate, input: a}\nout: {op: save, input: x, path: out}"
    )
    assert [problem.node for problem in problems] == ["x", "v"]
    assert "cycle" in problems[0].fact


def test_a_node_that_hangs_on_a_cycle_is_not_part_of_it() -> None:
    (problem,) = refused(f"{LOADS}x: {{op: scale, input: y, by: 1}}\ny: {{op: soup, inputs: [x, a]}}\n"
                         "z: {op: scale, input: y, by: 1}\nout: {op: save, input: z, path: out}")  # fmt: skip
    assert "z" not in problem.why.split()


def test_unused_nodes_are_dropped_with_a_warning() -> None:
    built = graph(f"{LOADS}x: {{op: scale, input: a, by: 1}}\ny: 0.5*b + 0.5*c{OUT}")
    assert [(warning.node, str(warning.at)) for warning in built.warnings] == [
        ("b", "merge.yaml:4"), ("c", "merge.yaml:5"), ("y", "merge.yaml:7"),
    ]  # fmt: skip
    assert all(warning.severity == "warning" for warning in built.warnings)
    assert list(built.nodes) == ["a", "x", "out"]


@pytest.mark.parametrize(
    ("skipped", "stands_for_it"),
    [
        ("x: {op: scale, input: b, by: 2, skip: true}", "b"),
        ("x: {op: soup, inputs: [c, a], skip: true}", "c"),
        ("x: {op: sum, inputs: [d, a], skip: true}", "a"),  # the first input of its own space
        ("x: {op: clamp, input: b, within: [a], skip: true}", "b"),
        ("y: {op: scale, input: b, by: 2, skip: true}\nx: {op: scale, input: y, by: 3, skip: true}", "b"),
        ("e: 0.5*a + 0.5*b\nx: {op: scale, input: e, by: 3, skip: true}", "e"),
    ],
)
def test_a_skipped_node_lets_its_input_through(skipped: str, stands_for_it: str) -> None:
    built = graph(LOADS + D + skipped + OUT)
    assert built.nodes["out"].inputs == (stands_for_it,)
    assert "x" not in built.nodes
    assert "x" not in {warning.node for warning in built.warnings}


@pytest.mark.parametrize(
    ("skipped", "says"),
    [
        ("x: {op: load, model: ./x, skip: true}", "load node cannot be skipped: none of its inputs is weights."),
        ("x: {op: delta, model: b, base: a, skip: true}", "delta node cannot be skipped: none of its inputs is delta."),
    ],
)
def test_a_node_without_an_input_of_its_space_cannot_be_skipped(skipped: str, says: str) -> None:
    kept = ", format: delta" if "delta," in skipped else ""
    (problem,) = refused(f"{LOADS}{skipped}\nout: {{op: save, input: x, path: out{kept}}}")
    assert problem.fact == f"A {says}"
    assert str(problem.at) == "merge.yaml:6"


TWO_SAVES = "x: {op: save, input: a, path: x}\ny: {op: save, input: b, path: y, skip: true}"


def test_a_skipped_save_is_left_out_and_its_inputs_are_not_opened() -> None:
    built = graph(LOADS + TWO_SAVES)
    assert built.saves == ("x",)
    assert "y" not in {warning.node for warning in built.warnings}
    assert needed_loads(recipe(LOADS + TWO_SAVES)) == ("a",)


def test_a_recipe_whose_every_save_is_skipped_is_an_error() -> None:
    (problem,) = refused(f"{LOADS}x: {{op: save, input: a, path: x, skip: true}}\n"
                         "y: {op: save, input: b, path: y, skip: true}")  # fmt: skip
    assert problem.fact == "Every save is skipped: nothing is left to do."
    assert str(problem.at) == "merge.yaml:6"


def test_expressions_are_expanded_into_nodes_of_their_own() -> None:
    built = graph(f"{LOADS}x: a + 0.6*(b - a) - 0.3*(c - a){OUT}")
    assert built.nodes["x"].method.op == "sum"
    assert {node.method.op for node in built.nodes.values()} == {"load", "delta", "scale", "sum", "save"}
    inner = [node for name, node in built.nodes.items() if name not in ("a", "b", "c", "x", "out")]
    assert {node.written_as for node in inner} == {"x"}
    assert {str(node.at) for node in inner} == {"merge.yaml:6"}


def test_expressions_ask_for_the_space_of_what_they_name() -> None:
    """`a + d` is a sum where d is stored as a delta, and an error where it is a model."""
    nodes = f"{LOADS}x: a + b{OUT}"
    assert graph(nodes, {"b": "delta"}).nodes["x"].method.op == "sum"
    refused(nodes, {"b": "weights"})


def test_loads_have_the_space_their_checkpoint_is_stored_in() -> None:
    built = graph(f"{LOADS}x: {{op: sum, inputs: [a, b, c]}}{OUT}", {"a": "weights", "b": "delta", "c": "delta"})
    assert [built.nodes[name].space for name in ("a", "b", "c", "x")] == ["weights", "delta", "delta", "weights"]
    (problem,) = refused(f"{LOADS}x: {{op: sum, inputs: [a, b, c]}}{OUT}", {"a": "weights", "b": "delta"})
    assert problem.node == "x"


def test_what_hangs_on_a_checkpoint_that_is_not_opened_is_not_judged() -> None:
    """Only opening b would tell whether `sum` may add it; no save needs it, so nobody did."""
    nodes = f"{LOADS}y: {{op: sum, inputs: [a, b]}}\nx: {{op: scale, input: a, by: 1}}{OUT}"
    assert list(graph(nodes, {"a": "weights"}).nodes) == ["a", "x", "out"]
    (problem,) = refused(nodes, {"a": "weights", "b": "weights"})
    assert problem.node == "y"


def test_a_diamond_of_sixty_levels_is_as_large_as_it_is_written() -> None:
    levels = "".join(f"n{i}: {{op: soup, inputs: [n{i - 1}, n{i - 1}]}}\n" for i in range(1, 61))
    built = graph(f"n0: {{op: load, model: ./a}}\n{levels}out: {{op: save, input: n60, path: out}}")
    assert len(built.nodes) == 62


def test_inputs_come_first_and_equals_in_recipe_order() -> None:
    built = graph("""
x: {op: soup, inputs: [c, a]}
out: {op: save, input: y, path: out}
c: {op: load, model: ./c}
y: {op: soup, inputs: [x, b]}
other: {op: save, input: x, path: other}
a: {op: load, model: ./a}
b: {op: load, model: ./b}
""")
    assert list(built.nodes) == ["c", "a", "x", "other", "b", "y", "out"]
    assert built.saves == ("out", "other")


def test_only_loads_that_a_save_can_reach_are_needed() -> None:
    made = recipe(f"{LOADS}u: {{op: load, model: ./u}}\nx: 0.5*c + 0.5*a\nz: 0.5*u + 0.5*a{OUT}")
    assert needed_loads(made) == ("a", "c")
