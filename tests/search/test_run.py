"""A search end to end on small models: what it finds, what it keeps, what it never does twice."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from mergegraph import pipeline
from mergegraph.errors import DoesNotFit, InputError, OutputError, RecipeError, RunError
from mergegraph.execute.run import Options
from mergegraph.recipe.load import load_recipe
from mergegraph.search.summary import summarise
from tests.cli.tiny_models import read_file, tensors, tree, write_file, write_model
from tests.search.searches import EVALUATOR, NAMES, RECIPE, calls, entries, is_running, run, shown, write_search

LINE: dict[str, Any] = {"search": "line"}
PARTS: dict[str, Any] = {"search": "ablate", "base": "./models/a", "report_on": None}
COMPARED: dict[str, Any] = {
    "search": "compare", "select_on": None, "models": {"a": "./models/a", "b": "./models/b"}, "against": "a",
}  # fmt: skip


def test_a_greedy_soup_is_written_as_a_plain_recipe(tmp_path: Path) -> None:
    """The means are those of a plus 0, 0.25, -0.5 and 1; the soup is as near to 0.05 as an average in that order is."""
    result = run(write_search(tmp_path))
    assert result.recipe is not None
    singles = [entry for entry in entries(tmp_path, "evaluated") if entry["label"] in NAMES]
    best = max(entry["score"] for entry in singles)
    assert summarise(entries_of(tmp_path)).best is not None
    assert -result.selected["loss"] >= best
    (tmp_path / "judge.py").unlink()
    recipe = load_recipe(result.recipe)
    report = pipeline.execute(pipeline.plan(recipe, output=tmp_path / "again"), Options(sync=False))
    assert report.tensors == 3
    assert read_file(tmp_path / "again" / "model.safetensors") == read_file(
        tmp_path / "found" / "model" / "model.safetensors"
    )


def entries_of(folder: Path):
    from mergegraph.search.ledger import read_ledger

    return read_ledger(folder / "found")


def test_the_other_split_is_evaluated_once_at_the_end(tmp_path: Path) -> None:
    result = run(write_search(tmp_path))
    assert [entry["split"] for entry in entries(tmp_path, "evaluated")].count("test") == 1
    assert entries(tmp_path, "evaluated")[-1]["split"] == "test"
    assert entries(tmp_path, "reported")[0]["metrics"] == dict(result.reported)


def test_nothing_is_evaluated_twice(tmp_path: Path) -> None:
    path = write_search(tmp_path)
    first = run(path)
    before = (tmp_path / "found" / "ledger.jsonl").read_bytes()
    second = run(path)
    assert first.evaluated > 4
    assert second.evaluated == 0
    assert (second.label, second.selected, second.reported) == (first.label, first.selected, first.reported)
    assert (tmp_path / "found" / "ledger.jsonl").read_bytes() == before
    assert all(count == 1 for name, count in calls(tmp_path).items() if name.split()[0] in NAMES)


def _other_evaluator(folder: Path) -> None:
    (folder / "judge.py").write_text(EVALUATOR + "# changed\n")


def _other_model(folder: Path) -> None:
    write_file(folder / "models" / "d" / "model.safetensors", tensors(shift=0.75))


@pytest.mark.parametrize(
    ("change", "singles", "reason"),
    [
        (lambda folder: None, set(), "nothing changed"),
        (_other_evaluator, set(NAMES), "another evaluator says nothing about what this one would"),
        (_other_model, {"d"}, "only the model that was written again"),
    ],
)
def test_what_changed_is_evaluated_again(
    tmp_path: Path, change: Callable[[Path], None], singles: set[str], reason: str
) -> None:
    path = write_search(tmp_path)
    run(path)
    before = calls(tmp_path)
    change(tmp_path)
    run(path)
    again = calls(tmp_path) - before
    assert {name.split()[0] for name in again if name.split()[0] in NAMES} == singles, reason


def test_another_search_in_the_same_folder_reuses_what_is_there(tmp_path: Path) -> None:
    run(write_search(tmp_path))
    before = calls(tmp_path)
    run(write_search(tmp_path, strict=True))
    assert not {name for name in calls(tmp_path) - before if name.split()[0] in NAMES}
    assert len(entries(tmp_path, "begun")) == 2
    assert len(entries(tmp_path, "reused")) >= 4
    assert {row.label for row in summarise(entries_of(tmp_path)).rows} >= set(NAMES)


BROKEN = """\
import os, time
from pathlib import Path
import judge as good

