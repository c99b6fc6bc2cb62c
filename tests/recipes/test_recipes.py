"""Every recipe that ships runs, and gives what its first lines say was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from statistics import fmean

import pytest

from mergegraph import pipeline
from mergegraph.execute.run import Options, Report
from mergegraph.recipe.load import load_recipe
from recipes.evaluation import Score, evaluate
from recipes.evaluation.digits import View

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
VIEWS: tuple[View, ...] = ("upright", "rot90", "invert", "mirror")


def run_recipe(name: str, folder: Path, **options: list[str]) -> Report:
    """The recipe, run from a copy in `folder` beside a link to the checkpoints, so that its outputs go there."""
    (folder / "models").symlink_to(RECIPES / "models")
    copy = folder / f"{name}.yaml"
    copy.write_text((RECIPES / f"{name}.yaml").read_text())
    plan = pipeline.plan(load_recipe(copy, **options))
    assert plan.warnings == ()
    return pipeline.execute(plan, Options(sync=False))


Result = Callable[[str], Report]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """What a recipe gives; each is run once."""
    return cache(lambda name: run_recipe(name, tmp_path_factory.mktemp(name)))


def scores(report: Report, views: tuple[View, ...] = ("upright",)) -> Mapping[str, Score]:
    (output,) = report.outputs.values()
    return evaluate(Path(output), views=views)


def accuracies(report: Report, views: tuple[View, ...] = VIEWS) -> dict[str, float]:
    return {view: score.accuracy for view, score in scores(report, views).items()}


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_every_recipe_gives_models_that_can_be_evaluated(name: str, result: Result) -> None:
    report = result(name)
    assert report.warnings == ()
    assert report.nonfinite == {}
    assert report.outputs
    for output in report.outputs.values():
        assert all(score.count > 0 for score in evaluate(Path(output)).values())


@pytest.mark.parametrize(
    ("name", "accuracy", "loss"),
    [
        ("uniform-soup", 98.16, 0.0867),
        ("weighted-soup", 98.66, 0.0750),
        ("last-checkpoints", 96.48, 0.1132),
        ("expo", 98.49, 0.0746),
        ("slerp", 98.66, 0.0779),
        ("nuslerp", 98.32, 0.0825),
        ("multislerp", 98.83, 0.0714),
        ("karcher", 98.83, 0.0714),
        ("model-stock", 98.83, 0.0743),
        ("arcee-fusion", 98.32, 0.0824),
        ("nearswap", 98.32, 0.0819),
    ],
)
def test_averages_classify_the_digits_as_measured(name: str, accuracy: float, loss: float, result: Result) -> None:
    score = scores(result(name))["upright"]
    assert score.accuracy == pytest.approx(accuracy, abs=0.005)
    assert score.loss == pytest.approx(loss, abs=5e-5)


@pytest.mark.parametrize(
    ("name", "mean"),
    [
        ("task-addition", 91.25),
        ("clamp", 89.82),
        ("elect", 91.12),
        ("magmax", 91.12),
        ("ties", 91.21),
        ("dare-ties", 91.12),
        ("outliers", 91.12),
        ("sce", 91.04),
        ("ram", 90.95),
        ("ram-plus", 90.95),
        ("match-norm", 91.25),
        ("tsv", 91.33),
        ("iso-c", 91.37),
        ("iso-cts", 91.62),
        ("wudi", 91.50),
        ("consensus", 91.12),
        ("knots", 91.00),
        ("svc", 90.79),
        ("perpendicular", 87.06),
    ],
)
def test_skills_add_up_as_measured(name: str, mean: float, result: Result) -> None:
    assert fmean(accuracies(result(name)).values()) == pytest.approx(mean, abs=0.005)


def test_a_negated_task_vector_forgets_its_task(result: Result) -> None:
    after = accuracies(result("task-negation"))
    before = {
        view: score.accuracy for view, score in evaluate(RECIPES / "models/digits-vit/general", views=VIEWS).items()
    }
    assert before["mirror"] == pytest.approx(90.95, abs=0.005)
    assert after["mirror"] == pytest.approx(79.06, abs=0.005)
    assert all(0.4 < before[view] - after[view] < 1.4 for view in VIEWS if view != "mirror")


def test_a_sweep_gives_every_model_of_the_table(tmp_path: Path) -> None:
    report = run_recipe("wise-ft-sweep", tmp_path, sweeps=["moved.by=0.1:0.9:0.2"])
    measured = {Path(path).name: evaluate(Path(path))["upright"].accuracy for path in report.outputs.values()}
    assert measured == pytest.approx(
        {"wise-ft-0.1": 90.95, "wise-ft-0.3": 91.62, "wise-ft-0.5": 92.29, "wise-ft-0.7": 93.63, "wise-ft-0.9": 94.30},
        abs=0.005,
    )


@pytest.mark.parametrize(
    ("name", "legal"), [("trim", 3.8136), ("dare", 3.6445), ("della", 3.6361), ("low-rank", 3.7876), ("lora", 3.7882)]
)
def test_a_thinned_task_vector_keeps_a_part_of_its_gain(name: str, legal: float, result: Result) -> None:
    assert scores(result(name))["legal"].loss == pytest.approx(legal, abs=5e-4)


@pytest.mark.parametrize(
    ("name", "losses"),
    [
        ("capability-stack", {"english": 4.8237, "french": 4.9076, "python": 3.5897, "legal": 3.7692}),
        ("pick-by-kind", {"english": 4.8383, "french": 5.0086, "python": 3.6207, "legal": 3.6662}),
    ],
)
def test_language_models_score_as_measured(name: str, losses: dict[str, float], result: Result) -> None:
    measured = scores(result(name))
    assert {text: score.loss for text, score in measured.items()} == pytest.approx(losses, abs=5e-4)


def test_the_capability_stack_is_better_than_its_base_on_every_text(result: Result) -> None:
    base, merged = evaluate(RECIPES / "models/tiny-llama/base"), scores(result("capability-stack"))
    assert len(base) == 4
    for text, score in merged.items():
        assert score.loss < base[text].loss, text
