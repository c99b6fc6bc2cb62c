"""What stands in the ledger is used again where it says the same, and only there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mergegraph.cli import main
from mergegraph.errors import RunError
from mergegraph.search.document import load_search
from mergegraph.search.ledger import read_ledger
from mergegraph.search.run import run_search
from mergegraph.search.summary import Summary, summarise
from tests.cli.tiny_models import tensors, write_file
from tests.search.searches import NAMES, RECIPE, calls, entries, run, write_search

TWO_NUMBERS = """\
import judge
def score(model, split):
    found = judge.score(model, split)
    return {"loss": found["loss"], "size": max(judge.values(model))}
"""


def summary(folder: Path) -> Summary:
    return summarise(read_ledger(folder / "found"))


def test_a_metric_that_was_misspelt_is_corrected_without_evaluating_again(tmp_path: Path) -> None:
    path = write_search(tmp_path, metrics={"los": "min"})
    with pytest.raises(RunError, match="Did you mean loss"):
        run(path)
    assert summary(tmp_path).ended.startswith("failed: ")
    before = calls(tmp_path)
    write_search(tmp_path)
    assert run(path).recipe is not None
    assert not {name.split()[0] for name in calls(tmp_path) - before} & set(NAMES)


def test_another_metric_reads_the_same_evaluations_by_its_own_rule(tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(TWO_NUMBERS)
    path = write_search(tmp_path, evaluator={"python": "two:score"})
    run(path)
    for metrics in ({"size": "max"}, {"loss": {"direction": "min", "weight": 100}}):
        write_search(tmp_path, evaluator={"python": "two:score"}, metrics=metrics)
        before = calls(tmp_path)
        result = run(path)
        assert not {name.split()[0] for name in calls(tmp_path) - before} & set(NAMES)
        shown = summary(tmp_path)
        assert shown.best is not None
        assert shown.best.score == max(row.score for row in shown.rows if row.score is not None)
        assert result.label == shown.best.label
    write_search(tmp_path, evaluator={"python": "two:score"}, metrics={"loss": "min", "acc": "max"})
    with pytest.raises(RunError, match='no "acc"'):
        run(path)


def test_other_bytes_of_a_model_are_another_search(tmp_path: Path) -> None:
    """And the old bytes again are the old one, with its own numbers."""
    path = write_search(tmp_path)
    weights = tmp_path / "models" / "a" / "model.safetensors"
    old = weights.read_bytes()
    first = run(path)
    write_file(weights, tensors(shift=0.05))
    second = run(path)
    assert second.reported != first.reported
    assert dict(summary(tmp_path).reported) == dict(second.reported)
    assert len({row.label for row in summary(tmp_path).rows if not row.is_proposal}) == len(
        [row for row in summary(tmp_path).rows if not row.is_proposal]
    )
    weights.write_bytes(old)
    third = run(path)
    assert dict(third.selected) == dict(first.selected)
    shown = summary(tmp_path)
    assert shown.best is not None
    assert dict(shown.best.metrics) == dict(first.selected)
    assert dict(shown.reported) == dict(first.reported)


FLAKY = """\
import judge
from pathlib import Path
def score(model, split):
    if Path(model).name == "b" and not (judge.HERE / "works").exists():
        raise MemoryError("no memory left")
    return judge.score(model, split)
