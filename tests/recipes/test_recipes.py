"""Every recipe that ships runs, and gives what its first lines say was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean

import pytest

from mergegraph import pipeline
from mergegraph.execute.run import Options, Report
from mergegraph.recipe.load import load_recipe
from recipes.evaluation import evaluate
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


Check = Callable[[Report], None]


def model(report: Report) -> Path:
    (output,) = report.outputs.values()
    return Path(output)


def accuracies(folder: Path) -> dict[str, float]:
    return {view: score.accuracy for view, score in evaluate(folder, views=VIEWS).items()}


def losses(folder: Path) -> dict[str, float]:
    return {text: score.loss for text, score in evaluate(folder).items()}


def classifies(accuracy: float, loss: float) -> Check:
    """Digits that stand upright: percent, and cross-entropy in nats."""

    def check(report: Report) -> None:
        score = evaluate(model(report))["upright"]
        assert score.accuracy == pytest.approx(accuracy, abs=0.005)
        assert score.loss == pytest.approx(loss, abs=5e-5)

    return check


def adds_skills_up_to(mean: float) -> Check:
    """Percent of digits in the mean of all views."""

    def check(report: Report) -> None:
        assert fmean(accuracies(model(report)).values()) == pytest.approx(mean, abs=0.005)

    return check


def reads(**expected: float) -> Check:
    """Texts: cross-entropy in nats a token, by text."""

    def check(report: Report) -> None:
        found = losses(model(report))
        assert len(found) == 4
        assert {text: found[text] for text in expected} == pytest.approx(expected, abs=5e-4)

    return check


def reads_every_text_better_than_its_base(**expected: float) -> Check:
    def check(report: Report) -> None:
        reads(**expected)(report)
        base = losses(RECIPES / "models/tiny-llama/base")
        assert len(base) == len(expected) == 4
        assert all(expected[text] < base[text] for text in base)

    return check


def forgets(report: Report) -> None:
    """One view, and the others hardly."""
    before, after = accuracies(RECIPES / "models/digits-vit/general"), accuracies(model(report))
    assert before["mirror"] == pytest.approx(90.95, abs=0.005)
    assert after["mirror"] == pytest.approx(79.06, abs=0.005)
    assert all(0.4 < before[view] - after[view] < 1.4 for view in VIEWS if view != "mirror")


def can_be_evaluated(report: Report) -> None:
    for output in report.outputs.values():
        assert all(score.count > 0 for score in evaluate(Path(output)).values())


MEASURED: Mapping[str, Check] = {
    "uniform-soup": classifies(98.16, 0.0867),
    "weighted-soup": classifies(98.66, 0.0750),
    "last-checkpoints": classifies(96.48, 0.1132),
    "expo": classifies(98.49, 0.0746),
    "slerp": classifies(98.66, 0.0779),
    "nuslerp": classifies(98.32, 0.0825),
    "multislerp": classifies(98.83, 0.0714),
    "karcher": classifies(98.83, 0.0714),
    "model-stock": classifies(98.83, 0.0743),
    "arcee-fusion": classifies(98.32, 0.0824),
    "nearswap": classifies(98.32, 0.0819),
    "task-addition": adds_skills_up_to(91.25),
    "clamp": adds_skills_up_to(89.82),
    "elect": adds_skills_up_to(91.12),
    "magmax": adds_skills_up_to(91.12),
    "ties": adds_skills_up_to(91.21),
    "dare-ties": adds_skills_up_to(91.12),
    "outliers": adds_skills_up_to(91.12),
    "sce": adds_skills_up_to(91.04),
    "ram": adds_skills_up_to(90.95),
    "ram-plus": adds_skills_up_to(90.95),
    "match-norm": adds_skills_up_to(91.25),
    "tsv": adds_skills_up_to(91.33),
    "iso-c": adds_skills_up_to(91.37),
    "iso-cts": adds_skills_up_to(91.62),
    "wudi": adds_skills_up_to(91.50),
    "consensus": adds_skills_up_to(91.12),
    "knots": adds_skills_up_to(91.00),
    "svc": adds_skills_up_to(90.79),
    "perpendicular": adds_skills_up_to(87.06),
    "task-negation": forgets,
    "trim": reads(legal=3.8136),
    "dare": reads(legal=3.6445),
    "della": reads(legal=3.6361),
    "low-rank": reads(legal=3.7876),
    "lora": reads(legal=3.7882),
    "pick-by-kind": reads(english=4.8383, french=5.0086, python=3.6207, legal=3.6662),
    "capability-stack": reads_every_text_better_than_its_base(
        english=4.8237, french=4.9076, python=3.5897, legal=3.7692
    ),
    "alignment-blend": can_be_evaluated,
    "layer-stack": can_be_evaluated,
    "wise-ft-sweep": can_be_evaluated,
}


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_every_recipe_gives_what_was_measured(name: str, tmp_path: Path) -> None:
    assert name in MEASURED, "say what it gives"
    report = run_recipe(name, tmp_path)
    assert report.warnings == ()
    assert report.nonfinite == {}
    assert report.outputs
    MEASURED[name](report)


def test_a_sweep_gives_every_model_of_the_table(tmp_path: Path) -> None:
    report = run_recipe("wise-ft-sweep", tmp_path, sweeps=["moved.by=0.1:0.9:0.2"])
    measured = {Path(path).name: evaluate(Path(path))["upright"].accuracy for path in report.outputs.values()}
    assert measured == pytest.approx(
        {"wise-ft-0.1": 90.95, "wise-ft-0.3": 91.62, "wise-ft-0.5": 92.29, "wise-ft-0.7": 93.63, "wise-ft-0.9": 94.30},
        abs=0.005,
    )
