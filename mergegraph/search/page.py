"""A search as one HTML file that opens offline: numbers, plots as SVG, tables. No script, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mergegraph.search.summary import Row, Summary
from mergegraph.stats.html.charts import Axes, Line, chart, ticks
from mergegraph.stats.html.elements import table, text
from mergegraph.stats.html.style import stylesheet
from mergegraph.units import format_bytes, format_count, format_seconds

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_MOST_ROWS = 2_000
_MOST_CHANGES = 200


def report(summary: Summary) -> str:
    """The page, as text."""
    title = text(f"{summary.name}: {summary.kind}")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><title>{title}</title>'
        f"<style>{stylesheet()}</style></head><body><main>" + "".join(_parts(summary)) + "</main></body></html>\n"
    )


def _parts(summary: Summary) -> Iterator[str]:
    state = summary.ended or "running"
    yield (
        f"<header><h1>{text(summary.name)}</h1><p>{text(summary.kind)}: "
        f"{text(format_count(summary.evaluations, 'evaluation'))} on {text(summary.splits[0])} in "
        f"{text(format_seconds(summary.seconds))}; {text(state)}</p></header>"
    )
    if summary.best is not None:
        yield _section("Found", f"<p>{text(summary.best.label)}</p>" + _numbers(summary))
    yield from _plots(summary)
    findings = summary.findings
    if "line" in findings:
        yield _section("Barriers", _barriers(findings["line"]))
    if "comparison" in findings:
        yield _section("Models", _models(findings["comparison"]))
        yield _section("Changes, the worst first", _changes(findings["comparison"]))
    if "ablation" in findings:
        yield _section("Which layers matter", _ablation(findings["ablation"]))
    if "front" in findings:
        yield _section("What nothing else beats", _table_of([(e["label"], e["metrics"]) for e in findings["front"]]))
    yield _section("Candidates", _candidates(summary.rows))


def _section(title: str, content: str) -> str:
    return f"<section><h2>{text(title)}</h2>{content}</section>"


def _numbers(summary: Summary) -> str:
    assert summary.best is not None
    rows = [(f"chosen on {summary.splits[0]}", summary.best.metrics)]
    if summary.reported:
        rows.append((f"reported on {summary.splits[-1]}", summary.reported))
    return _table_of(rows)


def _table_of(rows: Sequence[tuple[str, Mapping[str, float]]]) -> str:
    names = list(dict.fromkeys(name for _, metrics in rows for name in metrics))
    body = [[text(label), *(_shown(metrics.get(name)) for name in names)] for label, metrics in rows]
    return table(["", *map(text, names)], body)


def _shown(value: object) -> str:
    return text(f"{value:.5g}") if isinstance(value, int | float) else "–"


def _plots(summary: Summary) -> Iterator[str]:
    own = tuple((float(mark.number), mark.score) for mark in summary.curve)
    best = tuple((float(mark.number), mark.best) for mark in summary.curve)
    if len(own) > 1:
        lines = [Line("each candidate", 0, own), Line("best accepted so far", 1, best, stepped=False)]
        yield _section("Score", _chart(lines, "candidate", "score against candidates"))
    for name in dict.fromkeys(name for _, metrics in summary.segment for name in metrics):
        along = tuple((share, metrics.get(name)) for share, metrics in summary.segment)
        yield _section(f"{name} along the line", _chart([Line(name, 0, along)], "share of the second model", name))


def _chart(lines: Sequence[Line], x_title: str, described: str) -> str:
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points if y is not None]
    if len(set(xs)) < 2 or not ys:
        return ""
    room = (max(ys) - min(ys)) * 0.06 or abs(max(ys)) * 0.1 or 1.0
    span = (min(ys) - room, max(ys) + room)
    x_ticks = [(x, f"{x:g}") for x in ticks(min(xs), max(xs))]
    return chart(
        lines, Axes((min(xs), max(xs)), span, x_ticks, [(y, f"{y:.6g}") for y in ticks(*span)], x_title), described
    )


def _barriers(line: Mapping[str, Any]) -> str:
    rows = [
        [text(name), *(_shown(each.get(key)) for key in ("height", "error", "share", "missing"))]
        for name, each in line["barriers"].items()
    ]
    ends = " and ".join(map(text, line["ends"]))
    return f"<p>Between {ends}.</p>" + table(
        ["metric", "barrier", "standard error", "at", "points without a number"], rows
    )


def _models(comparison: Mapping[str, Any]) -> str:
    rows = comparison["rows"]
    names = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
    body = [
        [
            text(row["name"]),
            *(_shown(row["metrics"].get(name)) for name in names),
            text(format_bytes(row["model_bytes"])),
            text(format_seconds(row["seconds"])),
        ]
        for row in rows
    ]
    reasons = "".join(f"<p>{text(row['name'])}: {text(row['reason'])}</p>" for row in rows if row["reason"])
    return table(["", *map(text, names), "weights", "time"], body) + reasons


def _changes(comparison: Mapping[str, Any]) -> str:
    changes = comparison["changes"]
    body = [
        [text(f"{c['name']}: {c['metric']}"), *(_shown(c[key]) for key in ("against", "value", "gain", "error"))]
        for c in changes[:_MOST_CHANGES]
    ]
    against = text(comparison["against"])
    more = len(changes) - _MOST_CHANGES
    note = f"<p>and {more} more</p>" if more > 0 else ""
    return table(["", against, "value", "gain", "standard error"], body) + note


def _ablation(ablation: Mapping[str, Any]) -> str:
    body = [
        [text(part["part"]), _shown(part.get("gain_of_only")), _shown(part.get("loss_without"))]
        for part in ablation["parts"]
    ]
    return table(["part", "gain of it alone", "loss without it"], body)


def _candidates(rows: Sequence[Row]) -> str:
    body = [
        [text(row.label), _shown(row.score), text(row.reason or row.why), text(format_seconds(row.seconds))]
        for row in rows[:_MOST_ROWS]
    ]
    more = len(rows) - _MOST_ROWS
    return table(["candidate", "score", "", "time"], body) + (f"<p>and {more} more</p>" if more > 0 else "")