"""


def test_what_was_rejected_is_tried_again_when_that_is_asked(tmp_path: Path) -> None:
    path = write_search(tmp_path, evaluator={"python": "flaky:score"})
    (tmp_path / "flaky.py").write_text(FLAKY)
    run(path)
    (tmp_path / "works").touch()
    run(path)
    assert [entry["status"] for entry in entries(tmp_path, "evaluated") if entry["label"] == "b"] == ["rejected"]
    before = calls(tmp_path)
    assert main(["search", str(path), "--retry-rejected", "--quiet"]) == 0
    assert [entry["status"] for entry in entries(tmp_path, "evaluated") if entry["label"] == "b"] == ["rejected", "ok"]
    assert {name.split()[0] for name in calls(tmp_path) - before} & set(NAMES) == {"b"}
    assert run_search(load_search(path), retry_rejected=True).evaluated == 0, "it is not rejected any more"


@pytest.mark.parametrize(
    ("module", "says"),
    [
        ("import not_installed_here\ndef score(model, split): pass\n", "not_installed_here"),
        ("def score(model, split):\n    import not_installed_here\n", "not_installed_here"),
        ("def score(model, split)\n    pass\n", "SyntaxError"),
    ],
)
def test_an_evaluator_that_no_model_could_please_stops_the_search(tmp_path: Path, module: str, says: str) -> None:
    path = write_search(tmp_path, evaluator={"python": "lacking:score"})
    (tmp_path / "lacking.py").write_text(module)
    with pytest.raises(RunError, match="cannot be used") as failed:
        run(path)
    assert says in str(failed.value)
    assert not entries(tmp_path, "evaluated"), "nothing is kept against the models"
    assert not (tmp_path / "found" / "work").exists()


def test_a_script_that_is_named_from_the_root_is_part_of_the_evaluator(tmp_path: Path) -> None:
    script = tmp_path / "eval.py"
    code = "import json, sys; json.dump({'loss': NUMBER}, open(sys.argv[2], 'w'))"
    script.write_text(code.replace("NUMBER", "1.0"))
    command = ["{python}", str(script), "{model}", "{result}", "{split}"]
    path = write_search(tmp_path, evaluator={"command": command})
    assert run(path).selected["loss"] == 1.0
    script.write_text(code.replace("NUMBER", "2.0"))
    assert run(path).selected["loss"] == 2.0


def test_models_that_differ_in_their_files_alone_are_evaluated_each(tmp_path: Path) -> None:
    for name, size in (("a", 2), ("b", 1)):
        write_search(tmp_path)
        (tmp_path / "models" / name / "tokenizer_config.json").write_text(json.dumps({"size": size}))
    (tmp_path / "sizes.py").write_text(
        "import json\ndef score(model, split):\n"
        "    return {'loss': json.loads((model / 'tokenizer_config.json').read_text())['size']}\n"
    )
    (tmp_path / "merge.yaml").write_text(RECIPE)
    path = write_search(
        tmp_path, "grid", recipe="merge.yaml", over={"out.files_from": ["a", "b"]}, evaluator={"python": "sizes:score"}
    )
    assert run(path).label == "out.files_from=b"


def test_what_a_search_writes_is_no_part_of_its_evaluator(tmp_path: Path) -> None:
    path = write_search(tmp_path, evaluator={"python": "judge:score", "files": ["**/*.json*"]})
    first = run(path)
    assert first.evaluated > 4
    assert run(path).evaluated == 0


def test_torn_results_are_made_again(tmp_path: Path) -> None:
    path = write_search(tmp_path)
    run(path)
    torn = sorted((tmp_path / "found" / "results").iterdir())[0]
    torn.write_bytes(torn.read_bytes()[:20])
    assert run(path).evaluated == 1


@pytest.mark.parametrize(
    "own",
    [{"precious.txt": "mine"}, {"model/model.safetensors": "mine"}, {"running/mine": "mine", "work/mine": "mine"}],
)
def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path, own: dict[str, str]) -> None:
    for name, text in own.items():
        (tmp_path / "found" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "found" / name).write_text(text)
    assert main(["search", str(write_search(tmp_path)), "--quiet"]) == 2
    assert {p.relative_to(tmp_path / "found").as_posix(): p.read_text() for p in (tmp_path / "found").rglob("*")
            if p.is_file()} == own  # fmt: skip


def test_globs_leave_out_what_is_no_model_and_what_a_search_made(tmp_path: Path) -> None:
    (tmp_path / "models" / "logs").mkdir(parents=True)
    path = write_search(tmp_path, path="models/found")
    first = run(path)
    again: Any = run(path)
    assert again.evaluated == 0
    assert again.label == first.label


@pytest.mark.parametrize("fields", [{"name": "a\nb: {x"}, {"select_on": "select\nevil: 1"}])
def test_a_line_break_in_a_name_stays_in_the_comment(tmp_path: Path, fields: dict[str, str]) -> None:
    result = run(write_search(tmp_path, **fields))
    assert result.recipe is not None
    assert main(["check", str(result.recipe)]) == 0
