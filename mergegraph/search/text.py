"""What a search found, in lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mergegraph.search.plots import score_plot, segment_plots
from mergegraph.search.summary import Summary
from mergegraph.units import format_bytes, format_count, format_seconds

_CHANGES = 12


def lines(summary: Summary) -> Iterator[str]:
    """How it ended, what it chose, its plots and tables."""
    state = "done" if summary.ended == "done" else f"ended early: {summary.ended}" if summary.ended else "running"
    count = format_count(summary.evaluations, "evaluation")
    spent = f"{count} on {summary.splits[0]} in {format_seconds(summary.seconds)}"
    yield f"{summary.name} ({summary.kind}): {spent}; {state}"
    rejected = [row for row in summary.rows if row.reason]
    for row in rejected[:5]:
        yield f"  rejected  {row.label}: {row.reason}"
    if len(rejected) > 5:
        yield f"  rejected  {len(rejected) - 5} more"
    if summary.best is not None:
        yield f"  chosen    {summary.best.label}"
        yield f"  {summary.splits[0]:<9} {numbers(summary.best.metrics)}"
    if summary.reported:
        yield f"  {summary.splits[-1]:<9} {numbers(summary.reported)}"
    yield from (f"  {line}" for line in score_plot(summary) if summary.kind not in ("compare", "line"))
    yield from (f"  {line}" for line in segment_plots(summary, list(summary.goals)))
    for part, told in (("line", barrier_lines), ("comparison", comparison_lines), ("ablation", ablation_lines)):
        if part in summary.findings:
            yield from (f"  {line}" for line in told(summary.findings[part]))
    for each in summary.findings.get("front", ()):
        yield f"  not beaten  {each['label']}: {numbers(each['metrics'])}"


def numbers(metrics: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.5g}" for name, value in metrics.items())


def barrier_lines(line: Mapping[str, Any]) -> Iterator[str]:
    """`loss  barrier 2.41 ± 0.05 at 0.5`."""
    for name, each in line["barriers"].items():
        error = f" ± {each['error']:.2g}" if each["error"] is not None else ""
        missing = each.get("missing", 0)
        more = f"; {format_count(missing, 'point')} without a number, where it may be higher" if missing else ""
        yield f"{name}: barrier {each['height']:.4g}{error} at {each['share']:g}{more}"


def comparison_lines(comparison: Mapping[str, Any]) -> Iterator[str]:
    """Every model with every metric, then the changes, the worst first."""
    rows = comparison["rows"]
    names = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
    head = ["", *names, "weights", "time"]
    body = [
        [
            row["name"], *(f"{row['metrics'][n]:.4g}" if n in row["metrics"] else "–" for n in names),
            format_bytes(row["model_bytes"]), format_seconds(row["seconds"]),
        ]
        for row in rows
    ]  # fmt: skip
    yield from table(head, body)
    yield from (f"  {row['name']}: {row['reason']}" for row in rows if row["reason"])
    worse = [change for change in comparison["changes"] if change["gain"] < 0]
    if worse:
        yield f"worse than {comparison['against']}, the worst first"
    for change in worse[:_CHANGES]:
        error = f" ± {change['error']:.2g}" if change["error"] is not None else ""
        before, after = f"{change['against']:.5g}", f"{change['value']:.5g}"
        yield f"  {change['name']}: {change['metric']} {before} -> {after} ({change['gain']:+.3g}{error})"
    if len(worse) > _CHANGES:
        yield f"  and {len(worse) - _CHANGES} more"


def ablation_lines(ablation: Mapping[str, Any]) -> Iterator[str]:
    """What each part brings alone, and what is lost without it, in score."""
    body = [
        [part["part"], *(f"{part[key]:+.4g}" if key in part else "–" for key in ("gain_of_only", "loss_without"))]
        for part in ablation["parts"]
    ]
    yield from table(["part", "gain of it alone", "loss without it"], body)


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns as wide as they need to be; the first to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in (head, *body)) for column in range(len(head))]
    for row in (head, *body):
        cells = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
        yield "  ".join([f"{row[0]:<{widths[0]}}", *cells]).rstrip()
