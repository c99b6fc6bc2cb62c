"""What is found out before a run: the plan of the text, with what is asked, and what is in the way."""

from __future__ import annotations

from pathlib import Path

import pytest
from mergegraph_tui.model.plan_rows import decision_row, fact_rows, order_columns, problem_rows, step_rows
from mergegraph_tui.model.planned import Exists, Resumes
from mergegraph_tui.model.preparing import DEFAULTS, Asked, Prepared, Wanted, prepare
from mergegraph_tui.model.runs import Options

from mergegraph import pipeline
from mergegraph.execute.run import run
from mergegraph.pipeline import plan
from mergegraph.recipe.load import parse_recipe
from tests.cli.tiny_models import BLEND, write_blend


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_blend(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def prepared(folder: Path, text: str = BLEND, asked: Asked = DEFAULTS) -> Prepared:
    return prepare(Wanted(text, folder / "blend.yaml", folder, asked))


def merge(folder: Path, text: str = BLEND) -> None:
    run(plan(parse_recipe(text, file="blend.yaml", folder=folder)))


def test_a_plan_that_nothing_is_in_the_way_of(folder: Path) -> None:
    made = prepared(folder)
    assert (made.may_go_on, made.may_begin_anew, made.problems) == (True, False, ())
    assert made.outputs == {"out": folder / "out"}
    assert list(made.drawn.nodes) == ["base", "code", "d_code", "boost", "merged", "out"]
    assert made.planned is not None
    assert order_columns(made.planned)["merged"] == [("base, boost", "detail")]
    said = "\n".join("".join(text for text, _ in row) for row in fact_rows(made.planned))
    assert "nothing is there yet" in said
    assert f"{folder}/out" in said
    assert [row[-1][0] for row in step_rows(made.planned.steps)].count("  ◀ peak") == 1
    assert decision_row(made) == [("ready", "done")]


def test_the_same_output_may_stay_and_another_is_in_the_way(folder: Path) -> None:
    merge(folder)
    same, other = prepared(folder), prepared(folder, BLEND.replace("by: 0.5", "by: 0.25"))
    assert same.planned is not None
    assert same.planned.outputs[0].standing == Exists(is_same_plan=True)
    assert (same.may_go_on, same.may_begin_anew) == (True, True)
    assert (other.may_go_on, other.may_begin_anew) == (False, True)
    assert "in the way" in decision_row(other)[0][0]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Asked(threads="two"), "is no number of threads"),
        (Asked(threads="0"), "is no number of threads"),
        (Asked(budget="much"), "is not a size in bytes"),
        (Asked(budget="9" * 400 + "GiB"), "is more than any machine has"),
        (Asked(device="tpu"), 'There is no device "tpu"'),
        (Asked(device="cuda", stats=True), "Statistics do not go with a device"),
        (Asked(budget="1KiB"), "budget"),
    ],
)
def test_what_is_asked_is_checked(folder: Path, asked: Asked, said: str) -> None:
    made = prepared(folder, asked=asked)
    assert not made.may_go_on
    rows = "\n".join("".join(text for text, _ in row) for row in problem_rows(made.problems))
    assert said in rows
    assert "fix" in rows


def test_a_fault_of_the_planner_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr(pipeline, "plan", fails)
    (problem,) = prepared(folder).problems
    assert (problem.fact, problem.why) == ("The plan itself failed.", "ZeroDivisionError: by nought")


def test_what_is_asked_becomes_the_options(folder: Path) -> None:
    asked = Asked("2", "64MiB", "cpu", stats=True, verify=True, non_finite=True, unrelated=True)
    assert prepared(folder, asked=asked).may_go_on
    assert asked.options(overwrite=True) == Options(
        budget="64MiB", device="cpu", threads=2, overwrite=True, stats=True, verify_output=True,
        allow_non_finite=True, allow_unrelated=True,
    )  # fmt: skip


@pytest.mark.parametrize("text", ["nodes: [", "mergegraph: 1\n", BLEND.replace("./code", "./gone")])
def test_a_recipe_that_cannot_be_planned_says_why(folder: Path, text: str) -> None:
    made = prepared(folder, text)
    assert made.planned is None
    assert made.problems
    assert decision_row(made)[0][1] == "error"


def test_what_an_earlier_run_left_is_gone_on_with(folder: Path) -> None:
    from mergegraph.plan.encode import output_digests
    from mergegraph.tensors.writer import OutputFolder

    made = plan(parse_recipe(BLEND, file="blend.yaml", folder=folder))
    output = made.outputs[0]
    digest, _ = output_digests(made, output)
    with OutputFolder.open(output.path, output.layout, result_id="r", engine="e", plan_sha256=digest) as kept:
        name = output.tensors[0].name
        kept.write(name, 0, memoryview(bytes(output.layout.specs[name].nbytes)))
        kept.tensor_done(name, "0")
    found = prepared(folder)
    assert found.planned is not None
    assert isinstance(found.planned.outputs[0].standing, Resumes)
    assert (found.may_go_on, found.may_begin_anew) == (True, True)
