"""Recipes as people write them: whatever the style, an edit leaves the rest of it alone, or says that it cannot."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mergegraph_tui.model.adding import add_model, add_node
from mergegraph_tui.model.nodes import add_rule, delete_node, remove_field, rename_node, set_field
from mergegraph_tui.model.outline import outline
from mergegraph_tui.model.splice import Edited, Typed, insert_item

from mergegraph.errors import Problem
from mergegraph.recipe.scalars import Value
from tests.tui.model.diffs import diff

Edit = Callable[[str], Edited]

COMMENTED = """# top
mergegraph: 1   # one
nodes:   # all of them
  # the model
  a: {op: load, model: "x y"}  # tail

  s:  # a strength
    op: scale
    input:   'a'   # in
    by:
    - layers: "0:2"   # early
      value: 0.5      # half
    # between
    - value: 1        # rest
  # before the save
  o: {op: save, input: s, path: out}
  # end
"""
WINDOWS = "mergegraph: 1\r\nnodes:\r\n  a: {op: load, model: x}\r\n  o: {op: save, input: a}"
FLOW = """{mergegraph: 1, nodes: {
  a: {op: load, model: x},  # first
  s: {op: sum, inputs: [
    a,   # one
    a2,  # two
  ]},
}}
"""
RULES = """mergegraph: 1
nodes:
  a: {op: load, model: x}
  s:
    op: scale
    input: a
    by: [{kind: mlp, value: 2}, {value: 1}]
