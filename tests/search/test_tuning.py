"""optuna, where it is installed; else what is said of it."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from mergegraph.cli import main
from mergegraph.search.outcome import Outcome
from mergegraph.search.scoring import Metric, Rule
from mergegraph.search.tuning import Tried, front
from tests.search.scores import soup
from tests.search.searches import RECIPE, entries, run, shown, write_search

needs_optuna = pytest.mark.skipif(find_spec("optuna") is None, reason="optuna is not installed: mergegraph[search]")


def tuned(folder: Path, **fields: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "merge.yaml").write_text(RECIPE)
    over = {"boost.by": {"low": 0, "high": 1}}
    return write_search(folder, "optuna", **({"recipe": "merge.yaml", "over": over, "trials": 6} | fields))


def test_without_optuna_it_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main(["search", str(tuned(tmp_path))]) == 2
    assert "pip install 'mergegraph[search]'" in capsys.readouterr().err
    assert not (tmp_path / "found").exists()


def test_without_matplotlib_a_png_is_refused_before_the_search(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["search", str(write_search(tmp_path)), "--png", str(tmp_path / "x.png")]) == 2
    assert "report.html has the same plots" in capsys.readouterr().err
    assert not (tmp_path / "found").exists()


@needs_optuna
@pytest.mark.parametrize("sampler", ["tpe", "cma_es", "random"])
def test_a_study_finds_a_strength_and_goes_on_with_the_same_candidates(tmp_path: Path, sampler: str) -> None:
    result = run(tuned(tmp_path, sampler=sampler, limits={"evaluations": 3}))
    assert "3 evaluations" in result.ended
    result = run(tuned(tmp_path, sampler=sampler))
    labels = [entry["label"] for entry in entries(tmp_path, "evaluated") if entry["split"] == "select"]
    assert len(labels) == len(set(labels)) == 6
    whole = run(tuned(tmp_path / "whole", sampler=sampler))
    assert [e["label"] for e in entries(tmp_path / "whole", "evaluated")][:6] == labels
    assert whole.label == result.label


@needs_optuna
def test_several_objectives_give_what_no_other_beats(tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(
        "import judge\ndef score(model, split):\n"
        "    near = sum(judge.values(model)) / len(judge.values(model))\n"
        "    return {'a': near, 'b': -near, 'c': 1.0}\n"
    )
    metrics = {"a": "max", "b": "max", "c": {"direction": "max", "weight": 0}}
    result = run(tuned(tmp_path, evaluator={"python": "two:score"}, metrics=metrics, multi_objective=True))
    assert isinstance(result.findings["front"], list)
    assert len(result.findings["front"]) == 6  # what is better in one is worse in the other
    said, page = shown(tmp_path)
    assert len([line for line in said if line.startswith("not beaten boost.by=")]) == 6
    assert "What nothing else beats" in page


@needs_optuna
def test_a_gradient_and_a_choice_can_be_searched(tmp_path: Path) -> None:
    over = {
        "boost.by": {"low": 0.1, "high": 1, "points": 2, "log": True},
        "learnt.missing": {"choices": ["error", "keep"]},
    }
    run(tuned(tmp_path, over=over, trials=2))
    settings = entries(tmp_path, "evaluated")[0]["facts"]["settings"]
    assert len(settings["boost.by"]) == 2
    assert settings["learnt.missing"] in ("error", "keep")


@needs_optuna
def test_whole_numbers_are_tuned_as_such(tmp_path: Path) -> None:
    run(tuned(tmp_path, over={"seed": {"low": 0, "high": 5, "step": 1}}, trials=3))
    seeds = [
        entry["facts"]["settings"]["seed"] for entry in entries(tmp_path, "evaluated") if entry["facts"].get("settings")
    ]
    assert seeds
    assert all(isinstance(seed, int) for seed in seeds)


@needs_optuna
@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"over": {"out.dtype": {"choices": ["float32", "flaot16"]}}}, "flaot16"),
        ({"over": {"boost.by": {"low": 0, "high": 1, "step": 0.3}}}, "steps of 0.3 do not lead from 0 to 1"),
        ({"sampler": "cma_es", "multi_objective": True}, "knows one objective"),
        ({"over": {"bost.by": {"low": 0, "high": 1}}}, "Did you mean boost"),
        ({"over": {"boost.by": {"low": 0}}}, "a range has `low` and `high`, or `choices`"),
        ({"over": {"boost.by": {"low": 1, "high": 0}}}, "`low` is less than `high`"),
        ({"over": {"boost.by": {"low": 0, "high": 1, "log": True}}}, "`log` goes with a `low` above 0"),
        ({"over": {"boost.by": {"choices": []}}}, "`choices` is empty"),
        ({"over": {"boost.by": {"choices": [1], "points": 2}}}, "log, step and points go with `low` and `high`"),
        ({"recipe": "both.yaml"}, "both.yaml has 2 saves, and a candidate is one model"),
    ],
)
def test_what_cannot_be_tuned_is_said_before_the_search(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fields: dict[str, object], says: str
) -> None:
    (tmp_path / "both.yaml").write_text(RECIPE + "  more: {op: save, input: merged, path: more}\n")
    assert main(["search", str(tuned(tmp_path, **fields))]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert "search.yaml:" in said
    assert not (tmp_path / "found").exists()


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="matplotlib is not installed: mergegraph[search]")
def test_a_png_is_drawn(tmp_path: Path) -> None:
    assert main(["search", str(write_search(tmp_path)), "--png", str(tmp_path / "x.png"), "--quiet"]) == 0
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_the_front_leaves_out_what_is_beaten() -> None:
    rule = Rule({"a": Metric(direction="max"), "b": Metric(direction="min"), "c": Metric(direction="min", weight=0)})
    values = {"best_a": (5, 9), "best_b": (1, 1), "between": (3, 4), "beaten": (3, 5), "equal": (3, 4)}
    tried = [Tried(soup((name,)), {}, Outcome({"a": a, "b": b, "c": 0})) for name, (a, b) in values.items()]
    tried.append(Tried(soup(("crashed",)), {}, Outcome(rejected="crashed")))
    assert [each.candidate.label for each in front(tried, rule)] == ["best_a", "best_b", "between", "equal"]
    assert json.dumps(dict(tried[0].settings)) == "{}"