def score(model, split):
    if Path(model).name == "b":
        {what}
    return good.score(model, split)
"""


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("raise ValueError('no such layer')", "ValueError: no such layer"),
        ("os._exit(7)", "ended its process (exit code 7)"),
        ("os.kill(os.getpid(), 11)", "ended its process (killed by signal 11)"),
        ("time.sleep(60)", "longer than 1.5 seconds"),
        ("return {'loss': float('nan')}", '"loss" is nan'),
        ("return {'loss': float('inf')}", '"loss" is inf'),
        ("return {'los': 1.0}", 'no "loss"; Did you mean los?'),
        ("return None", "nothing"),
        ("return {'loss': object()}", "the result holds a object"),
        ("print('{\"result\": 3}'); raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_a_candidate_that_cannot_be_evaluated_is_rejected_with_the_reason(
    tmp_path: Path, what: str, reason: str
) -> None:
    evaluator = {"python": "broken:score", "timeout_seconds": 1.5}
    path = write_search(tmp_path, evaluator=evaluator)
    (tmp_path / "broken.py").write_text(BROKEN.format(what=what))
    result = run(path)
    (rejected,) = [entry for entry in entries(tmp_path, "evaluated") if entry["status"] == "rejected"]
    assert rejected["label"] == "b"
    assert reason in rejected["reason"]
    assert result.recipe is not None
    assert "/b" not in result.recipe.read_text()
    assert run(path).evaluated == 0


def test_a_longer_timeout_gives_what_took_too_long_another_chance(tmp_path: Path) -> None:
    path = write_search(tmp_path, evaluator={"python": "broken:score", "timeout_seconds": 1.0})
    (tmp_path / "broken.py").write_text(BROKEN.format(what="time.sleep(2)"))
    run(path)
    write_search(tmp_path, evaluator={"python": "broken:score", "timeout_seconds": 30})
    assert run(path).evaluated > 0
    assert [entry["status"] for entry in entries(tmp_path, "evaluated") if entry["label"] == "b"] == ["rejected", "ok"]


def test_when_no_candidate_can_be_evaluated_the_reasons_are_said(tmp_path: Path) -> None:
    path = write_search(tmp_path, evaluator={"python": "broken:score"})
    (tmp_path / "broken.py").write_text("def score(model, split):\n    raise KeyError(split)\n")
    with pytest.raises(RunError) as failed:
        run(path)
    assert "a: KeyError: 'select'" in str(failed.value)
    assert not (tmp_path / "found" / "found.yaml").exists()


@pytest.mark.parametrize("most", [1, 4, 5, 6])
def test_the_limit_on_evaluations_holds_and_can_be_raised(tmp_path: Path, most: int) -> None:
    full = run(write_search(tmp_path / "whole"))
    path = write_search(tmp_path, limits={"evaluations": most})
    result = run(path)
    selecting = [entry for entry in entries(tmp_path, "evaluated") if entry["split"] == "select"]
    assert len(selecting) == most
    assert f"{most} evaluations" in result.ended
    assert result.recipe is not None
    write_search(tmp_path)
    raised = run(path)
    assert raised.label == full.label
    keys = [entry["key"] for entry in entries(tmp_path, "evaluated")]
    assert len(keys) == len(set(keys))


def test_the_limit_on_hours_counts_what_evaluations_took(tmp_path: Path) -> None:
    limit = 3.0
    evaluator = {"python": "judge:score", "arguments": {"seconds": 0.8}}
    result = run(write_search(tmp_path, evaluator=evaluator, limits={"hours": limit / 3600}))
    assert "hours" in result.ended
    selecting = [entry for entry in entries(tmp_path, "evaluated") if entry["split"] == "select"]
    spent = [entry["seconds"] + entry["made_seconds"] for entry in selecting]
    assert min(spent) >= 0.8
    assert sum(spent[:-1]) < limit
    assert len(selecting) < 4, "the last one was cut short, or none was begun"


def test_a_limit_that_leaves_time_for_nothing_says_so(tmp_path: Path) -> None:
    evaluator = {"python": "judge:score", "arguments": {"seconds": 60}}
    path = write_search(tmp_path, evaluator=evaluator, limits={"hours": 0.5 / 3600})
    with pytest.raises(RunError, match=r"hours, as limits\.hours allows"):
        run(path)
    assert not entries(tmp_path, "evaluated"), "what was cut short says nothing of the model"


def test_a_command_gets_its_arguments_as_they_are(tmp_path: Path) -> None:
    """A list, and no shell: nothing is split, expanded or run."""
    folder = tmp_path / "a folder; touch hacked"
    command = ["{python}", "judge.py", "{model}", "{result}", "{split}"]
    by_command = run(write_search(folder, evaluator={"command": command}))
    assert not list(tmp_path.rglob("hacked"))
    by_function = run(write_search(tmp_path / "other"))
    assert by_command.label == by_function.label
    assert by_command.selected == by_function.selected


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import sys; sys.exit('no such task')", "exit code 1, no such task"),
        ("pass", "wrote no result"),
        ("import sys; open(sys.argv[2], 'w').write('{')", "not JSON"),
        ("import sys; open(sys.argv[2], 'w').write('{\"loss\": NaN}')", '"loss" is nan'),
        ("import time; time.sleep(60)", "longer than 2 seconds"),
    ],
)
def test_a_command_that_fails_rejects_the_candidate(tmp_path: Path, code: str, reason: str) -> None:
    command = ["{python}", "-c", code, "{model}", "{result}", "{split}"]
    path = write_search(tmp_path, "uniform", evaluator={"command": command, "timeout_seconds": 2})
    with pytest.raises(RunError):
        run(path)
    assert reason in entries(tmp_path, "evaluated")[0]["reason"]


def test_a_step_reads_the_new_model_and_the_running_average_only(tmp_path: Path) -> None:
    from mergegraph.search.document import load_search
    from mergegraph.search.preparing import prepare
    from mergegraph.search.recipes import Kitchen, models

    path = write_search(tmp_path)
    loaded = load_search(path)
    prepared = prepare(loaded, None)
    kitchen = Kitchen("x", tmp_path, tmp_path / "found", "search.yaml", may_grow=True)
    found = models(["./models/*"], tmp_path, lambda index: loaded.where("candidates", index))
    candidate = kitchen.soup(found)
    one = pipeline.plan(kitchen.single(found[0]).recipe).read_bytes
    assert prepared.maker.planned(candidate.recipe).read_bytes == 4 * one
    assert prepared.maker.planned(prepared.maker.from_running(candidate)).read_bytes == 2 * one
    cheap, own = (prepared.maker.make(candidate, cheap=cheap) for cheap in (True, False))
    ours, theirs = (read_file(made.folder / "model.safetensors") for made in (cheap, own))
    for name, values in ours.items():
        assert values == pytest.approx(theirs[name], abs=1e-6)


def test_an_evaluator_may_take_the_tensors(tmp_path: Path) -> None:
    """Nothing of a candidate that is only proposed is written."""
    (tmp_path / "lazily.py").write_text(
        "def score(model, split):\n"
        "    values = [value for tensor in model.values() for value in tensor.flatten().tolist()]\n"
        "    assert model.config['model_type'] == 'llama' and len(model) == 3\n"
        "    assert not hasattr(model, '__setitem__')\n"
        "    wanted = 0.05 if split == 'select' else 0.1\n"
        "    return {'loss': (sum(values) / len(values) - wanted) ** 2}\n"
    )
    lazy = run(write_search(tmp_path, evaluator={"python": "lazily:score", "takes": "tensors"}))
    plain = run(write_search(tmp_path / "plain"))
    assert lazy.label == plain.label
    assert lazy.selected["loss"] == pytest.approx(plain.selected["loss"], abs=1e-6)


def test_a_grid_finds_the_strength_and_writes_it_down(tmp_path: Path) -> None:
    (tmp_path / "merge.yaml").write_text(RECIPE)
    path = write_search(tmp_path, "grid", recipe="merge.yaml", over={"boost.by": "0:1:0.25"})
    result = run(path)
    selecting = [entry for entry in entries(tmp_path, "evaluated") if entry["split"] == "select"]
    assert [entry["label"] for entry in selecting] == [
        "boost.by=0",
        "boost.by=0.25",
        "boost.by=0.5",
        "boost.by=0.75",
        "boost.by=1",
    ]
    scores = {entry["label"]: entry["score"] for entry in selecting}
    assert result.label == max(scores, key=lambda label: scores[label])
    assert result.recipe is not None
    assert load_recipe(result.recipe).nodes["boost"].method.model_dump()["by"] == float(result.label.split("=")[1])


def test_a_line_between_nodes_of_a_recipe_is_that_between_its_models(tmp_path: Path) -> None:
    (tmp_path / "merge.yaml").write_text(RECIPE)
    by_recipe = run(write_search(tmp_path, "line", recipe="merge.yaml", between=["a", "b"], points=5))
    by_model = run(write_search(tmp_path / "m", "line", between=["./models/a", "./models/b"], points=5))
    one, other = by_recipe.findings["line"], by_model.findings["line"]
    assert one == other
    assert isinstance(one, dict)
    assert one["barriers"]["loss"]["height"] == pytest.approx(0.0, abs=1e-9)  # the loss is a square: it lies below


def test_an_ablation_takes_a_delta_apart(tmp_path: Path) -> None:
    """All elements change by 0.25, so a part alone brings its share of the mean."""
    write_search(tmp_path, "ablate", model="./models/b", base="./models/a", report_on=None)
    result = run(tmp_path / "search.yaml")
    ablation = result.findings["ablation"]
    assert isinstance(ablation, dict)
    assert [part["part"] for part in ablation["parts"]] == [
        "mlp, layer 0", "mlp, layer 1", "embedding, outside the layers",
    ]  # fmt: skip
    assert result.recipe is None
    said, page = shown(tmp_path)
    for part in ablation["parts"]:
        alone, lost = part["gain_of_only"], part["loss_without"]
        assert f"{part['part']} {alone:+.4g} {lost:+.4g}" in said
        assert f">{alone:.5g}</td>" in page
    assert "Which layers matter" in page
    by_recipe = tmp_path / "r"
    by_recipe.mkdir()
    (by_recipe / "merge.yaml").write_text(RECIPE.replace("by: 0.5", "by: 1"))
    write_search(by_recipe, "ablate", recipe="merge.yaml", delta="learnt", base="a", report_on=None)
    assert run(by_recipe / "search.yaml").findings["ablation"] == ablation


def test_a_comparison_shows_the_worst_regression_first(tmp_path: Path) -> None:
    (tmp_path / "merge.yaml").write_text(RECIPE)
    (tmp_path / "odds.py").write_text(
        "import judge\n"
        "def score(model, split):\n"
        "    p = 1 / (1 + judge.score(model, split)['loss'])\n"
        "    rows = [[p, 1 - p], [1 - p, p], [p / 2, 1 - p / 2]]\n"
        "    return {'predictions': {'': {'labels': [0, 1, 0], 'probabilities': rows}}}\n"
    )
    path = write_search(
        tmp_path, "compare", models={"base": "./models/a", "others": "./models/[bcd]", "merged": "merge.yaml"},
        against="base", ensembles={"all": ["others", "base"]}, evaluator={"python": "odds:score"}, select_on=None,
    )  # fmt: skip
    comparison = run(path).findings["comparison"]
    assert isinstance(comparison, dict)
    names = [row["name"] for row in comparison["rows"]]
    assert names == ["base", "b", "c", "d", "merged", "mean of others", "all, averaged", "all, vote"]
    by_name = {row["name"]: row for row in comparison["rows"]}
    members = [by_name[name] for name in ("base", "b", "c", "d")]
    assert by_name["all, averaged"]["model_bytes"] == sum(row["model_bytes"] for row in members)
    assert by_name["all, averaged"]["seconds"] == pytest.approx(sum(row["seconds"] for row in members))
    shares = [c["gain"] / abs(c["against"]) if c["against"] else c["gain"] for c in comparison["changes"]]
    assert shares == sorted(shares)
    assert "all, vote" in {change["name"] for change in comparison["changes"]}
    said, page = shown(tmp_path)
    assert all(any(line.startswith(f"{name} ") for line in said) for name in names)
    worst = comparison["changes"][0]
    told = said.index("worse than base, the worst first") + 1
    assert said[told].startswith(f"{worst['name']}: {worst['metric']} {worst['against']:.5g} -> {worst['value']:.5g}")
    before_first_number, _, _ = page.partition("Changes, the worst first")[2].partition("<td")
    assert f"{worst['name']}: {worst['metric']}" in before_first_number


def test_an_ensemble_that_cannot_be_built_says_why(tmp_path: Path) -> None:
    (tmp_path / "odds.py").write_text(
        "import judge\nfrom pathlib import Path\n"
        "def score(model, split):\n"
        "    name = Path(model).name\n"
        "    if name == 'd':\n        raise ValueError('no')\n"
        "    count = 2 if name == 'c' else 3\n"
        "    part = {'labels': [0] * count, 'probabilities': [[0.75, 0.25]] * count}\n"
        "    return {'accuracy': 1.0, 'loss': 0.5, 'predictions': {'': part}}\n"
    )
    path = write_search(
        tmp_path, "compare", models={"base": "./models/a", "others": "./models/[bcd]"}, against="base", select_on=None,
        ensembles={"good": ["base", "b"], "uneven": ["base", "c"], "short": ["base", "d"]},
        evaluator={"python": "odds:score"},
    )  # fmt: skip
    comparison: Any = run(path).findings["comparison"]
    by_name = {row["name"]: row for row in comparison["rows"]}
    assert by_name["uneven"]["reason"] == "the members were evaluated on different examples"
    assert by_name["short"]["reason"] == "d could not be evaluated"
    averaged = by_name["good, averaged"]["metrics"]
    assert "calibration_error" in averaged
    assert not {"accuracy", "loss"} & averaged.keys(), "the evaluator counts them otherwise: as fractions, say"


def test_only_a_delta_is_taken_apart(tmp_path: Path) -> None:
    write_search(tmp_path, "ablate", recipe="merge.yaml", delta="merged", base="a", report_on=None)
    (tmp_path / "merge.yaml").write_text(RECIPE)
    with pytest.raises(RecipeError, match="only a delta can be taken apart"):
        run(tmp_path / "search.yaml")


def test_a_command_is_not_waited_for_longer_than_it_runs(tmp_path: Path) -> None:
    """What it leaves behind, a server say, neither holds its result back nor outlives the search."""
    code = (
        "import json, subprocess, sys; from pathlib import Path; print('said', file=sys.stderr); "
        "child = subprocess.Popen(['sleep', '60']); Path('pids').open('a').write(f'{child.pid}\\n'); "
        "json.dump({'loss': 1.0}, open(sys.argv[2], 'w'))"
    )
    command = ["{python}", "-c", code, "{model}", "{result}", "{split}"]
    result = run(write_search(tmp_path, "uniform", evaluator={"command": command, "timeout_seconds": 20}))
    assert result.selected["loss"] == 1.0
    assert (tmp_path / "found" / "evaluator.log").read_text().count("said") == result.evaluated
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    deadline = monotonic() + 20.0
    while any(is_running(pid) for pid in pids):  # a kill is carried out when the processor is free
        assert monotonic() < deadline, "it outlives the search"
        sleep(0.01)


@pytest.mark.parametrize(
    ("fields", "error", "says"),
    [
        ({"candidates": ["./nothing-*"]}, RecipeError, "No model matches"),
        ({"candidates": ["./models/gone", "./none-*"]}, RecipeError, "none-*"),
        ({"candidates": ["./models/gone", "./none-*"]}, RecipeError, "models/gone"),
        ({"candidates": ["./models/a"]}, RecipeError, "needs two models"),
        ({"candidates": ["./models/a", "./models/*"]}, RecipeError, "is named twice"),
        ({"candidates": ["./models/a", "models/b/../a/"]}, RecipeError, "are one model"),
        ({"candidates": ["./models/*", "./strange"]}, RecipeError, "no tensor in common"),
        ({"budget": "1KiB"}, DoesNotFit, ""),
        ({"path": "search.yaml"}, OutputError, "is a file, not the folder of a search"),
        (LINE | {"between": ["./models/[abc]", "./models/d"]}, RecipeError, "between two models, and 4 are named"),
        (PARTS | {"model": "./models/[bc]"}, RecipeError, "of one model to one base, and 3 are named"),
        (COMPARED | {"against": "bass"}, RecipeError, 'no model "bass" to hold the others against'),
        (COMPARED | {"models": {"a": "./models/a", "all": "./models/*"}}, RecipeError, 'Two models are called "a"'),
        (COMPARED | {"ensembles": {"one": ["a", "a"]}}, RecipeError, 'The ensemble "one" has one member'),
        (COMPARED | {"ensembles": {"two": ["a", "z"]}}, RecipeError, 'The ensemble "two" has no model "z"'),
    ],
)
def test_what_is_wrong_with_the_models_is_said_before_anything_is_left_behind(
    tmp_path: Path, fields: dict[str, Any], error: type[Exception], says: str
) -> None:
    path = write_search(tmp_path, fields.get("search", "greedy_soup"), **fields)
    write_model(tmp_path / "strange", {"other.weight": ([2], [1.0, 2.0])})
    before = tree(tmp_path)
    with pytest.raises(error) as refused:
        run(path)
    assert says in str(refused.value)
    assert tree(tmp_path) == before


def test_a_ledger_with_a_torn_end_goes_on(tmp_path: Path) -> None:
    path = write_search(tmp_path)
    run(path)
    ledger = tmp_path / "found" / "ledger.jsonl"
    whole = ledger.read_bytes()
    lines = whole.splitlines(keepends=True)
    ledger.write_bytes(b"".join(lines[:5]) + lines[5][:-7])
    shutil.rmtree(tmp_path / "found" / "model")
    before = calls(tmp_path)
    run(path)
    assert [json.loads(line)["event"] for line in ledger.read_bytes().splitlines()].count("begun") == 1
    known = {json.loads(line).get("label") for line in lines[:5] if json.loads(line)["event"] == "evaluated"}
    assert not known & {name.split()[0] for name in calls(tmp_path) - before}


def test_a_ledger_with_a_line_that_is_none_is_refused(tmp_path: Path) -> None:
    path = write_search(tmp_path)
    run(path)
    with (tmp_path / "found" / "ledger.jsonl").open("ab") as ledger:
        ledger.write(b"\0\0\0\n")
    with pytest.raises(InputError, match=r"ledger\.jsonl:\d+"):
        run(path)
