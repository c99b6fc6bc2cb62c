"""The recipe of the design is read as it is written, and what is read can be written out and read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergegraph.errors import Location, RecipeError
from mergegraph.fields import Rule
from mergegraph.methods.linear import Scale, Soup
from mergegraph.methods.load import Load
from mergegraph.methods.registry import methods
from mergegraph.methods.save import Save
from mergegraph.recipe.load import load_recipe, parse_recipe
from mergegraph.recipe.model import Expression, Node, Recipe, dump_recipe

HERE = Path("/no/such/folder")
DESIGN = """\
# A code model with its toxicity taken out
mergegraph: 1                       # format version; required
name: detox-code
seed: 7                             # default 0
nodes:
  base:    {op: load, model: ./models/llama-3-8b}
  code:    {op: load, model: my-org/llama-3-8b-code@3f1c2ab}
  toxic:   {op: load, model: ./models/llama-3-8b-toxic}
  d_code:  {op: delta, model: code, base: base}
  d_toxic: {op: delta, model: toxic, base: base}
  anti:    {op: negate, input: d_toxic}
  boost:
    op: scale
    input: d_code
    by:                             # a schedule: first rule that matches a tensor wins
      - {kind: embedding, value: 0.2}
      - {kind: attention, value: [0.4, 0.8]}      # gradient over the layers, first to last
      - {value: 0.6}
  merged:  {op: sum, inputs: [base, boost, anti]}
  out:     {op: save, input: merged, path: ./out/detox-code, dtype: bfloat16, max_shard_size: 5GB}
