"""What is wrong with a recipe is said in plain words, with its line, its node and a fix; all of it at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mergegraph.errors import Location, Problem, RecipeError
from mergegraph.recipe.load import load_recipe, parse_recipe

# A whole recipe but for the nodes of a case, which start at line 4.
FRAME = "mergegraph: 1\nmodels: {base: org/base, code: org/code}\nnodes:\n"
SAVE = "  out: {op: save, input: base, path: ./out}\n"

NODES: list[tuple[str, int, tuple[str, ...], str]] = [
    ("x: {op: qwxz, a: base}", 4, ('no op "qwxz"', "`mergegraph ops` lists all "), "an op that is like no other"),
    ("x: {op: scal, input: base, by: 1}", 4, ('no op "scal"', "Did you mean scale?"), "a misspelt op"),
    ("x: {input: base}", 4, ("which operation", "add `op:`"), "no op"),
    ("x: {op: 3}", 4, ("name of an operation, not 3",), "an op that is a number"),
    ("x: {op: scale, input: base}", 4, ('scale needs "by"', "half: {op: scale"), "a missing field"),
    ("x: {op: scale, inptu: base, by: 1}", 4, ('no "inptu"', "Did you mean input?"), "a misspelt field, said once"),
    (
        "x: {op: scale, input: base, by: 1, zz: 2}",
        4,
        ('no "zz"', "scale takes: by, except, input, skip"),
        "an unknown field",
    ),
    ("x: {op: scale, input: basse, by: 1}", 4, ('no node "basse"', "Did you mean base?"), "a misspelt node"),
    ("x: {op: sum, inputs: [base, {from: cod}]}", 4, ('no node "cod"', "Did you mean code?"), "in a nested edge"),
    ("x: {op: sum, inputs:\n  [base,\n   qqq]}", 6, ('no node "qqq"', "nodes: base, code"), "the edge's own line"),
    ("x: {op: scale, input: 3, by: 1}", 4, ('"input" takes the name of a node, not 3', '"3"'), "a number as a node"),
    ("x: {op: scale, input: [base], by: 1}", 4, ("name of a node, not a list", "`input: base`"), "a list as a node"),
    ("x: {op: scale, input: null, by: 1}", 4, ('"input" takes the name of a node, not nothing',), "an empty field"),
    ("x: {op: sum, inputs: base}", 4, ('"inputs" takes a list, not "base"', "`inputs: [base]`"), "one name for a list"),
    ("x: {op: sum, inputs: []}", 4, ('"inputs" takes a list of 1',), "an empty list"),
    ("x: {op: sum, inputs: [base, 7]}", 4, ('"inputs.1" takes the name of a node or a mapping',), "a number in a list"),
    ("x: {op: sum, inputs: [{form: base}]}", 4, ('"form" in inputs.0', "Did you mean from?"), "a nested field"),
    ("x: {op: sum, inputs: [{weight: 1}]}", 4, ('needs "from" in inputs.0', 'no "weight"'), "a nested field missing"),
    ('x: {op: scale, input: base, by: "0.5"}', 4, ('not "0.5"', "without quotes: `by: 0.5`"), "a quoted number"),
    ("x: {op: scale, input: base, by: high}", 4, ("a number, a list of numbers", 'not "high"'), "a word for a number"),
    ("x: {op: scale, input: base, by: true}", 4, ("a number, a list", "not true"), "true is no number"),
    (
        "x: {op: scale, input: base, by: {attention: 0.5, mlp: [0, 1]}}",
        4,
        ("not a mapping", "by: [{kind: attention, value: 0.5}, {kind: mlp, value: [0, 1]}, {value: 1}]"),
        "kinds for keys",
    ),
    ("x: {op: scale, input: base, factor: 1}", 4, ('no "factor", and needs "by"', "write `by:` in"), "another name"),
    ("x: {op: soup, inputs: [{node: base}]}", 4, ('no "node" in inputs.0, and needs "from"',), "another name, nested"),
    ("x: {op: dare, input: base, base: base, p: 0.9}", 4, ("is kept: `density: 0.1`",), "what is dropped"),
    ("x: {op: ties, inputs: [base], base: base, sparsity: 0.75}", 4, ("`density: 0.25`",), "dropped, by default none"),
    ("x: {op: dare, input: base, base: base, drop: many}", 4, ("is kept: `density: …`",), "dropped, but no number"),
    ("x: {op: dare, input: base, base: base, drop: true}", 4, ("is kept: `density: …`",), "dropped, yes"),
    ("x: {op: dare, input: base, base: base, drop: 1e-3}", 4, ("is kept: `density: 0.999`",), "dropped, an exponent"),
    ("x: {op: soup, inputs: {base: true}}", 4, ("takes a list, not a mapping", "`inputs`: "), "yes for a weight"),
    ("x: {op: save, input: base, path: p, precision: bf16}", 4, ("it is called `dtype` here",), "a known other name"),
    (
        "x: {op: soup, inputs: {base: 0.75, code: 2}}",
        4,
        ("`inputs: [{from: base, weight: 0.75}, {from: code, weight: 2}]`",),
        "weights in a mapping",
    ),
    (
        "x: {op: soup, inputs: {base: code}}",
        4,
        ('"inputs" takes a list, not a mapping', "`inputs`: "),
        "a mapping of names",
    ),
    ("x: {op: trim, input: d, density: 1, lambda: 0.7}", 4, ("{op: scale, input: NODE, by: 0.7}",), "a paper's lambda"),
    ("x: {op: save, input: base, path: p, format: gguf}", 4, ("`format: weights`", "llama.cpp"), "another format"),
    ("x: {op: scale, input: base, by: {value: 1}}", 4, ("a number, a list", "not a mapping"), "a rule outside a list"),
    ("x: {op: scale, input: base, by: .inf}", 4, ("finite number, not inf",), "infinity"),
    ("x: {op: scale, input: base, by: [0.1, .nan]}", 4, ('"by.1"', "finite number, not nan"), "not a number"),
    ("x: {op: scale, input: base, by: []}", 4, ('"by" takes a list of 1',), "an empty gradient"),
    ("x: {op: scale, input: base, by: [0.1, x]}", 4, ('"by.1" takes a number, not "x"',), "a word in a gradient"),
    ("x:\n    op: scale\n    input: base\n    by:\n    - {kind: attn, value: 1}", 8, ("attention",), "a misspelt kind"),
    ("x: {op: scale, input: base, by: [{valu: 1}]}", 4, ('"valu" in by.0', "Did you mean value?"), "a rule's field"),
    ("x: {op: scale, input: base, by: [{value: x}]}", 4, ('"by.0.value" takes a number or a list',), "a rule's value"),
    ("x: {op: scale, input: base, by: [{value: [1, x]}]}", 4, ('"by.0.value.1" takes a number',), "deep in a rule"),
    ("x: {op: scale, input: base, by: [{value: 1}, 2]}", 4, ('"by.1" takes a mapping, not 2',), "no rule in the list"),
    ("x: {op: scale, input: base, by: 1, skip: yes}", 4, ("true or false", "`skip: true`"), "yes is text in YAML 1.2"),
    ("x: {op: scale, input: base, by: 1, skip: 0}", 4, ("true or false, not 0", "`skip: false`"), "nought for false"),
    ('x: {op: soup, models: "*", last: "3"}', 4, ("a whole number", "`last: 3`"), "a quoted count"),
    ('x: {op: soup, models: "*", last: 2.5}', 4, ("a whole number, not 2.5",), "half a checkpoint"),
    ('x: {op: soup, models: "*", last: 0}', 4, ('"last" takes at least 1, not 0',), "no checkpoint"),
    ("x: {op: soup}", 4, ("`models: GLOB`, one of the two",), "a rule between fields"),
    ("x: {op: soup, inputs: [base], models: a}", 4, ("`models: GLOB`, one of the two",), "both of two"),
    ("x: {op: soup, inputs: [base, {from: code, weight: [1, y]}]}", 4, ('"inputs.1.weight.1"',), "a weight's gradient"),
    ("x: {op: scale, input: d, by: 0,7}", 4, ('no "7"', "`by: 0.7`"), "a comma, which YAML takes for a new key"),
    ("x: {op: scale, input: d, by: '0,7'}", 4, ('not "0,7"', "`by: 0.7`"), "a comma in quotes"),
    (
        "x: {op: scale, input: d, by: {kind: mlp, value: 2}}",
        4,
        ("not a mapping", "`by: [{kind: mlp, value: 2}, {value: 1}]`"),
        "a rule by itself",
    ),
    ("x: {op: scale, input: d, by: 12.5 %}", 4, ('not "12.5 %"', "`by: 0.125`"), "a percentage"),
    (
        "x: {op: soup, inputs: [base], weights: [1]}",
        4,
        ('no "weights"', "{from: NODE, weight: …}"),
        "weights by themselves",
    ),
    ("x: {op: linear, inputs: [base]}", 4, ('no op "linear"', "{op: soup, inputs: [a, b]}"), "what others call a soup"),
    ("x: {op: Task-Vector, model: code}", 4, ('no op "Task-Vector"', "{op: delta, model: a"), "what papers call it"),
    ("x: {op: save, input: base, path: p, dtype: half}", 4, ("float16?",), "what torch calls it too"),
    (
        "x: {op: save, input: base, path: p, dtype: int4}",
        4,
        ("write one of float64", "quantises"),
        "no dtype to save in",
    ),
    (
        "x: {op: save, input: base, path: p, max_shard_size: 5}",
        4,
        ("5 is a number of bytes", "5GB"),
        "a unit is missing",
    ),
    ("x: {op: select, cases: [{kind: mlpp, from: base}]}", 4, ("one of embedding", "mlp?"), "said once, not as empty"),
    (
        "x: {op: save, input: base, path: p, dtype: bf17}",
        4,
        ('"bf17" is not a dtype', "bf16?"),
        "a method's own check",
    ),
    ("x: {op: save, input: base, path: p, format: peftt}", 4, ("one of weights, delta",), "a choice"),
    ("x: {op: save, input: base, path: 12}", 4, ('"path" takes text, not 12', '`path: "12"`'), "a number as a path"),
    ("x: {op: save, input: base, path: p, max_shard_size: 5XB}", 4, ("not a size in bytes", "2GiB"), "a size"),
    (
        "x: {op: save, input: base, path: p, files_from: bass}",
        4,
        ('no node "bass"', "Did you mean base?"),
        "files_from",
    ),
    ("x: {op: save, input: base}", 4, ("no path", "`path: ./out/x`"), "-o serves one save only"),
    ("x: {op: scale, input: out, by: 1}", 4, ('"out" is a save node', '"base"'), "a save as an input"),
    ("x: 12", 4, ("a mapping with `op:` or an expression, not 12",), "a node that is a number"),
    ("x: [op, load]", 4, ("not a list",), "a node that is a list"),
    ("x:", 4, ("not nothing",), "a node that is empty"),
    ("x: base / 2", 4, ('"/" at column 6', "0.5*a"), "division"),
    ("x: base + cdoe", 4, ('no node "cdoe"', "Did you mean code?"), "a name in an expression"),
    ('x: "0.5"', 4, ("A number alone",), "an expression without a node"),
    ("my-node: {op: load, model: a}", 4, ('"my-node" cannot be a name', "my_node"), "a dash in a name"),
    ("2nd: {op: load, model: a}", 4, ('"2nd" cannot be a name', "n_2nd"), "a digit first"),
    ("base: {op: load, model: a}", 4, ('Two things are called "base"', "base_2", "f.yaml:2"), "in models: and nodes:"),
    ("x: {op: load, model: a}\n  x: {op: load, model: b}", 5, ("written twice", "lines 4 and 5"), "a duplicate node"),
    ("x: {op: save, input: base, path: out/../out/}", 5, ("go to one path", "f.yaml:4"), "two saves to one path"),
    ('x: {op: save, input: base, path: "o/{base.by}"}', 4, ("not a plain number",), "a placeholder without a number"),
    (
        'x: {op: save, input: base, path: "o/{bse.by}"}',
        4,
        ("{bse.by}", "Did you mean {base.by}?"),
        "a misspelt placeholder",
    ),
    ('x: {op: save, input: base, path: "o/{x"}', 4, ('A single "{"', "double it"), "half a placeholder"),
    (
        'x: {op: scale, input: base, by: "${t}"}',
        4,
        ('no parameter "t"', "parameters: {t: VALUE}"),
        "no parameters at all",
    ),
    ('x: {op: save, input: base, path: "o/${t"}', 4, ("no closing brace", "$${"), "half a parameter"),
    ('x: {op: soup, models: "no/such/*"}', 4, ('No checkpoint matches "no/such/*"', "correct"), "a glob of nothing"),
]


def _problems(text: str) -> tuple[Problem, ...]:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, file="f.yaml", folder=Path("/no/such/folder"))
    return caught.value.problems


def _check_words(problem: Problem) -> None:
    """Nothing of pydantic, of Python or of union tags, and never a problem without a place and a fix."""
    text = str(problem)
    leaked = r"Input should|pydantic|[Uu]nion|Extra inputs|Field required|valid (string|number|array|tuple|dict)"
    leaked += r"|NoneType|Traceback|Value error|\bclass\b|constrained|tuple\[|\.(number|gradient|rules)\b|\{'|None"
    assert not re.search(leaked, text), text
    assert problem.at is not None, text
    assert problem.fix, text


@pytest.mark.parametrize(("node", "line", "said", "reason"), NODES, ids=[row[3] for row in NODES])
def test_a_broken_node_is_explained(node: str, line: int, said: tuple[str, ...], reason: str) -> None:
    text = FRAME + (f"{SAVE}  {node}\n" if line == 5 and "save" in node else f"  {node}\n{SAVE}")

    problems = _problems(text)

    shown = "\n".join(map(str, problems))
    assert all(part in shown for part in said), shown
    assert problems[0].at == Location("f.yaml", line), shown
    assert problems[0].node or "written twice" in shown
    assert len(problems) == (2 if reason == "a nested field missing" else 1), shown
    for problem in problems:
        _check_words(problem)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ("inp: base, factor: 1", {'scale has no "inp".', 'scale has no "factor", and needs "by".'}),
        (
            "source: base, factor: 1",
            {'scale has no "source", and needs "input".', 'scale has no "factor", and needs "by".'},
        ),
        (
            "what: base, much: 1",
            {'scale needs "input".', 'scale needs "by".', 'scale has no "what".', 'scale has no "much".'},
        ),
    ],
    ids=["one is spelt nearly right", "both are known", "neither is known"],
)
def test_two_unknown_fields_beside_two_missing_ones(fields: str, said: set[str]) -> None:
    assert {problem.fact for problem in _problems(f"{FRAME}  x: {{op: scale, {fields}}}\n{SAVE}")} == said


@pytest.mark.parametrize(
    ("node", "fixes"),
    [
        ("{op: dare, input: base, base: base, drop_ratio: 0.9}", {"add `density:`", "dare takes: "}),
        ("{op: dare, input: base, base: base, epsilon: 0.1}", {"add `density:`", "dare takes: "}),
        ("{op: dare, input: base, base: base, lambda: 0.7}", {"add `density:`", "the strength of the result"}),
        ("{op: dare, input: base, base: base, seed: 0,5}", {"add `density:`", "a number takes a point"}),
        ("{op: dare, input: base, base: base, p: 0,9}", {"`density` is the share", "a number takes a point"}),
        ("{op: ties, base: base, weights: [0.5, 0.5]}", {"add `inputs:`", "`weight` stands with each input"}),
        ("{op: save, path: p, precision: bf16}", {"add `input:`", "it is called `dtype` here"}),
        ("{op: scale, input: base, comment: half of it}", {"add `by:`", "scale takes: "}),
        ("{op: delta, model: base, base_model: 3}", {"add `base:`", "it is called `base` here"}),
        ("{op: dare, input: base, base: base, density: 0.5, p: 0.9}", {"dare takes: "}),
        ("{op: soup, inputs: {weight: 0.5, density: 1}}", {"`inputs`: "}),
        ("{op: soup, inputs: {base: .nan}}", {"`inputs`: "}),
        ("{op: soup, inputs: {'a, b': 1}}", {"`inputs`: "}),
    ],
)
def test_no_other_field_is_guessed_where_the_meaning_may_differ(node: str, fixes: set[str]) -> None:
    found = [problem.fix for problem in _problems(f"{FRAME}  x: {node}\n{SAVE}")]
    assert len(found) == len(fixes), found
    assert all(any(fix.startswith(begin) for fix in found) for begin in fixes), found


WHOLE: list[tuple[str, int, tuple[str, ...], str]] = [
    ("", 0, ("empty", "mergegraph: 1"), "an empty file"),
    ("# nothing\n", 0, ("empty",), "only a comment"),
    ("- a\n", 0, ("a mapping, and this is a list",), "a list"),
    ("merge.yaml\n", 0, ('and this is "merge.yaml"',), "a word"),
    (f"nodes:\n{SAVE}", 1, ("format version", "mergegraph: 1"), "no version"),
    ("mergegraph: 2\nnodes: {}\n", 1, ("format version 2", "reads version 1"), "a later version"),
    ('mergegraph: "1"\nnodes: {}\n', 1, ('format version "1"', "without quotes: mergegraph: 1"), "a version in quotes"),
    ("mergegraph: true\nnodes: {}\n", 1, ("format version true",), "true equals 1 in Python"),
    ("mergegraph: 1\n", 0, ("saves nothing", "out: {op: save"), "no nodes"),
    ("mergegraph: 1\nmodels: {a: x/y}\n", 0, ("saves nothing",), "no save"),
    ("mergegraph: 1\nnods: {}\n", 2, ('no "nods" at the top', "Did you mean nodes?"), "a misspelt section"),
    ("mergegraph: 1\noutputs: {}\n", 2, ('no "outputs" at the top', "{op: save, input: NODE"), "outputs of their own"),
    (f"mergegraph: 1\nseed: x\n{FRAME[14:]}{SAVE}", 2, ("whole number from 0", 'not "x"'), "a seed of text"),
    (f"mergegraph: 1\nseed: -1\n{FRAME[14:]}{SAVE}", 2, ("whole number from 0, not -1",), "a negative seed"),
    (f"mergegraph: 1\nseed: true\n{FRAME[14:]}{SAVE}", 2, ("whole number from 0, not true",), "true is no number"),
    (f"mergegraph: 1\nname: 12\n{FRAME[14:]}{SAVE}", 2, ("takes text, not 12",), "a name of digits"),
    (f"mergegraph: 1\nmodels: {{base: 7}}\nnodes:\n{SAVE}", 2, ('"model" takes text, not 7',), "a number as a model"),
    (f"mergegraph: 1\nmodels: {{base: ''}}\nnodes:\n{SAVE}", 2, ("text that is not empty",), "an empty reference"),
    (f"mergegraph: 1\nmodels: {{base: {{model: a}}}}\nnodes:\n{SAVE}", 2, ("under nodes:",), "a mapping as a model"),
    ("mergegraph: 1\nnodes: [a]\n", 2, ("takes a mapping of names, not a list",), "nodes as a list"),
    ("mergegraph: 1\nparameters: [t]\n", 2, ("mapping of names to defaults",), "parameters as a list"),
    ("merge_method: slerp\nmodels: []\n", 1, ("mergekit configuration", "mergegraph import f.yaml"), "mergekit"),
    ("slices:\n- sources: []\n", 1, ("mergekit configuration", "`slices:`"), "mergekit slices"),
    ("dtype: bfloat16\nbase_model: a\n", 2, ("mergekit configuration",), "mergekit's line"),
]


@pytest.mark.parametrize(("text", "line", "said", "reason"), WHOLE, ids=[row[3] for row in WHOLE])
def test_a_broken_recipe_is_explained(text: str, line: int, said: tuple[str, ...], reason: str) -> None:
    problems = _problems(text)

    first = problems[0]
    shown = "\n".join(map(str, problems))
    assert all(part in shown for part in said), shown
    assert any(problem.at == Location("f.yaml", line) for problem in problems), shown
    assert first.fix, reason
    for problem in problems:
        _check_words(problem)


def test_everything_is_reported_at_once_from_top_to_bottom() -> None:
    text = (
        "mergegraph: 1\n"
        "seeed: 3\n"
        "models: {base: a/b, code: 12}\n"
        "nodes:\n"
        "  my-node: {op: load, model: x}\n"
        "  s: {op: scale, inptu: base, by: high}\n"
        "  t: {op: sum, inputs: [bse, s, code]}\n"
        "  u: base /\n"
        "  o1: {op: save, input: t, path: ./out}\n"
        "  o2: {op: save, input: u, path: out}\n"
    )

    problems = _problems(text)

    assert [problem.at.line for problem in problems if problem.at] == [2, 3, 5, 6, 6, 7, 8, 10]
    shown = "\n".join(map(str, problems))
    assert 'no node "s"' not in shown, "s is there, and broken"
    assert 'no node "code"' not in shown, "code is there, and broken"
    for problem in problems:
        _check_words(problem)


def test_a_missing_file_and_a_folder_are_explained(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="There is no file"):
        load_recipe(tmp_path / "absent.yaml")
    with pytest.raises(RecipeError, match="is a folder, not a recipe"):
        load_recipe(tmp_path)


def test_an_error_on_a_line_that_a_person_pasted_an_escape_into_prints_no_escape() -> None:
    (problem,) = _problems(FRAME + '  x: {op: load, model: a, "\\e[31m": 1}\n' + SAVE)

    assert "\x1b" not in str(problem)
    assert "\\x1b" in str(problem)
