"""`demo`: recipes of the repository are run on the checkpoints beside them, and what they made is measured.

Needs a clone, since a wheel has no checkpoints. What is run and compared stands in `recipes/demo.toml`; what measures
is `recipes/evaluate.py`, which shares no code with mergegraph.
"""

from __future__ import annotations

import importlib.util
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import mergegraph
from mergegraph.cli.terminal import heading, say, say_styled, waiting
from mergegraph.errors import Problem, RecipeError
from mergegraph.execute.run import Options
from mergegraph.pipeline import execute, plan
from mergegraph.recipe.load import load_recipe
from mergegraph.units import format_seconds

Scores = Mapping[str, float]
"""What was measured, by the view or text it was measured on."""
Scorer = Callable[[Path], Scores]


@dataclass(frozen=True)
class Comparison:
    """One recipe: the models before it (`called` together), and what to compare; see `recipes/demo.toml`."""

    recipe: str
    shows: str
    models: str
    called: str
    measure: Literal["accuracy", "loss"]
    rows: tuple[tuple[str, ...], ...]


def show_demo() -> None:
    """Run every comparison and print its table. RecipeError where there is no clone."""
    folder = recipes_folder()
    began = time.monotonic()
    evaluator = _evaluator(folder)
    for comparison in _comparisons(folder):
        made, seconds = _made(folder / comparison.recipe)
        score = _scorer(evaluator, comparison)
        models = sorted(folder.glob(comparison.models))
        with waiting(f"{comparison.recipe} is merged; {len(models) + 1} models are measured"):
            before, after = [score(model) for model in models], score(made)
        say_styled(heading(comparison.recipe) + f"  {comparison.shows}")
        for line in table(comparison, before, after):
            say(line)
        say(f"  merged in {format_seconds(seconds)} -> {made}")
        say()
    say(f"{format_seconds(time.monotonic() - began)} in all. To measure any model: python {folder}/evaluate.py MODEL")


def recipes_folder() -> Path:
    """`recipes/` beside the package, or in the current folder. RecipeError says how to get it."""
    places = [Path(mergegraph.__file__).parents[1] / "recipes", Path.cwd() / "recipes"]
    for place in places:
        if (place / "demo.toml").is_file():
            return place
    raise RecipeError(
        Problem(
            "The demo needs the checkpoints of the repository, and they are not here.",
            why=f"neither {places[0]} nor {places[1]} has them: an installed package comes without",
            fix="clone the repository, and run `mergegraph demo` inside it",
        )
    )


def table(comparison: Comparison, before: Sequence[Scores], after: Scores) -> Iterator[str]:
    """`mirror   base 90.95 %   merged 79.06 %`, one line for each row."""
    unit = " %" if comparison.measure == "accuracy" else ""
    digits = 2 if comparison.measure == "accuracy" else 4
    labels = [_label(row) for row in comparison.rows]
    width = max(map(len, labels))
    for label, row in zip(labels, comparison.rows, strict=True):
        singles = [fmean(scores[on] for on in row) for scores in before]
        merged = fmean(after[on] for on in row)
        best = max(singles) if comparison.measure == "accuracy" else min(singles)
        beside = f", best {best:.{digits}f}{unit}" if len(singles) > 1 else ""
        yield (
            f"  {comparison.measure} on {label:<{width}}  {comparison.called} {fmean(singles):.{digits}f}{unit}{beside}"
            f"  ->  merged {merged:.{digits}f}{unit}"
        )


def _label(row: Sequence[str]) -> str:
    return row[0] if len(row) == 1 else f"{', '.join(row)} (mean)"


def _comparisons(folder: Path) -> list[Comparison]:
    entries: list[dict[str, Any]] = tomllib.loads((folder / "demo.toml").read_text(encoding="utf-8"))["demo"]
    return [Comparison(rows=tuple(map(tuple, entry.pop("rows"))), **entry) for entry in entries]


def _made(recipe: Path) -> tuple[Path, float]:
    """The output of a recipe with one save, and the seconds its run took."""
    planned = plan(load_recipe(recipe))
    report = execute(planned, Options(overwrite=True, sync=False))
    return planned.outputs[0].path, report.seconds


def _scorer(evaluator: Any, comparison: Comparison) -> Scorer:
    """Measures a model on everything that the comparison names."""
    views = tuple(dict.fromkeys(on for row in comparison.rows for on in row))

    def score(model: Path) -> Scores:
        scores: Mapping[str, Any] = evaluator.evaluate(model, "test", views)
        return {on: float(getattr(found, comparison.measure)) for on, found in scores.items()}

    return score


def _evaluator(folder: Path) -> Any:
    """The module `recipes/evaluate.py`, loaded by its path: `recipes` is no installed package."""
    spec = importlib.util.spec_from_file_location("mergegraph_demo_evaluate", folder / "evaluate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