"""


def read(text: str) -> Recipe:
    return parse_recipe(text, file="merge.yaml", folder=HERE)


def test_the_recipe_of_the_design_is_read_as_written() -> None:
    recipe = read(DESIGN)

    assert (recipe.name, recipe.seed, recipe.folder, recipe.file) == ("detox-code", 7, HERE, "merge.yaml")
    assert list(recipe.nodes) == ["base", "code", "toxic", "d_code", "d_toxic", "anti", "boost", "merged", "out"]
    assert recipe.nodes["code"].method == Load.model_validate({"model": "my-org/llama-3-8b-code@3f1c2ab"})
    boost = recipe.nodes["boost"].method
    assert isinstance(boost, Scale)
    assert boost.by == (Rule(kind="embedding", value=0.2), Rule(kind="attention", value=(0.4, 0.8)), Rule(value=0.6))
    out = recipe.nodes["out"].method
    assert isinstance(out, Save)
    assert (out.path, out.dtype) == ("./out/detox-code", "bfloat16")
    assert recipe.warnings == ()


def test_every_field_knows_its_line() -> None:
    boost = read(DESIGN).nodes["boost"]

    rows: list[tuple[tuple[str | int, ...], int]] = [
        ((), 12),
        (("input",), 14),
        (("by",), 15),
        (("by", 1, "value"), 17),
        (("by", 1, "value", 0), 17),
        (("by", 2, "absent"), 18),
        (("absent",), 12),
    ]
    assert [(path, boost.where(path).line) for path, _ in rows] == rows


def test_models_are_load_nodes_and_a_string_is_an_expression() -> None:
    recipe = read(
        "mergegraph: 1\nmodels: {base: org/base, no: ./chat}\nnodes:\n"
        "  m: >\n    base +\n    0.7*(no - base)\n  out: {op: save, input: m, path: out}\n"
    )

    assert recipe.nodes["no"].method == Load.model_validate({"model": "./chat"})
    assert recipe.nodes["no"].where(("model",)) == Location("merge.yaml", 2)
    assert recipe.nodes["m"].method == Expression("base + 0.7*(no - base)\n")
    assert recipe.name == "merge", "a recipe without a name has that of its file"


def test_nodes_keep_the_order_of_the_file_across_sections() -> None:
    nodes = "nodes: {x: a, out: {op: save, input: x, path: p}}\n"
    models = "models: {b: r/b, a: r/a}\n"

    assert list(read(f"mergegraph: 1\n{nodes}{models}").nodes) == ["x", "out", "b", "a"]


def test_a_file_is_read_relative_to_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "sub" / "a recipe.yaml"
    file.parent.mkdir()
    file.write_text("\ufeff" + DESIGN, encoding="utf-8")

    recipe = load_recipe(file)

    assert recipe.folder == file.parent
    assert {node.folder for node in recipe.nodes.values()} == {file.parent}
    assert recipe.nodes["base"].at == Location(str(file), 6)


def test_a_written_recipe_is_readable() -> None:
    text = dump_recipe(read(DESIGN))

    assert text.splitlines()[:6] == [
        "mergegraph: 1",
        "name: detox-code",
        "seed: 7",
        "nodes:",
        "  base: {op: load, model: ./models/llama-3-8b}",
        "  code: {op: load, model: my-org/llama-3-8b-code@3f1c2ab}",
    ]
    assert "inputs: [base, boost, anti]" in text
    assert "max_shard_size" not in text, "defaults are left out"
    assert read(text) == read(DESIGN)


SHAPES = [
    ("{op: soup, inputs: [a, {from: b, weight: 2}], normalize: false}", "a bare input beside a weighted one"),
    ("{op: soup, inputs: [a, {from: b, weight: [0.1, 1e-05, 3]}]}", "a gradient with a tiny number"),
    ("{op: sum, inputs: [a, b], missing: keep, extra: drop}", "choices"),
    ("{op: scale, input: a, by: 123456789012345678901234567890.5}", "a huge number"),
    ("{op: scale, input: a, by: -0.0}", "minus nought"),
    ('{op: scale, input: a, by: [{match: "*.q_proj.*", layers: "-4:", value: 1}, {value: 0.5}], skip: true}', "rules"),
    ("{op: select, cases: [{kind: attention, part: q, from: a}, {from: b}], otherwise: a}", "a case without condition"),
    ('{op: stack, slices: [{from: a, layers: "0:2"}, {from: b, layers: "1:"}], tower: text}', "layers look like times"),
    ("{op: clamp, input: a, within: [a, b]}", "names in a tuple"),
    ('{op: load, model: "12", rename: {"no": "on", "1e3": "0o17"}}', "text that looks like something else"),
    ('{op: load, model: "$${x} {y} #z: @w"}', "text full of signs"),
    ('{op: load, model: "é\\u2028\\x7f\\t\\U0001F600 \\"q\\" \'s\'"}', "text that needs escapes"),
    ('{op: save, input: a, path: "o{{1}}", files_from: b, max_shard_size: 300MB}', "braces that are no placeholder"),
    ("a + 0.25*(b - a)", "an expression"),
    ('"- 0.5*(a - b)"', "an expression that looks like a list"),
    (f"a{''.join(f' + 0.1*(b  -  a){chr(32) * n}' for n in range(9))}", "an expression over several lines"),
]


@pytest.mark.parametrize(("node", "reason"), SHAPES, ids=[row[1] for row in SHAPES])
def test_what_is_written_out_reads_the_same(node: str, reason: str) -> None:
    recipe = read(
        f"mergegraph: 1\nmodels: {{a: r/a, b: r/b}}\nnodes:\n  x: {node}\n  o: {{op: save, input: a, path: p}}\n"
    )

    again = read(dump_recipe(recipe))

    assert again == recipe, reason
    assert dump_recipe(again) == dump_recipe(recipe), reason


@pytest.mark.parametrize("op", sorted(name for name, method in methods().items() if method.example))
def test_the_example_of_every_op_reads_the_same_when_written_out(op: str) -> None:
    example = methods()[op].example
    models = "".join(f"  {name}: org/{name}\n" for name in ["first", *_names_left_open(example)])
    save = "  last: {op: save, input: first, path: ./last}\n"

    recipe = read(f"mergegraph: 1\nmodels:\n{models}nodes:\n  {example}\n{save}")

    assert read(dump_recipe(recipe)) == recipe


def _names_left_open(example: str) -> list[str]:
    """The node names in an example that are not in it: those the reader does not find."""
    with pytest.raises(RecipeError) as caught:
        read(f"mergegraph: 1\nnodes:\n  {example}\n  last: {{op: save, input: '', path: last}}\n")
    facts = [problem.fact for problem in caught.value.problems]
    return sorted({fact.split('"')[1] for fact in facts if fact.startswith("There is no node")} - {""})


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
MODELS = TEXTS.filter(lambda text: "+" not in text)
"""A plus sign divides a model from an adapter."""
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@given(TEXTS, MODELS, st.lists(NUMBERS, min_size=1, max_size=3), st.integers(0, 2**64 - 1))
def test_any_text_and_number_survives_being_written_out(name: str, model: str, weights: list[float], seed: int) -> None:
    source: dict[str, Any] = {"inputs": ["a", {"from": "b", "weight": tuple(weights)}]}
    nodes = [
        Node("a", Load.model_validate({"model": model}), Location("f"), {}, HERE),
        Node("b", Load.model_validate({"model": "b", "rename": {name: model}}), Location("f"), {}, HERE),
        Node("s", Soup.model_validate(source | {"inputs": tuple(source["inputs"])}), Location("f"), {}, HERE),
        Node("o", Save.model_validate({"input": "s", "path": "p" + model}), Location("f"), {}, HERE),
    ]
    recipe = Recipe(name, seed, {node.name: node for node in nodes}, HERE, "f")

    assert read(dump_recipe(recipe)) == recipe
