"""The demo runs recipes and measures what they made."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path

import pytest

# Imported here, so that the demo on a copy does not make the copy's evaluator that of the whole test run.
import recipes.evaluation as evaluation
from mergegraph.cli import demo, main

REPOSITORY = Path(__file__).resolve().parents[2]


def test_every_comparison_names_a_recipe_and_models() -> None:
    folder = demo.recipes_folder()
    entries = tomllib.loads((folder / "demo.toml").read_text(encoding="utf-8"))["demo"]
    assert len(entries) >= 4
    for entry in entries:
        assert (folder / entry["recipe"]).is_file()
        assert all((model / "config.json").is_file() for model in folder.glob(entry["models"]))
        assert list(folder.glob(entry["models"]))


def test_the_demo_shows_what_a_recipe_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "recipes"
    models = folder / "models" / "digits-vit"
    models.mkdir(parents=True)
    for name in ("demo.toml", "evaluate.py", "task-negation.yaml"):
        shutil.copy(REPOSITORY / "recipes" / name, folder)
    for name in ("general", "task-mirror"):
        shutil.copytree(REPOSITORY / "recipes" / "models" / "digits-vit" / name, models / name)
    text = (folder / "demo.toml").read_text(encoding="utf-8").split("[[demo]]")
    negation = next(part for part in text if "task-negation.yaml" in part)
    (folder / "demo.toml").write_text(f"[[demo]]{negation}", encoding="utf-8")
    monkeypatch.setattr(demo, "recipes_folder", lambda: folder)

    assert main(["demo"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"accuracy on mirror +base 90\.95 %  ->  merged 79\.06 %", shown)
    assert evaluation.evaluate(folder / "out" / "task-negation", views=("mirror",))["mirror"].count == 597
    assert main(["demo"]) == 0  # over what the first one made


def test_without_a_clone_it_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mergegraph.__file__", str(tmp_path / "site-packages" / "mergegraph" / "__init__.py"))
    assert main(["demo"]) == 2
    assert "clone the repository" in capsys.readouterr().err


def test_several_models_before_show_their_mean_and_the_best() -> None:
    comparison = demo.Comparison("r.yaml", "", "models/*", "mean of the three", "loss", (("a",), ("a", "b")))
    before = [{"a": 3.0, "b": 5.0}, {"a": 7.0, "b": 11.0}, {"a": 5.0, "b": 2.0}]
    assert list(demo.table(comparison, before, {"a": 1.0, "b": 2.0})) == [
        "  loss on a            mean of the three 5.0000, best 3.0000  ->  merged 1.0000",
        "  loss on a, b (mean)  mean of the three 5.5000, best 3.5000  ->  merged 1.5000",
    ]
