"""Recipes with parameters, alone and included in others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mergegraph.errors import Location, RecipeError
from mergegraph.graph import build
from mergegraph.methods.base import Method
from mergegraph.methods.load import Load
from mergegraph.methods.save import Save
from mergegraph.recipe.load import load_recipe, parse_recipe
from mergegraph.recipe.model import Expression, Recipe, dump_recipe

HERE = Path("/no/such/folder")
STEP = """\
mergegraph: 1
parameters: {t: 0.3, model: null}
models: {base: ./base, a: "${model}"}
nodes:
  d: {op: delta, model: a, base: base}
  s: {op: scale, input: d, by: "${t}"}
  m: base + ${t}*d
  out: {op: save, input: m, path: out/step}
"""


def method(recipe: Recipe, name: str) -> Method:
    found = recipe.nodes[name].method
    assert isinstance(found, Method)
    return found


def field(value: str, default: str) -> Any:
    """The schedule of a scale whose `by` is `value`, in a recipe with a parameter t."""
    text = f"mergegraph: 1\nparameters: {{t: {default}}}\nmodels: {{a: x}}\nnodes:\n"
    text += f"  s: {{op: scale, input: a, by: {value}}}\n  o: {{op: save, input: s, path: p}}\n"
    recipe = parse_recipe(text, file="f.yaml", folder=HERE)
    return getattr(method(recipe, "s"), "by", None)


def path(value: str, default: str) -> str:
    """The path of a save that is written as `value`, in a recipe with a parameter t."""
    text = f"mergegraph: 1\nparameters: {{t: {default}}}\nmodels: {{a: x}}\nnodes:\n"
    recipe = parse_recipe(f"{text}  o: {{op: save, input: a, path: {value}}}\n", file="f.yaml", folder=HERE)
    save = method(recipe, "o")
    assert isinstance(save, Save)
    return save.path


def test_a_whole_value_takes_the_parameter_as_it_is() -> None:
    assert field('"${t}"', "0.25") == 0.25
    assert field('"${ t }"', "[0.1, 0.9]") == (0.1, 0.9)
    assert field('["${t}", 1]', "1e-3") == (0.001, 1.0)
    rules = field('"${t}"', "[{kind: mlp, value: 0.5}, {value: 1}]")
    assert [rule.value for rule in rules] == [0.5, 1.0]


@pytest.mark.parametrize(
    ("written", "default", "expected", "reason"),
    [
        ('"o/${t}/x"', "0.30", "o/0.3/x", "a number as a person writes it"),
        ('"o/${t}-${t}"', "1e-3", "o/0.001-0.001", "no exponent"),
        ('"o/${t}"', "true", "o/true", "a word of YAML"),
        ('"o/${t}"', "2.0", "o/2", "a whole number"),
        ('"o/${t}"', '"0.30"', "o/0.30", "text stays as it is"),
    ],
)
def test_inside_longer_text_a_parameter_is_text(written: str, default: str, expected: str, reason: str) -> None:
    assert path(written, default) == expected, reason


def test_what_a_parameter_holds_is_not_searched_again() -> None:
    text = 'mergegraph: 1\nparameters: {t: "$${u}"}\nname: "${t}-${t}"\nmodels: {a: x}\n'
    recipe = parse_recipe(text + "nodes: {o: {op: save, input: a, path: p}}\n", file="f.yaml", folder=HERE)

    assert recipe.name == "$${u}-$${u}"


def test_two_dollars_are_a_literal_one() -> None:
    text = 'mergegraph: 1\nname: "$${t}"\nmodels: {a: "x$${y}$z"}\nnodes:\n  o: {op: save, input: a, path: p}\n'
    recipe = parse_recipe(text, file="f.yaml", folder=HERE)

    assert recipe.name == "${t}"
    assert getattr(recipe.nodes["a"].method, "model", "") == "x${y}$z"


def test_a_recipe_with_defaults_runs_by_itself() -> None:
    recipe = parse_recipe(STEP.replace("null", "org/a"), file="f.yaml", folder=HERE)

    assert recipe.nodes["m"].method == Expression("base + 0.3*d")
    assert "out" in build(recipe).nodes
    assert recipe.warnings == ()


def test_a_parameter_without_a_value_is_said_once() -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(STEP, file="f.yaml", folder=HERE)

    (problem,) = caught.value.problems
    assert 'parameter "model" has no value' in problem.fact
    assert problem.at == Location("f.yaml", 2)
    assert "--set parameters.model=VALUE" in problem.fix
    assert parse_recipe(STEP, file="f.yaml", folder=HERE, sets=["parameters.model=x/y"]).nodes


def test_an_unknown_parameter_is_named_with_the_nearest() -> None:
    text = STEP.replace("null", "org/a").replace('"${t}"}', '"${tt}"}')
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, file="f.yaml", folder=HERE)

    (problem,) = caught.value.problems
    assert (problem.fact, problem.node) == ('There is no parameter "tt".', "s")
    assert problem.at == Location("f.yaml", 6)


def test_an_unused_parameter_is_a_warning() -> None:
    text = "mergegraph: 1\nparameters: {t: 1}\nmodels: {a: x}\nnodes:\n  o: {op: save, input: a, path: p}\n"

    (warning,) = parse_recipe(text, file="f.yaml", folder=HERE).warnings

    assert (warning.severity, warning.at) == ("warning", Location("f.yaml", 2))


def test_a_list_is_no_part_of_longer_text() -> None:
    with pytest.raises(RecipeError, match="is a list, not text"):
        path('"o/${t}"', "[1, 2]")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "step.yaml").write_text(STEP)
    return tmp_path


def load(folder: Path, include: str, nodes: str, sets: tuple[str, ...] = ()) -> Recipe:
    (folder / "main.yaml").write_text(f"mergegraph: 1\ninclude:\n{include}nodes:\n{nodes}")
    return load_recipe(folder / "main.yaml", sets=sets)


OUT = "  m: 0.5*x.m + 0.5*y.m\n  out: {op: save, input: m, path: out}\n"
TWO = (
    "  x: {recipe: parts/step.yaml, with: {t: 1e-3, model: org/z}}\n"
    "  y: {recipe: ./parts/step.yaml, with: {model: ./q}}\n"
)


def test_an_include_gives_its_nodes_under_its_name(folder: Path) -> None:
    recipe = load(folder, TWO, OUT)

    inner = [f"{name}.{node}" for name in "xy" for node in ("base", "a", "d", "s", "m")]
    assert list(recipe.nodes) == [*inner, "m", "out"]
    assert [edge.node for edge in method(recipe, "x.d").edges()] == ["x.a", "x.base"]
    assert recipe.nodes["x.m"].method == Expression("x.base + 0.001*x.d")
    assert recipe.nodes["y.m"].method == Expression("y.base + 0.3*y.d")
    assert recipe.nodes["x.s"].within == ""
    assert "out" in build(recipe).nodes


@pytest.mark.parametrize("vocab", ["{align: base}", "{union: [base, a]}"])
def test_the_models_whose_vocabulary_an_included_node_takes_are_those_of_the_include(folder: Path, vocab: str) -> None:
    step = folder / "parts" / "step.yaml"
    step.write_text(step.read_text() + f"  grown: {{op: load, model: ./q, vocab: {vocab}}}\n")

    grown = method(load(folder, TWO, OUT), "x.grown")

    assert isinstance(grown, Load)
    assert grown.vocab is not None
    assert grown.vocab.nodes == (("x.base",) if "align" in vocab else ("x.base", "x.a"))


def test_an_included_node_keeps_its_file_and_its_folder(folder: Path) -> None:
    node = load(folder, TWO, OUT).nodes["y.a"]

    assert node.folder == folder / "parts"
    assert node.at == Location(str(folder / "parts" / "step.yaml"), 3)
    assert getattr(node.method, "model", "") == "./q"


def test_the_saves_of_an_include_are_left_out_with_a_warning(folder: Path) -> None:
    warnings = load(folder, TWO, OUT).warnings

    assert [warning.node for warning in warnings] == ["x.out", "y.out"]
    assert {warning.severity for warning in warnings} == {"warning"}
    assert "input: x.m" in warnings[0].fix


def test_the_seed_of_an_include_is_not_silently_ignored(folder: Path) -> None:
    (folder / "parts" / "step.yaml").write_text(STEP.replace("nodes:", "seed: 3\nnodes:"))

    assert any("seed" in warning.fact for warning in load(folder, TWO, OUT).warnings)


def test_a_recipe_with_includes_can_be_written_in_one_file(folder: Path) -> None:
    recipe = load(folder, TWO, OUT)

    text = dump_recipe(recipe)
    again = parse_recipe(text, file="main.yaml", folder=folder)

    assert dump_recipe(again) == text
    assert "y.a: {op: load, model: ./parts/q}" in text
    assert "x.a: {op: load, model: org/z}" in text, "a Hub id is no path"
    assert list(again.nodes) == list(recipe.nodes)
    assert [getattr(node.method, "edges", tuple)() for node in again.nodes.values()] == [
        getattr(node.method, "edges", tuple)() for node in recipe.nodes.values()
    ]


def test_includes_nest_and_hand_parameters_on(folder: Path) -> None:
    middle = "mergegraph: 1\nparameters: {k: 2}\ninclude: {in: {recipe: step.yaml, with: {t: '${k}', model: w}}}\n"
    (folder / "parts" / "middle.yaml").write_text(middle + "nodes: {top: 0.5*in.m + 0.5*in.base}\n")

    recipe = load(
        folder,
        "  x: {recipe: parts/middle.yaml, with: {k: 7}}\n",
        "  out: {op: save, input: x.top, path: o}\n",
    )

    assert list(recipe.nodes) == [*(f"x.in.{name}" for name in ("base", "a", "d", "s", "m")), "x.top", "out"]
    assert recipe.nodes["x.in.m"].method == Expression("x.in.base + 7*x.in.d")
    assert recipe.nodes["x.top"].method == Expression("0.5*x.in.m + 0.5*x.in.base")


def test_a_setting_reaches_into_an_include(folder: Path) -> None:
    sets = ("x.s.by=[1, 2]", "include.y.with.t=4", "y.base.model=./other")
    recipe = load(folder, TWO.replace("model: ./q", "model: ./q, t: 1"), OUT, sets)

    assert getattr(method(recipe, "x.s"), "by", None) == (1.0, 2.0)
    assert getattr(method(recipe, "y.s"), "by", None) == 4.0
    assert getattr(method(recipe, "y.base"), "model", "") == "./other"


@pytest.mark.parametrize(
    ("setting", "fix"),
    [
        ("x.m.by=2", "--set x.m=VALUE"),  # an expression
        ("x.s.by.0=2", "--set x.s.by=VALUE"),  # one value
        ("x.base.deep=2", "--set x.models.base=REF"),  # a reference
    ],
)
def test_what_cannot_be_set_in_an_include_is_advised_as_it_is_typed(folder: Path, setting: str, fix: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(folder, TWO, OUT, (setting,))
    (problem,) = [each for each in caught.value.problems if fix in each.fix]
    assert '"x.' in problem.fact


BAD_INCLUDES: list[tuple[str, int, tuple[str, ...], str]] = [
    ("  x: {recipe: parts/stp.yaml}\n", 3, ('"parts/stp.yaml" is not there', "Did you mean parts/"), "a misspelt file"),
    ("  x: {recipe: nowhere/stp.yaml}\n", 3, ('"nowhere/stp.yaml" is not there', "relative to the folder"), "no file"),
    ("  x: {recipe: parts}\n", 3, ('"parts" is not there',), "a folder"),
    ("  x: parts/step.yaml\n", 3, ("takes a mapping", "{recipe: FILE.yaml"), "only a name"),
    ("  x: {recipe: parts/step.yaml, wiht: {model: a}}\n", 3, ('no "wiht"', "Did you mean with?"), "a misspelt field"),
    ("  x: {with: {model: a}}\n", 3, ("names the file",), "no file named"),
    ("  x: {recipe: parts/step.yaml, with: [1]}\n", 3, ("mapping of parameters",), "a list of parameters"),
    (
        "  x:\n    recipe: parts/step.yaml\n    with: {modle: a}\n",
        5,
        ('no parameter "modle"', "model?"),
        "a misspelt one",
    ),
    ("  x: {recipe: parts/step.yaml}\n", 3, ('"model" has no value', "with: {model: VALUE}"), "a required one missing"),
    ("  x: {recipe: main.yaml}\n", 3, ("form a circle: main.yaml -> main.yaml",), "itself"),
    ("  x.y: {recipe: parts/step.yaml}\n", 3, ('"x.y" cannot be a name',), "a dot in its name"),
]


@pytest.mark.parametrize(("include", "line", "said", "reason"), BAD_INCLUDES, ids=[row[3] for row in BAD_INCLUDES])
def test_a_broken_include_is_explained(
    folder: Path, include: str, line: int, said: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        load(folder, include, "  out: {op: save, input: x.m, path: o}\n")

    errors = [problem for problem in caught.value.problems if problem.severity == "error"]
    shown = "\n".join(map(str, errors))
    assert all(part in shown for part in said), shown
    assert any(problem.at == Location(str(folder / "main.yaml"), line) for problem in errors), shown
    if include.startswith("  x:"):
        assert 'no node "x.m"' not in shown, "what the include would have given is not called missing"


def test_a_circle_of_includes_names_the_files(folder: Path) -> None:
    for here, there in (("a", "b"), ("b", "c"), ("c", "a")):
        (folder / f"{here}.yaml").write_text(f"mergegraph: 1\ninclude: {{x: {{recipe: {there}.yaml}}}}\n")

    with pytest.raises(RecipeError, match=r"a\.yaml -> b\.yaml -> c\.yaml -> a\.yaml"):
        load_recipe(folder / "a.yaml")


def test_a_problem_inside_an_include_is_shown_in_its_own_file(folder: Path) -> None:
    (folder / "parts" / "step.yaml").write_text(STEP.replace("input: d,", "input: dd,"))

    with pytest.raises(RecipeError) as caught:
        load(folder, TWO, OUT)

    errors = [problem for problem in caught.value.problems if problem.severity == "error"]
    assert len(errors) == 1, "the same mistake of the same file is said once"
    assert errors[0].at == Location(str(folder / "parts" / "step.yaml"), 6)
    assert 'no node "dd"' in errors[0].fact


def test_an_included_file_that_is_no_recipe_is_explained(folder: Path) -> None:
    (folder / "parts" / "step.yaml").write_text("merge_method: slerp\n")

    with pytest.raises(RecipeError, match="mergekit configuration"):
        load(folder, TWO, OUT)


def test_a_misspelt_node_of_an_include_is_named_with_the_nearest(folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"Did you mean x\.base\?"):
        load(folder, TWO, "  out: {op: save, input: x.bsae, path: o}\n")
