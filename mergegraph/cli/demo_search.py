"""`demo --search`: the searches of `recipes/search` on the real checkpoints, and what they found beside each other.

The evaluator is `recipes/evaluation`, plain torch that shares no code with mergegraph. A finished search is gone on
with, so a second demo shows the same numbers at once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mergegraph.cli.demo import recipes_folder
from mergegraph.cli.terminal import heading, say, say_styled
from mergegraph.search.document import load_search
from mergegraph.search.ledger import read_ledger
from mergegraph.search.plots import segment_plots
from mergegraph.search.run import run_search
from mergegraph.search.summary import Summary, summarise
from mergegraph.search.text import table
from mergegraph.units import format_bytes, format_seconds


def show_search_demo() -> None:
    """Run every search and print what it found. RecipeError where there is no clone."""
    folder = recipes_folder() / "search"
    began = time.monotonic()
    _shown("Ten fine-tunes of one model: which to average", _soups(folder))
    _shown("Four task vectors added to one model: how strongly", _strength(folder))
    _shown("Halfway between two models", _lines_between(folder))
    say(f"{format_seconds(time.monotonic() - began)} in all. Ledgers, reports and recipes: {folder.parent}/out/search")


def _shown(title: str, lines: Iterator[str]) -> None:
    say_styled(heading(title))
    for line in lines:
        say(f"  {line}")
    say()


def _found(folder: Path, name: str) -> Summary:
    loaded = load_search(folder / f"{name}.yaml")
    run_search(loaded)
    return summarise(read_ledger(loaded.place(None)))


def _soups(folder: Path) -> Iterator[str]:
    greedy = _found(folder, "greedy-soup")
    comparison = _found(folder, "compare-soups").findings["comparison"]
    first = next(row for row in greedy.rows if row.accepted)
    assert greedy.best is not None
    yield f"chosen on the select split: {greedy.best.label}, accuracy {greedy.best.metrics['accuracy']:.2f} %"
    yield f"  (the best single model there: {first.label}, {first.metrics['accuracy']:.2f} %)"
    yield f"{greedy.evaluations} evaluations in {format_seconds(greedy.seconds)}; on the untouched test split:"
    rows = {row["name"]: row for row in comparison["rows"]}
    wanted = {
        "mean of the ten": "mean of singles", f"best single on select ({first.label})": first.label,
        "uniform soup": "uniform", "greedy soup": "greedy", "ensemble, probabilities averaged": "ensemble, averaged",
        "ensemble, majority vote": "ensemble, vote",
    }  # fmt: skip
    yield from _soup_table({label: rows[name] for label, name in wanted.items()})
    yield "One image is 0.17 points. Shifted: moved by one pixel, which no training saw. An ensemble keeps ten models."


def _soup_table(rows: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    columns = {
        "accuracy": "accuracy", "loss": "loss", "calibration error": "calibration_error",
        "shifted: accuracy": "accuracy@shifted", "calibration error ": "calibration_error@shifted",
    }  # fmt: skip
    body: list[Sequence[str]] = []
    for label, row in rows.items():
        metrics = row["metrics"]
        cells = [_cell(metrics.get(name), digits=4 if name == "loss" else 2) for name in columns.values()]
        body.append([label, *cells, format_bytes(row["model_bytes"]), f"{row['seconds']:.2f} s"])
    yield from table(["", *columns, "weights", "time"], body)


def _cell(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _strength(folder: Path) -> Iterator[str]:
    summary = _found(folder, "task-addition")
    assert summary.best is not None
    tried = [[row.label.partition("=")[2], _cell(row.metrics["accuracy"], 2)] for row in summary.rows]
    yield from table(["strength", "mean of four views, select split"], tried)
    yield f"chosen: {summary.best.label}; on the test split {_views(summary.reported)}"


def _views(metrics: Mapping[str, float]) -> str:
    each = ", ".join(f"{name.partition('@')[2]} {value:.2f}" for name, value in metrics.items() if "@" in name)
    return f"mean {metrics['accuracy']:.2f} % ({each})"


def _lines_between(folder: Path) -> Iterator[str]:
    for name, between in (("line-fine-tunes", "two fine-tunes of one base"), ("line-unrelated", "two initialisations")):
        summary = _found(folder, name)
        line = summary.findings["line"]
        loss, accuracy = line["barriers"]["loss"], line["barriers"]["accuracy"]
        yield (
            f"{between} ({' and '.join(line['ends'])}): loss barrier {loss['height']:.4f} ± {loss['error']:.4f}, "
            f"accuracy barrier {accuracy['height']:.2f} points"
        )
        yield from segment_plots(summary, ["loss"], height=6)
