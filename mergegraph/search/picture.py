"""The plots of a search as a PNG, by matplotlib (extra `search`)."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from mergegraph.errors import Location, Problem, RecipeError
from mergegraph.search.summary import Summary


def require_matplotlib() -> Any:
    """RecipeError says what to install."""
    try:
        matplotlib: Any = import_module("matplotlib")
    except ImportError as error:
        fact = "A PNG is drawn by matplotlib, which is not installed."
        fix = "pip install 'mergegraph[search]'; report.html has the same plots without it"
        raise RecipeError(Problem(fact, Location("--png"), fix=fix)) from error
    matplotlib.use("Agg")
    return matplotlib


def write_picture(summary: Summary, path: Path) -> None:
    """Score against candidates, and each metric along the line where there is one."""
    require_matplotlib()
    figures: Any = import_module("matplotlib.figure")
    metrics = [m for m in summary.goals if any(m in values for _, values in summary.segment)]
    figure: Any = figures.Figure(figsize=(7, 3 * (1 + len(metrics))), layout="constrained")
    axes: Any = figure.subplots(1 + len(metrics), 1, squeeze=False)[:, 0]
    own = [(mark.number, mark.score) for mark in summary.curve if mark.score is not None]
    best = [(mark.number, mark.best) for mark in summary.curve if mark.best is not None]
    if own:
        axes[0].plot(*zip(*own, strict=True), "o", label="each candidate")
    if best:
        axes[0].step(*zip(*best, strict=True), where="post", label="best accepted so far")
    axes[0].set(xlabel="candidate", ylabel="score", title=f"{summary.name}: {summary.kind}")
    axes[0].legend()
    for axis, metric in zip(axes[1:], metrics, strict=True):
        axis.plot(*zip(*((x, v[metric]) for x, v in summary.segment if metric in v), strict=True), "o-")
        axis.set(xlabel="share of the second model", ylabel=metric)
    figure.savefig(path, format="png", dpi=120, metadata={"Software": None})
