"""Edits of nodes and wires change the lines they are about and no other byte."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from mergegraph_tui.model.adding import add_expression, add_model, add_node, free_name
from mergegraph_tui.model.nodes import (
    add_rule,
    bypass_node,
    delete_node,
    duplicate_node,
    remove_field,
    rename_node,
    set_expression,
    set_field,
    set_reference,
)
from mergegraph_tui.model.outline import Outline, Wire, outline
from mergegraph_tui.model.splice import Edited, Typed
from mergegraph_tui.model.wires import connect, cut, insert_on_wires, ports

from mergegraph.errors import Problem
from tests.tui.model.diffs import diff

RECIPES = Path(__file__).resolve().parents[3] / "recipes"
SKILLS = (RECIPES / "capability-stack.yaml").read_text()
STACK = (RECIPES / "layer-stack.yaml").read_text()
SWEEP = (RECIPES / "wise-ft-sweep.yaml").read_text()
DARE = (RECIPES / "dare-ties.yaml").read_text()
PICK = (RECIPES / "pick-by-kind.yaml").read_text()

Edit = Callable[[str], Edited]

EDITS: list[tuple[str, str, Edit, str]] = [
    (
        "a number in a flow mapping", SKILLS, lambda t: set_field(t, "quarter", ("by",), 0.5),
        "-  quarter: {op: scale, input: skills, by: 0.25}\n+  quarter: {op: scale, input: skills, by: 0.5}\n",
    ),
    (
        "a typed number keeps its spelling", SKILLS, lambda t: set_field(t, "quarter", ("by",), Typed("2.50e-1")),
        "-  quarter: {op: scale, input: skills, by: 0.25}\n+  quarter: {op: scale, input: skills, by: 2.50e-1}\n",
    ),
    (
        "a field of a block keeps quotes and comments", STACK,
        lambda t: set_field(t, "crossed", ("slices", 0, "layers"), "0:3"),
        '-      - {from: python, layers: "0:2"}    # half-open: layers 0 and 1; embeddings come from the first slice\n'
        '+      - {from: python, layers: "0:3"}    # half-open: layers 0 and 1; embeddings come from the first slice\n',
    ),
    (
        "a new field of a block", STACK, lambda t: set_field(t, "taller", ("tower",), "model.layers"),
        "+    tower: model.layers\n",
    ),
    (
        "an item and its comment", STACK, lambda t: remove_field(t, "crossed", ("slices", 1)),
        '-      - {from: legal, layers: "2:4"}     # the final norm comes from the last\n',
    ),
    (
        "a rule before the number that was there", SKILLS,
        lambda t: add_rule(t, "quarter", ("by",), {"kind": "mlp", "layers": "0:2", "value": 0.5}),
        "-  quarter: {op: scale, input: skills, by: 0.25}\n+  quarter: {op: scale, input: skills, "
        'by: [{kind: mlp, layers: "0:2", value: 0.5}, {value: 0.25}]}\n',
    ),
    (
        "more said of a bare input", (RECIPES / "uniform-soup.yaml").read_text(),
        lambda t: set_field(t, "average", ("inputs", 1, "weight"), 2),
        "-    inputs: [s0, s1, s2, s3, s4, s5, s6, s7, s8, s9]\n"
        "+    inputs: [s0, {from: s1, weight: 2}, s2, s3, s4, s5, s6, s7, s8, s9]\n",
    ),
    (
        "rename in expressions and lists", SKILLS, lambda t: rename_node(t, "base", "start"),
        "-  base: ./models/tiny-llama/base\n+  start: ./models/tiny-llama/base\n"
        "-  skills:  (french - base) + (python - base) + (legal - base)\n"
        "+  skills:  (french - start) + (python - start) + (legal - start)\n"
        "-  merged:  {op: sum, inputs: [base, quarter]}\n+  merged:  {op: sum, inputs: [start, quarter]}\n",
    ),
    (
        "rename in the path of a save", SWEEP, lambda t: rename_node(t, "moved", "far"),
        "-  moved:      {op: scale, input: learnt, by: 0.3}\n+  far:      {op: scale, input: learnt, by: 0.3}\n"
        "-  merged:     {op: sum, inputs: [broad, moved]}\n+  merged:     {op: sum, inputs: [broad, far]}\n"
        '-  out:        {op: save, input: merged, path: "out/wise-ft-{moved.by}"}\n'
        '+  out:        {op: save, input: merged, path: "out/wise-ft-{far.by}"}\n',
    ),
    (
        "readers of a deleted node read its first input", SKILLS, lambda t: delete_node(t, "quarter"),
        "-  quarter: {op: scale, input: skills, by: 0.25}\n-  merged:  {op: sum, inputs: [base, quarter]}\n"
        "+  merged:  {op: sum, inputs: [base, skills]}\n",
    ),
    (
        "the input of a node with a base is what it works on", DARE, lambda t: delete_node(t, "d_rot90"),
        "-  d_rot90: {op: dare, base: general, input: rot90, density: 0.5}\n"
        "-  agreed: {op: elect, inputs: [d_upright, d_rot90, d_invert, d_mirror], combine: sum}\n"
        "+  agreed: {op: elect, inputs: [d_upright, rot90, d_invert, d_mirror], combine: sum}\n",
    ),
    (
        "a case of a deleted model goes with it", PICK, lambda t: delete_node(t, "legal"),
        "-  legal: ./models/tiny-llama/legal\n-      - {kind: mlp, from: legal}\n",
    ),
    (
        "a copy, letter by letter", STACK, lambda t: duplicate_node(t, "taller", "tallest"),
        '+  tallest:\n+    op: stack\n+    slices:\n+      - {from: python, layers: "0:3"}\n'
        '+      - {from: legal, layers: "-2:"}\n',
    ),
    (
        "the copy of a save has a path of its own", STACK, lambda t: duplicate_node(t, "out", "again"),
        "+  again: {op: save, input: crossed, path: out/layer-stack-again}\n",
    ),
    (
        "bypass", SKILLS, lambda t: bypass_node(t, "quarter"),
        "-  quarter: {op: scale, input: skills, by: 0.25}\n"
        "+  quarter: {op: scale, input: skills, by: 0.25, skip: true}\n",
    ),
    (
        "added below the node it reads", SKILLS, lambda t: add_node(t, "trim", "trim", ["skills"]),
        "+  trim: {op: trim, input: skills, density: 0.3}\n",
    ),
    (
        "added above the saves, where what it reads is a model", SKILLS,
        lambda t: add_node(t, "d", "delta", ["python", "base"]), "+  d: {op: delta, model: python, base: base}\n",
    ),
    (
        "an expression", SKILLS, lambda t: add_expression(t, "e", "base + 0.6*(french - base)", after="skills"),
        "+  e: base + 0.6*(french - base)\n",
    ),
    (
        "another expression", SKILLS, lambda t: set_expression(t, "skills", "french - base"),
        "-  skills:  (french - base) + (python - base) + (legal - base)\n+  skills:  french - base\n",
    ),
    ("a model", SKILLS, lambda t: add_model(t, "m", "./m: x"), '+  m: "./m: x"\n'),
    (
        "another checkpoint", SWEEP, lambda t: set_reference(t, "broad", "./other"),
        "-  broad:      {op: load, model: ./models/digits-vit/general}\n+  broad:      {op: load, model: ./other}\n",
    ),
    (
        "connect to a list", SKILLS, lambda t: connect(t, "skills", "merged"),
        "-  merged:  {op: sum, inputs: [base, quarter]}\n+  merged:  {op: sum, inputs: [base, quarter, skills]}\n",
    ),
    (
        "connect to the one port, which is taken", SKILLS, lambda t: connect(t, "french", "quarter"),
        "-  quarter: {op: scale, input: skills, by: 0.25}\n+  quarter: {op: scale, input: french, by: 0.25}\n",
    ),
    (
        "connect to an expression", SKILLS, lambda t: connect(t, "legal", "skills"),
        "-  skills:  (french - base) + (python - base) + (legal - base)\n"
        "+  skills:  (french - base) + (python - base) + (legal - base) + legal\n",
    ),
    (
        "connect to slices", STACK, lambda t: connect(t, "python", "taller"),
        '+      - {from: python, layers: "0:"}\n',
    ),
    (
        "cut one of two", SKILLS, lambda t: cut(t, Wire("quarter", "merged", ("inputs", 1))),
        "-  merged:  {op: sum, inputs: [base, quarter]}\n+  merged:  {op: sum, inputs: [base]}\n",
    ),
    (
        "cut the last of a list", SKILLS.replace("[base, quarter]", "[quarter]"),
        lambda t: cut(t, Wire("quarter", "merged", ("inputs", 0))),
        "-  merged:  {op: sum, inputs: [quarter]}\n+  merged:  {op: sum}\n",
    ),
    (
        "insert on every wire", SKILLS, lambda t: insert_on_wires(t, "half", "scale", "base"),
        "-  skills:  (french - base) + (python - base) + (legal - base)\n"
        "+  skills:  (french - half) + (python - half) + (legal - half)\n"
        "-  merged:  {op: sum, inputs: [base, quarter]}\n+  merged:  {op: sum, inputs: [half, quarter]}\n"
        "+  half: {op: scale, input: base, by: 0.5}\n",
    ),
    (
        "insert on one wire", SKILLS,
        lambda t: insert_on_wires(t, "half", "scale", "base", [Wire("base", "merged", ("inputs", 0))]),
        "-  merged:  {op: sum, inputs: [base, quarter]}\n+  merged:  {op: sum, inputs: [half, quarter]}\n"
        "+  half: {op: scale, input: base, by: 0.5}\n",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "text", "edit", "expected"), EDITS, ids=[row[0] for row in EDITS])
def test_an_edit_changes_these_lines(reason: str, text: str, edit: Edit, expected: str) -> None:
    assert diff(text, edit(text)) == expected, reason


REFUSED: list[tuple[str, Edit, str]] = [
    ("a cycle", lambda t: connect(t, "merged", "quarter"), "This wire would close a cycle."),
    ("a wire to itself", lambda t: connect(t, "quarter", "quarter"), "This wire would close a cycle."),
    ("nothing comes out of a save", lambda t: connect(t, "out", "merged"), '"out" is a save node'),
    ("a model takes nothing", lambda t: connect(t, "quarter", "base"), '"base" takes no inputs.'),
    ("a taken name", lambda t: rename_node(t, "base", "legal"), 'Something is called "legal" already.'),
    ("no name", lambda t: rename_node(t, "base", "a b"), '"a b" cannot be a name.'),
    ("a misspelt node", lambda t: delete_node(t, "bsae"), 'There is no node "bsae".'),
    ("a misspelt op", lambda t: add_node(t, "n", "slrp"), 'There is no op "slrp".'),
    ("an expression has no skip", lambda t: bypass_node(t, "skills"), "An expression cannot be bypassed."),
    ("a wire of an expression", lambda t: cut(t, Wire("base", "skills", ())), "This wire cannot be cut."),
    ("no such wire", lambda t: cut(t, Wire("base", "quarter", ("input",))), '"quarter" does not read "base".'),
    ("no value", lambda t: set_field(t, "quarter", ("by",), Typed("[1")), "This is not valid YAML"),
    ("no expression", lambda t: set_expression(t, "skills", "base +"), "The expression ends too early."),
]


@pytest.mark.parametrize(("reason", "edit", "fact"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_cannot_be_is_refused_with_a_fix(reason: str, edit: Edit, fact: str) -> None:
    refused = edit(SKILLS)

    assert isinstance(refused, Problem), reason
    assert refused.fact.startswith(fact), reason
    assert refused.fix


@pytest.mark.parametrize("edit", [edit for _, edit, _ in REFUSED] + [edit for _, _, edit, _ in EDITS])
def test_a_text_that_is_no_yaml_refuses_every_edit(edit: Edit) -> None:
    assert isinstance(edit(f"{SKILLS}\n  x: [1"), Problem)


def test_bypassing_twice_restores_every_byte() -> None:
    for name in ("quarter", "merged"):
        once = bypass_node(SKILLS, name)
        assert isinstance(once, str)
        assert bypass_node(once, name) == SKILLS


def test_a_rename_there_and_back_restores_every_byte() -> None:
    for file in sorted(RECIPES.glob("*.yaml")):
        text = file.read_text()
        found = outline(text)
        assert isinstance(found, Outline)
        for name in found.nodes:
            there = rename_node(text, name, "renamed_1")
            assert isinstance(there, str), f"{file.name}: {there}"
            assert rename_node(there, "renamed_1", name) == text, f"{file.name}: {name}"


def test_free_names_are_numbered() -> None:
    assert free_name(SKILLS, "scale") == "scale"
    assert free_name(SKILLS, "merged") == "merged_2"
    assert free_name(SKILLS, "8 bit") == "n_8_bit"


def test_the_ports_of_a_node_say_what_is_taken() -> None:
    assert [(port.field, port.taken, port.is_list) for port in ports(DARE, "agreed")] == [
        ("inputs", 4, True),
        ("base", 0, False),
    ]
