"""What is drawn of a recipe that is not valid yet: every node that is written, with its wires, as it will be."""

from __future__ import annotations

import pytest
from mergegraph_tui.model.checking import check_text
from mergegraph_tui.model.graph import DrawnNode
from mergegraph_tui.model.sketch import sketch

HEAD = "mergegraph: 1\nmodels: {a: ./a, b: ./b}\nnodes:\n"


def drawn(nodes: str) -> dict[str, DrawnNode]:
    found = sketch(check_text(HEAD + nodes))
    assert found is not None
    return dict(found.nodes)


def test_a_node_that_lacks_an_input_is_drawn_with_those_that_it_has() -> None:
    nodes = drawn("  d: {op: delta, model: a}\n  s: {op: scale, input: d, by: 0.5}\n")

    assert (nodes["d"].sources, nodes["d"].family, nodes["d"].space, nodes["d"].status) == (
        ("a",), "delta", "delta", "error",
    )  # fmt: skip
    assert nodes["s"].space == "delta", "what reads it knows its space"
    assert list(nodes) == ["a", "b", "d", "s"]


CASES = [
    ("  x: a +\n", "expression", (), "half a formula"),
    ("  x: {op: scael, input: a, by: 2}\n", "scael", ("a",), "an operation that is not known reads what it names"),
    ("  x: {op: slrp, inputs: [a, {from: b, weight: 2}]}\n", "slrp", ("a", "b"), "and names in a list"),
    ("  x: {op: negate, input: a, why: 3}\n", "negate", ("a",), "a field that is not known"),
    ("  x: {op: scale, input: a, by: []}\n", "scale", ("a",), "a value that cannot be"),
    ("  x: {}\n", "", (), "nothing is said of it"),
    ("  x:\n", "", (), "not even a mapping"),
    ("  x: {op: sum, inputs: [a, x]}\n", "sum", ("a", "x"), "a wire to itself, which its end and beginning name"),
]


@pytest.mark.parametrize(("nodes", "op", "sources", "reason"), CASES, ids=[row[3] for row in CASES])
def test_whatever_is_written_is_drawn(nodes: str, op: str, sources: tuple[str, ...], reason: str) -> None:
    found = drawn(nodes)
    assert list(found)[:2] == ["a", "b"]
    assert (found["x"].op, found["x"].sources) == (op, sources), reason


def test_what_follows_an_unread_node_comes_after_it() -> None:
    nodes = drawn("  out: {op: save, input: m, path: ./o}\n  m: {op: slerp, a: a, t: 0.5}\n")
    assert list(nodes).index("m") < list(nodes).index("out")


def test_a_text_that_is_no_recipe_draws_nothing() -> None:
    assert sketch(check_text("nodes: [")) is None
    assert sketch(check_text("")) is None


def test_spaces_are_known_before_anything_is_saved() -> None:
    found = check_text(HEAD + "  d: {op: delta, model: a, base: b}\n  m: b + 0.5*d\n")
    assert found.graph is None
    assert (found.spaces["d"], found.spaces["m"]) == ("delta", "weights")
