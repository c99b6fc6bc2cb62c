"""What is wrong with a SEARCH.yaml is said at once, each with its line, and a fix that can be typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mergegraph.cli import main
from mergegraph.cli.search_schema import search_schema
from mergegraph.errors import RecipeError
from mergegraph.search.document import load_search
from mergegraph.search.kinds import KINDS
from mergegraph.search.preparing import prepare
from tests.cli import test_schema
from tests.cli.tiny_models import tree
from tests.search.searches import EVALUATOR

SEARCHES = sorted((Path(__file__).resolve().parents[2] / "recipes" / "search").glob("*.yaml"))
GOOD = """\
mergegraph: 1
search: greedy_soup
candidates: [./models/*]
evaluator:
  command: ["{python}", eval.py, "{model}", "{result}", "{split}"]
metrics:
  accuracy: max
select_on: dev
report_on: test
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("greedy_soup", "greedy_suop", 2, ('no search "greedy_suop"', "Did you mean greedy_soup?")),
        ("search: greedy_soup", "nodes: {}", 2, ("is a recipe, not a search", "mergegraph run search.yaml")),
        ("search: greedy_soup\n", "", 1, ("does not say which search", "greedy_soup, grid")),
        ("search: greedy_soup", "search: [a]", 2, ("takes a kind, not a list",)),
        ("mergegraph: 1\n", "", 1, ('needs "mergegraph"',)),
        ("mergegraph: 1", "mergegraph: 2", 1, ('"mergegraph" takes one of 1',)),
        ("candidates", "candidtes", 3, ('no "candidtes"', "Did you mean candidates?")),
        ("[./models/*]", "./models/*", 3, ("takes a list", "`candidates: [./models/*]`")),
        ("[./models/*]", "[]", 3, ("a list of 1 or more",)),
        ("accuracy: max", "accuracy: most", 7, ("one of max, min",)),
        ("accuracy: max", "accuracy: {dirction: max}", 7, ('no "dirction"', "Did you mean direction?")),
        ("accuracy: max", "accuracy: {direction: max, weight: -1}", 7, ("at least 0",)),
        ("accuracy: max", "accuracy: {direction: max, weight: 0}", 6, ("no weight above 0",)),
        ("accuracy: max", "accuracy: {direction: max, floor: .nan}", 7, ("a finite number",)),
        ("report_on: test", "report_on: dev", 9, ("it must be another one",)),
        ("select_on: dev\n", "", 1, ('needs "select_on"',)),
        ("report_on: test", "report_on: test\nstrict: yes", 10, ("true or false", "write `strict: true`")),
        ("report_on: test", "report_on: test\nrefine: all", 10, ("one of drop_one",)),
        ("report_on: test", "report_on: test\nlimits: {evaluations: 0}", 10, ("at least 1",)),
        ("report_on: test", "report_on: test\nlimits: {evalutions: 3}", 10, ("Did you mean evaluations?",)),
        ("report_on: test", "report_on: test\naccept: {noise: -2}", 10, ("at least 0",)),
        ("report_on: test", "report_on: test\nbudget: lots", 10, ('"lots" is not a size in bytes',)),
        ("report_on: test", "report_on: test\nreport_on: more", 10, ("written twice",)),
        ("{model}", "{modle}", 5, ("in place of {modle}", "Did you mean model?")),
        ('"{result}", ', "", 5, ("has no {result}", 'add "{result}"')),
        (', "{split}"', "", 5, ('the same numbers for "dev" and "test"', 'add "{split}"')),
        ("command:", "comand:", 5, ('no "comand"', "Did you mean command?")),
        ('command: ["{python}"', 'python: m:f\n  command: ["{python}"', 4, ("one of command, python and lm_eval",)),
        ('command: ["{python}",', 'takes: tensors\n  command: ["{python}",', 4, ("go with python",)),
        ('"{python}"', "./evall", 5, ("There is no program ./evall",)),
        ("eval.py", "evil.py", 5, ("There is no file evil.py",)),
        ("accuracy: max", "examples: max", 6, ("are lists, not a metric",)),
        ("select_on: dev", "select_on: dev\nevaluator2: {}", 9, ('no "evaluator2"',)),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    old: str, new: str, line: int, says: tuple[str, ...],
) -> None:  # fmt: skip
    assert old in GOOD
    monkeypatch.chdir(tmp_path)
    Path("search.yaml").write_text(GOOD.replace(old, new, 1))
    Path("eval.py").touch()
    before = tree(tmp_path)
    assert main(["search", "search.yaml"]) == 2
    said = capsys.readouterr()
    assert f"search.yaml:{line}" in said.err
    for part in says:
        assert part in said.err
    assert "  fix " in said.err
    assert said.out == ""
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("evaluator", "says"),
    [
        ("{python: nowhere.at_all:f}", "no Python module nowhere.at_all"),
        ("{python: just_a_name}", "not of the form MODULE:FUNCTION"),
        ("{python: 'json:dumps', files: [nothing*.json]}", '"nothing*.json" matches no file'),
        ("{lm_eval: {tasks: [arc_easy]}}", "the same numbers"),
        ("{lm_eval: {tasks: {dev: [arc_easy]}}}", 'No task is named for the split "test"'),
        ("{lm_eval: {tasks: [a], few_shots: 3}}", "Did you mean few_shot?"),
        ("{command: []}", "the command is empty"),
        ("{python: 'os.path:exists'}", ""),
        ("{python: 'sys:exit'}", ""),
        ("{python: 'json.tool:main'}", ""),
        ("{python: 'json.tools:main'}", "no Python module json.tools"),
        ("{python: 'judge:scor'}", "Did you mean score?"),
        ("{python: 'judge:score', arguments: {second: 1}}", "Did you mean seconds?"),
        ("{python: 'judge:score', arguments: {split: dev}}", "score takes no split"),
        ("{python: 'judge:score', arguments: {seconds: 1}}", ""),
        ("{}", "one of command, python and lm_eval"),
    ],
)
def test_what_is_wrong_with_an_evaluator_is_said(tmp_path: Path, evaluator: str, says: str) -> None:
    head, _, rest = GOOD.partition("evaluator:")
    path = tmp_path / "search.yaml"
    path.write_text(f"{head}evaluator: {evaluator}\nmetrics:{rest.partition('metrics:')[2]}")
    (tmp_path / "judge.py").write_text(EVALUATOR)
    if not says:
        load_search(path)
        return
    with pytest.raises(RecipeError) as refused:
        load_search(path)
    assert says in str(refused.value)


def test_all_problems_are_said_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("candidates", "candidats").replace("max", "up") + "limits: {hours: -1}\n"
    (tmp_path / "search.yaml").write_text(text)
    with pytest.raises(RecipeError) as refused:
        load_search(tmp_path / "search.yaml")
    lines = [problem.at.line for problem in refused.value.problems if problem.at]
    assert lines == [3, 7, 10]


OTHERS = {
    "between": ("line", "between: [a]"),
    "over": ("grid", "recipe: x.yaml\nover: {}"),
    "boost": ("optuna", "recipe: x.yaml\nover:\n  boost.by: {low: 1}"),
    "low": ("optuna", "recipe: x.yaml\nover:\n  boost.by: {low: 2, high: 1}"),
    "choices": ("optuna", "recipe: x.yaml\nover:\n  boost.by: {low: 0, high: 1, choices: [a]}"),
    "ablate": ("ablate", "base: a"),
    "against": ("compare", "models: {a: ./a}"),
}


@pytest.mark.parametrize("word", OTHERS)
def test_every_kind_says_what_it_needs(tmp_path: Path, word: str) -> None:
    kind, fields = OTHERS[word]
    text = GOOD.replace("greedy_soup", kind).replace("candidates: [./models/*]", fields)
    (tmp_path / "search.yaml").write_text(text)
    with pytest.raises(RecipeError) as refused:
        load_search(tmp_path / "search.yaml")
    assert word in str(refused.value)


def test_a_recipe_that_a_search_names_must_be_there(tmp_path: Path) -> None:
    text = GOOD.replace("greedy_soup", "grid").replace("candidates: [./models/*]", "recipe: x.yaml\nover: {a.b: [1]}")
    (tmp_path / "search.yaml").write_text(text)
    (tmp_path / "eval.py").touch()
    loaded = load_search(tmp_path / "search.yaml")
    with pytest.raises(RecipeError, match=r'The recipe "x\.yaml" is not there'):
        prepare(loaded, None)


KEYWORDS: dict[str, Any] = {
    "minProperties": lambda s, v: len(v) >= s["minProperties"],
}


@pytest.mark.parametrize("path", SEARCHES, ids=lambda path: path.stem)
def test_searches_of_the_repository_are_read_and_fit_the_schema(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_search(path)
    value: Any = yaml.safe_load(path.read_text())
    schema = search_schema()
    monkeypatch.setattr(test_schema, "SCHEMA", schema)
    for keyword, check in KEYWORDS.items():
        monkeypatch.setitem(test_schema._CHECKS, keyword, check)
    assert test_schema.accepts(schema, value)
    assert not test_schema.accepts(schema, {**value, "canddates": []})
    assert not test_schema.accepts(schema, {**value, "search": "greedy"})
    assert loaded.search.op_name() in KINDS


def test_every_kind_is_shown_by_a_search_of_the_repository() -> None:
    assert {load_search(path).search.search for path in SEARCHES} == set(KINDS)