"""
SHARED = (
    "mergegraph: 1\nnodes:\n  a: {op: load, model: x}\n"
    "  s: {op: scale, input: a, by: &n 0.5}\n  t: {op: scale, input: s, by: *n}\n"
)
RULE: Value = {"kind": "mlp", "value": 0}
FOLDED = (
    "mergegraph: 1\nnodes:\n  a: {op: load, model: é😀}\n"
    "  e: >-\n    a + 0.5*(b\n    - a)\n  o: {op: save, input: e, path: o}\n"
)

STYLES: list[tuple[str, str, Edit, str]] = [
    ("a rule's number", COMMENTED, lambda t: set_field(t, "s", ("by", 0, "value"), 0.75),
     "-      value: 0.5      # half\n+      value: 0.75      # half\n"),
    ("the quotes that are there", COMMENTED, lambda t: rename_node(t, "a", "b"),
     '-  a: {op: load, model: "x y"}  # tail\n+  b: {op: load, model: "x y"}  # tail\n'
     "-    input:   'a'   # in\n+    input:   'b'   # in\n"),
    ("a rule in the style of the list", COMMENTED, lambda t: insert_item(t, ("nodes", "s", "by"), 1, {"value": 2}),
     "+    - {value: 2}\n"),
    ("the lines of a rule, and no comment beside them", COMMENTED, lambda t: remove_field(t, "s", ("by", 0)),
     '-    - layers: "0:2"   # early\n-      value: 0.5      # half\n'),
    ("a whole schedule for a number", COMMENTED, lambda t: set_field(t, "s", ("by",), 0.3),
     '-    by:\n-    - layers: "0:2"   # early\n-      value: 0.5      # half\n-    # between\n'
     "-    - value: 1        # rest\n+    by: 0.3        # rest\n"),
    ("a block among blocks", COMMENTED.replace('  a: {op: load, model: "x y"}  # tail\n', ""),
     lambda t: add_node(t, "u", "scale", ["s"]), "+  u:\n+    op: scale\n+    input: s\n+    by: 0.5\n"),
    ("the last entry of a block", COMMENTED, lambda t: delete_node(t, "o"),
     "-  o: {op: save, input: s, path: out}\n"),
    ("Windows line ends and no newline at the end", WINDOWS, lambda t: add_node(t, "p", "save", ["a"], after="o"),
     "+  p: {op: save, input: a, path: out/p}<cr>\n"),
    ("the last line without a newline", WINDOWS, lambda t: delete_node(t, "o"),
     "-  a: {op: load, model: x}<cr>\n+  a: {op: load, model: x}<no newline>\n"
     "-  o: {op: save, input: a}<no newline>\n"),
    ("a model into Windows line ends", WINDOWS, lambda t: add_model(t, "m", "./m"), "+models:<cr>\n+  m: ./m<cr>\n"),
    ("an entry on a line of its own, in brackets", FLOW, lambda t: add_node(t, "b", "load", after="a"),
     "-  a: {op: load, model: x},  # first\n+  a: {op: load, model: x},\n"
     "+  b: {op: load, model: ./models/base},  # first\n"),
    ("an item in brackets, comments stay", FLOW, lambda t: remove_field(t, "s", ("inputs", 0)),
     "-    a,   # one\n+       # one\n"),
    ("a folded expression keeps its lines", FOLDED, lambda t: rename_node(t, "a", "base"),
     "-  a: {op: load, model: é😀}\n+  base: {op: load, model: é😀}\n"
     "-    a + 0.5*(b\n+    base + 0.5*(b\n-    - a)\n+    - base)\n"),
    ("an alias is replaced by a value", SHARED, lambda t: set_field(t, "t", ("by",), 2),
     "-  t: {op: scale, input: s, by: *n}\n+  t: {op: scale, input: s, by: 2}\n"),
    ("conditions of a rule go, its comments stay", COMMENTED,
     lambda t: set_field(t, "s", ("by",), [{"value": 0.5}, {"value": 1}]),
     '-    - layers: "0:2"   # early\n-      value: 0.5      # half\n+    - value: 0.5      # half\n'),
    ("conditions behind those of a rule", COMMENTED,
     lambda t: set_field(t, "s", ("by", 0), {"layers": "0:2", "value": 0.5, "kind": "mlp", "part": "up"}),
     "+      kind: mlp\n+      part: up\n"),
    ("a condition between those of a rule", RULES,
     lambda t: set_field(t, "s", ("by",), Typed("[{kind: mlp, part: up, value: 2}, {value: 1}]")),
     "-    by: [{kind: mlp, value: 2}, {value: 1}]\n+    by: [{kind: mlp, part: up, value: 2}, {value: 1}]\n"),
    ("the conditions of a rule in another order", RULES,
     lambda t: set_field(t, "s", ("by",), Typed("[{value: 2, kind: mlp}, {value: 1}]")),
     "-    by: [{kind: mlp, value: 2}, {value: 1}]\n+    by: [{value: 2, kind: mlp}, {value: 1}]\n"),
    ("another rule altogether", RULES, lambda t: set_field(t, "s", ("by",), Typed("[{match: x}, {value: 1}]")),
     "-    by: [{kind: mlp, value: 2}, {value: 1}]\n+    by: [{match: x}, {value: 1}]\n"),
    ("a value where there was none", RULES.replace(" [{kind: mlp, value: 2}, {value: 1}]", ""),
     lambda t: set_field(t, "s", ("by",), 2), "-    by:\n+    by: 2\n"),
    ("a field below one without a value", RULES.replace(" [{kind: mlp, value: 2}, {value: 1}]", ""),
     lambda t: set_field(t, "s", ("skip",), True), "+    skip: true\n"),
    ("the only model", "mergegraph: 1\nmodels: {a: ./a}  # all\n", lambda t: delete_node(t, "a"),
     "-models: {a: ./a}  # all\n+models: {}  # all\n"),
    ("the only model, on a line of its own", "mergegraph: 1\nmodels:\n  a: ./a  # one\n", lambda t: delete_node(t, "a"),
     "+models: {}  # one\n-models:\n-  a: ./a  # one\n"),
    ("the first item of an empty list", RULES.replace("[{kind: mlp, value: 2}, {value: 1}]", "[]"),
     lambda t: set_field(t, "s", ("by", 0), 2), "-    by: []\n+    by: [2]\n"),
    ("an item in brackets, behind a comment", FLOW, lambda t: remove_field(t, "s", ("inputs", 1)),
     "-    a,   # one\n+    a   # one\n-    a2,  # two\n+    ,  # two\n"),
    ("a byte order mark", "\ufeff" + WINDOWS, lambda t: set_field(t, "a", ("model",), "yy"),
     "-  a: {op: load, model: x}<cr>\n+  a: {op: load, model: yy}<cr>\n"),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "text", "edit", "expected"), STYLES, ids=[row[0] for row in STYLES])
def test_the_style_stays(reason: str, text: str, edit: Edit, expected: str) -> None:
    assert diff(text, edit(text)) == expected, reason


@pytest.mark.parametrize(
    ("reason", "edit"),
    [
        ("its alias would change too", lambda t: set_field(t, "s", ("by",), 2)),
        ("its alias would stand for nothing", lambda t: delete_node(t, "s")),
        ("an alias has nothing inside", lambda t: set_field(t, "t", ("by", 0), 2)),
        ("rules are where the anchor is", lambda t: add_rule(t.replace("0.5", "[{value: 1}]"), "t", ("by",), RULE)),
    ],
)
def test_what_is_shared_is_not_changed_in_passing(reason: str, edit: Edit) -> None:
    refused = edit(SHARED)

    assert isinstance(refused, Problem), reason
    assert refused.fix


def test_an_empty_section_gets_its_first_entry() -> None:
    cases = {
        "mergegraph: 1\nnodes:\n": "mergegraph: 1\nnodes:\n  m: {op: load, model: ./models/base}\n",
        "mergegraph: 1\nnodes: {}\n": "mergegraph: 1\nnodes:\n  m: {op: load, model: ./models/base}\n",
        "mergegraph: 1": "mergegraph: 1\nnodes:\n  m: {op: load, model: ./models/base}",
        "nodes:  # none\n": "nodes:\n  m: {op: load, model: ./models/base}  # none\n",
        '{"nodes": {}}': '{"nodes": {m: {op: load, model: ./models/base}}}',
    }
    for before, after in cases.items():
        assert add_node(before, "m", "load") == after


def test_the_outline_reads_what_is_wrong_as_far_as_it_can() -> None:
    found = outline(
        "nodes:\n  a: {op: nothing, input: b}\n  b: 7\n  c: {op: sum, inputs: [a, {from: b}, 3]}\n  d: a +\n"
    )

    assert not isinstance(found, Problem)
    assert {name: (node.op, node.inputs) for name, node in found.nodes.items()} == {
        "a": ("nothing", ()), "b": ("", ()), "c": ("sum", ("a", "b")), "d": ("expression", ()),
    }  # fmt: skip
