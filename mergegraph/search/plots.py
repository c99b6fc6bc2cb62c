"""Points on a plane as characters, for a terminal: score against candidates, a metric along a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mergegraph.search.summary import Summary

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Series:
    """What is drawn with one sign; a later series is drawn over an earlier one."""

    sign: str
    name: str
    points: Points


def plot(series: Sequence[Series], title: str, *, width: int = 64, height: int = 10) -> list[str]:
    """Lines of at most `width` characters: a title with the signs, the plane with its lowest and highest value."""
    every = [point for each in series for point in each.points]
    if not every:
        return []
    (left, right), (low, high) = ((min(v), max(v)) for v in zip(*every, strict=True))
    labels = [f"{high:.5g}", f"{low:.5g}"]
    margin = max(map(len, labels))
    columns = max(8, width - margin - 2)
    grid = [[" "] * columns for _ in range(height)]
    for each in series:
        for x, y in each.points:
            column = round((x - left) / ((right - left) or 1) * (columns - 1))
            row = round((high - y) / ((high - low) or 1) * (height - 1))
            grid[row][column] = each.sign
    shown = "  ".join([title, *(f"{each.sign} {each.name}" for each in series if each.name)])
    rows = [
        f"{labels[0] if not i else labels[1] if i == height - 1 else '':>{margin}} |{''.join(cells)}".rstrip()
        for i, cells in enumerate(grid)
    ]
    axis = f"{left:g}"
    end = f"{right:g}"
    return [shown, *rows, f"{'':>{margin}} +{'-' * columns}", f"{'':>{margin}}  {axis}{end:>{columns - len(axis)}}"]


def score_plot(summary: Summary, **size: int) -> list[str]:
    """Score against candidates: each one's own, and the best that was accepted so far."""
    own = [(float(mark.number), mark.score) for mark in summary.curve if mark.score is not None]
    best = [(float(mark.number), mark.best) for mark in summary.curve if mark.best is not None]
    if len(own) < 2:
        return []
    return plot([Series("·", "candidate", own), Series("*", "best so far", best)], "score, by candidate", **size)


def segment_plots(summary: Summary, metrics: Sequence[str], **size: int) -> list[str]:
    """Each metric along the line."""
    lines: list[str] = []
    for metric in metrics:
        points = [(share, values[metric]) for share, values in summary.segment if metric in values]
        if len(points) > 1:
            lines += plot([Series("*", "", points)], f"{metric}, from the first model to the second", **size)
    return lines
