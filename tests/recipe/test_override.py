"""`--set`: values from the command line, put into the document before it is validated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mergegraph.errors import Location, RecipeError
from mergegraph.fields import Input, Rule, WeightedInput
from mergegraph.recipe.load import parse_recipe
from mergegraph.recipe.model import Expression, Recipe

TEXT = """\
mergegraph: 1
name: n
parameters: {t: 1}
models: {base: org/base, code: org/code}
nodes:
  d:
    op: delta
    model: code
    base: base
  boost:
    op: scale
    input: d
    by:
      - {kind: mlp, value: [0.1, 0.2]}
      - {value: "${t}"}
  merged: {op: sum, inputs: [base, boost]}
  avg: {op: soup, inputs: [merged, {from: code, weight: 2}]}
  e: base + 0.5*d
  raw: {op: load, model: x, rename: {old: new}}
  out: {op: save, input: avg, path: ./out}
"""


def read(*sets: str) -> Recipe:
    return parse_recipe(TEXT, file="merge.yaml", folder=Path("/no/such/folder"), sets=sets)


def value(recipe: Recipe, node: str, *names: str | int) -> Any:
    found: Any = recipe.nodes[node].method
    for name in names:
        found = found[name] if isinstance(name, int) else getattr(found, name)
    return found


SET: list[tuple[str, tuple[str | int, ...], Any, str]] = [
    ("boost.by=0.4", ("boost", "by"), 0.4, "a number for rules"),
    ("boost.by=[0.1, 0.9]", ("boost", "by"), (0.1, 0.9), "a list"),
    ("boost.by=[{value: 1e-3}]", ("boost", "by"), (Rule(value=0.001),), "rules"),
    ("boost.by.0.value=0.4", ("boost", "by", 0, "value"), 0.4, "inside a list"),
    ("boost.by.0.value.1=0.4", ("boost", "by", 0, "value"), (0.1, 0.4), "deeper"),
    ("boost.by.0.layers=0:16", ("boost", "by", 0, "layers"), "0:16", "an optional field; a colon without a space"),
    ("boost.skip=true", ("boost", "skip"), True, "an optional field of the node"),
    ("nodes.boost.by=0.4", ("boost", "by"), 0.4, "as it stands in the file"),
    ("merged.inputs.1=d", ("merged", "inputs", 1), Input.model_validate("d"), "another node"),
    ("merged.inputs=[base, d, boost]", ("merged", "inputs", 2), Input.model_validate("boost"), "a whole list"),
    ("avg.inputs.1.weight=0.5", ("avg", "inputs", 1, "weight"), 0.5, "a weight"),
    (
        "avg.inputs.0.weight=3",
        ("avg", "inputs", 0),
        WeightedInput.model_validate({"from": "merged", "weight": 3.0}),
        "of a bare name",
    ),
    ("models.code=./local+./adapter", ("code.base", "model"), "./local", "a reference"),
    ("models.code=./local+./adapter", ("code.adapter", "adapter"), "./adapter", "with an adapter on top"),
    ("code.model=s3://b/k", ("code", "model"), "s3://b/k", "a model is a load node"),
    ("code=org/other@rev", ("code", "model"), "org/other@rev", "the reference itself"),
    ("raw.rename.a=b", ("raw", "rename"), {"old": "new", "a": "b"}, "a key of one's own"),
    ("raw.rename={}", ("raw", "rename"), {}, "an empty mapping"),
    ("e=base + 0.25*d", ("e",), Expression("base + 0.25*d"), "an expression"),
    ("e={op: negate, input: d}", ("e", "op"), "negate", "a node in place of an expression"),
    ("out.path=./a=b", ("out", "path"), "./a=b", "only the first = divides"),
    ("out.dtype=null", ("out", "dtype"), None, "a default again"),
    ('raw.model="12"', ("raw", "model"), "12", "quotes as in the file"),
    ("raw.model=no", ("raw", "model"), "no", "a word as in the file"),
    ("parameters.t=0.75", ("boost", "by", 1, "value"), 0.75, "a parameter"),
    ("boost.by.1.value=${t}", ("boost", "by", 1, "value"), 1.0, "parameters are filled in afterwards"),
]


@pytest.mark.parametrize(("text", "place", "expected", "reason"), SET, ids=[row[0] for row in SET])
def test_a_value_is_set(text: str, place: tuple[str | int, ...], expected: Any, reason: str) -> None:
    node, *names = place

    assert value(read(text), str(node), *names) == expected, reason


def test_the_seed_and_the_name_of_the_recipe_are_set() -> None:
    recipe = read("seed=0x10", "name=other name")

    assert (recipe.seed, recipe.name) == (16, "other name")


def test_settings_follow_each_other_and_the_last_counts() -> None:
    recipe = read("boost.by=[1, 2]", "boost.by.1=3", "boost.by.1=4")

    assert value(recipe, "boost", "by") == (1.0, 4.0)


def test_a_setting_is_the_place_of_what_it_breaks() -> None:
    with pytest.raises(RecipeError) as caught:
        read("boost.by=[{valu: 3}]", "merged.inputs.0=bse")

    places = {problem.fact: problem.at for problem in caught.value.problems if problem.severity == "error"}
    assert places == {
        'There is no node "bse".': Location("--set merged.inputs.0=bse"),
        'scale has no "valu" in by.0.': Location("--set boost.by=[{valu: 3}]"),
    }


WRONG: list[tuple[str, tuple[str, ...], str]] = [
    ("boost", ("does not say what to set", "--set NODE.FIELD=VALUE"), "no value"),
    ("=3", ("does not say what to set",), "no place"),
    ("bost.by=1", ('no node "bost"', "Did you mean boost?"), "a misspelt node"),
    ("sed=1", ('no node "sed"', "Did you mean seed?"), "a misspelt key of the recipe"),
    ("boost.buy=1", ('"boost" has no "buy"', "Did you mean by?"), "a misspelt field"),
    ("boost.by.0.valu=1", ('"boost.by.0" has no "valu"', "Did you mean value?"), "a misspelt field of a rule"),
    ("boost.by.7=1", ("list of 2 entries", "there is no 7"), "beyond the list"),
    ("boost.by.-1=1", ("counted from 0",), "no index from the end"),
    ("boost.by.first=1", ("counted from 0",), "no index"),
    ("boost.by.1.value.x=1", ('"boost.by.1.value" is one value', "--set boost.by.1.value=VALUE"), "inside a number"),
    ("e.by=1", ('"e" is an expression', "--set e=VALUE"), "inside an expression"),
    ("out.dtype.x=1", ('"out.dtype" is not there',), "inside a field that is not there"),
    ("avg.inputs.0.weigth=3", ('has no "weigth"', "Did you mean weight?"), "a misspelt field of a bare name"),
    ("models.cod=x", ('no "cod" under models:', "Did you mean code?"), "a misspelt model"),
    ("nodes.boots.by=x", ('no "boots" under nodes:', "Did you mean boost?"), "a misspelt node under nodes:"),
    ("t=1", ('no node "t"', "Did you mean parameters.t?"), "a parameter by its name alone"),
    ("parameters.u=1", ('no "u" under parameters:',), "a parameter that is not declared"),
    ("code.subfolder=x", ("only a reference", "--set models.code=REF"), "a field of a shorthand"),
    ("boost.by=[1", ("not valid YAML", "not closed"), "an open list"),
    ("boost.by=a: b: c", ("not valid YAML",), "no value of YAML"),
    ("boost.by=!!float 1", ("no YAML tags",), "a tag"),
    ("boost.by=fast", ("a number, a list", 'not "fast"'), "a value that does not fit"),
    ("seed=x", ("whole number",), "a seed that is none"),
]


@pytest.mark.parametrize(("text", "said", "reason"), WRONG, ids=[row[0] for row in WRONG])
def test_what_cannot_be_set_is_explained(text: str, said: tuple[str, ...], reason: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read(text)

    (problem,) = (problem for problem in caught.value.problems if problem.severity == "error")
    assert all(part in str(problem) for part in said), str(problem)
    assert problem.at is not None
    assert problem.at.file.startswith(f"--set {text}"), reason
    assert problem.fix, reason


def test_all_unreadable_settings_are_reported_together() -> None:
    with pytest.raises(RecipeError) as caught:
        read("boost", "boost.by=[1", "=")

    assert len(caught.value.problems) == 3
