"""What the Search screen says, as rows of (text, style) and plots: progress, candidates, what was found. Pure.

Styles are keys of `cells.STYLES`. Every state is a word too, so nothing needs colour.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from math import lcm

from mergegraph.search.summary import Row, Summary
from mergegraph.search.text import ablation_lines, barrier_lines, comparison_lines, numbers
from mergegraph.units import format_count, format_seconds
from mergegraph_tui.model.glyphs import glyphs_of
from mergegraph_tui.model.meters import bar
from mergegraph_tui.model.plot import Plot, PlotLine
from mergegraph_tui.model.progress import clock_text
from mergegraph_tui.model.rail import Part
from mergegraph_tui.model.run_rows import Room
from mergegraph_tui.model.searches import SearchView

Line = Sequence[Part]

SCORE = "score"
"""The plot of scores; the others are called after their metric."""
_STYLE = {"not begun": "waiting", "starting": "running", "running": "running", "stopping": "warning",
          "stopped": "warning", "ended early": "warning", "failed": "error", "done": "done"}  # fmt: skip
_MARKS = {"starting": "▸", "running": "▸", "stopping": "■", "stopped": "■", "ended early": "■", "failed": "✗",
          "done": "✓"}  # fmt: skip
_ASCII_MARKS = {"starting": ">", "running": ">", "stopping": "#", "stopped": "#", "ended early": "#",
                "failed": "x", "done": "*"}  # fmt: skip
_MOST_ROWS = 2_000
_MOST_PLACES = 1_000
_SAID_REJECTED = 3


def head_rows(view: SearchView, room: Room) -> list[Line]:
    """State and kind, what of the budget is spent, and what it is at."""
    summary, style = view.summary, _STYLE[view.state]
    mark = (_ASCII_MARKS if room.ascii_only else _MARKS).get(view.state, "-" if room.ascii_only else "·")
    splits = summary.splits
    kind = f"{summary.kind} on {splits[0]}" if splits else ""
    then = f", reported on {splits[1]}" if len(splits) > 1 else ""
    spent = "   ".join(_spent(summary))
    used = len(view.state) + 4 + len(kind)
    first: Line = [
        (f"{mark} {view.state}  ", style), (kind, "name"),
        (then if used + len(then) + len(spent) + 3 <= room.width else "", "detail"),
    ]  # fmt: skip
    left = room.width - sum(len(text) for text, _ in first)
    return [[*first, (spent.rjust(max(len(spent) + 2, left)), "detail")], _bar_row(view, style, room), _now(view)]


def _spent(summary: Summary) -> Iterator[str]:
    most = summary.most_evaluations
    if most is not None:
        yield f"{summary.evaluations:,} of {format_count(most, 'evaluation')}"
    elif summary.count is not None:
        yield f"{summary.evaluations:,} of {format_count(summary.count, 'candidate')}"
    else:
        yield format_count(summary.evaluations, "evaluation")
    hours = "" if summary.most_hours is None else f" of {clock_text(3600 * summary.most_hours)}"
    yield f"{clock_text(summary.seconds)}{hours}"


def share(view: SearchView) -> float | None:
    """How much of what limits it is used up; None where nothing does."""
    summary = view.summary
    if view.state == "done":
        return 1.0
    whole = (summary.most_evaluations, summary.count)
    shares = [summary.evaluations / most for most in whole if most]
    shares += [summary.seconds / (3600 * summary.most_hours)] if summary.most_hours else []
    return min(1.0, max(shares)) if shares else None


def _bar_row(view: SearchView, style: str, room: Room) -> Line:
    used = share(view)
    if used is None:
        return [("no limit is set", "waiting")] if view.summary.kind else []
    done, rest = bar(used, max(1, room.width - 7), ascii_only=room.ascii_only)
    return [(done, style), (rest, "waiting"), (f" {int(100 * used):>4} %", "name")]


def _now(view: SearchView) -> Line:
    if view.pid and view.summary.evaluating:
        return [("now  ", "detail"), (view.summary.evaluating, "name"), (f"   {clock_text(view.seconds)}", "detail")]
    said = {
        "not begun": "space begins it", "stopped": "what is evaluated stays; space goes on",
        "ended early": view.summary.ended, "failed": view.summary.ended.removeprefix("failed: "), "done": "",
    }.get(view.state, "")  # fmt: skip
    return [(said, "detail")]


def ranks(rows: Sequence[Row]) -> Mapping[int, int]:
    """The rank of each row by its number. What was rejected has none, nor a proposal whose own recipe was evaluated."""
    own = {row.label for row in rows if not row.is_proposal}
    able = [row for row in rows if row.score is not None and not (row.is_proposal and row.label in own)]
    ordered = sorted(able, key=lambda row: (-(row.score or 0.0), row.number))
    return {row.number: rank for rank, row in enumerate(ordered, 1)}


def candidate_rows(summary: Summary, room: Room, *, by_rank: bool = True) -> list[Line]:
    """A head, then every candidate: rank, score, metrics, and whether it was accepted or why not."""
    if not summary.rows:
        return []
    rank = ranks(summary.rows)
    last = len(summary.rows) + 1
    ordered = sorted(summary.rows, key=lambda row: rank.get(row.number, last)) if by_rank else list(summary.rows)
    shown = ordered[:_MOST_ROWS]
    columns = {name: max(9, len(name)) for name in _metrics_beside(summary)}
    names = min(max(len(row.label) for row in shown), max(20, room.width - 50 - sum(columns.values())))
    head = "".join(f"  {name:>{width}}" for name, width in columns.items())
    rows: list[Line] = [[(f"{'rank':>4}   {'candidate':<{names}}  {'score':>9}{head}  {'time':>8}", "detail")]]
    for row in shown:
        rows.append(_candidate(summary, row, rank.get(row.number), names, columns, room))
    return [*rows, [(f"and {len(ordered) - _MOST_ROWS:,} more", "detail")]] if len(ordered) > _MOST_ROWS else rows


def _metrics_beside(summary: Summary) -> Sequence[str]:
    """The metrics that the search is about; none where the score says the same."""
    names = tuple(summary.goals)
    is_score = len(names) == 1 and all(row.score in (None, row.metrics.get(names[0])) for row in summary.rows)
    return () if is_score else names


def _candidate(
    summary: Summary, row: Row, rank: int | None, names: int, columns: Mapping[str, int], room: Room
) -> list[Part]:
    is_best = summary.best == row
    cells = glyphs_of(ascii_only=room.ascii_only).fitted(row.label, names, keep_end=True)
    label = "".join(cells) + " " * (names - len(cells))
    values = "".join(f"  {_shown(row.metrics.get(name)):>{width}}" for name, width in columns.items())
    style = "cursor" if is_best else "error" if row.reason else "name" if row.accepted else "detail"
    verdict, how = _verdict(row)
    return [
        (f"{rank or '':>4} {'*' if is_best else ' '} ", style), (label, style),
        (f"  {_shown(row.score):>9}{values}  {format_seconds(row.seconds):>8}  ", "detail" if row.reason else ""),
        (verdict, how),
    ]  # fmt: skip


def _verdict(row: Row) -> tuple[str, str]:
    earlier = ", evaluated before" if row.reused else ""
    if row.reason:
        return f"rejected: {row.reason}{earlier}", "error"
    if row.accepted is None:
        return earlier.removeprefix(", "), "detail"
    proposed = " (proposed)" if row.is_proposal else ""
    return (f"accepted: {row.why}{proposed}{earlier}", "done") if row.accepted else (
        f"left out: {row.why}{earlier}", "detail"
    )  # fmt: skip


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.5g}"


def result_rows(view: SearchView) -> list[Line]:
    """Why it did not begin, the best so far, what else was found, and what to do next."""
    summary = view.summary
    rows: list[Line] = [
        [(line, "error" if view.state == "not begun" else "warning")] for line in view.said.splitlines()
    ]
    if rows:
        rows.append([])
    if summary.best is not None:
        rows += _best_rows(summary)
    elif summary.rows and summary.kind not in ("compare", "ablate"):
        rows.append([("no candidate is accepted yet", "detail")])
    rows += _rejected_rows(summary)
    rows += [[(line, "")] for line in finding_lines(summary)]
    if view.found is not None:
        rows += [[], [("next  ", "detail"), ("enter opens the recipe in Edit   c copy its path", "cursor")],
                 [(str(view.found), "detail")]]  # fmt: skip
    return rows


def _best_rows(summary: Summary) -> list[Line]:
    """What is chosen, and every metric of it on both splits."""
    best = summary.best
    assert best is not None
    heads = [summary.splits[0], *([summary.splits[-1]] if summary.reported else [])]
    named = [*summary.goals, *(name for name in best.metrics if name not in summary.goals)]
    width = max(map(len, named), default=0)
    rows: list[Line] = [[(best.label, "cursor")], [(best.why, "done")]]
    rows.append([(" " * width + "".join(f"  {head:>9}" for head in heads), "detail")])
    for name in named:
        values = [best.metrics.get(name), *([summary.reported.get(name)] if summary.reported else [])]
        numbers_shown = "".join(f"  {_shown(value):>9}" for value in values)
        rows.append([(f"{name:<{width}}", "name" if name in summary.goals else "detail"), (numbers_shown, "")])
    return rows


def _rejected_rows(summary: Summary) -> list[Line]:
    rejected = [row for row in summary.rows if row.reason]
    rows: list[Line] = [[(f"rejected  {row.label}: {row.reason}", "error")] for row in rejected[:_SAID_REJECTED]]
    more = len(rejected) - _SAID_REJECTED
    return [*rows, [(f"and {more} more", "detail")]] if more > 0 else rows


def finding_lines(summary: Summary) -> Iterator[str]:
    """What there is beside a model: barriers, a comparison, an ablation, what no other beats."""
    told = {"line": barrier_lines, "comparison": comparison_lines, "ablation": ablation_lines}
    for part, lines in told.items():
        if part in summary.findings:
            yield ""
            yield from lines(summary.findings[part])
    for each in summary.findings.get("front", ()):
        yield f"not beaten  {each['label']}: {numbers(each['metrics'])}"


def plots(summary: Summary) -> dict[str, Plot]:
    """By name: the scores, and every metric along the line; those that the search is about first."""
    found: dict[str, Plot] = {}
    if any(mark.score is not None for mark in summary.curve):
        found[SCORE] = _score_plot(summary)
    metrics = dict.fromkeys([*summary.goals, *(name for _, values in summary.segment for name in values)])
    for name in metrics:
        if len(points := {share: values[name] for share, values in summary.segment if name in values}) > 1:
            found[name] = _segment_plot(name, points)
    return found


def first_plot(summary: Summary) -> str:
    """What is shown before anything is chosen: of a line its metric."""
    names = list(plots(summary))
    return names[1] if summary.kind == "line" and len(names) > 1 else names[0] if names else SCORE


def _score_plot(summary: Summary) -> Plot:
    best, each = (tuple(getattr(mark, name) for mark in summary.curve) for name in ("best", "score"))
    lines = [PlotLine("best so far", best)] if any(value is not None for value in best) else []
    labels = tuple(str(mark.number) for mark in summary.curve)
    return Plot((*lines, PlotLine("each", each, is_joined=False)), labels, x_title="candidate")


def _segment_plot(name: str, points: Mapping[float, float]) -> Plot:
    """On places of equal distance; with the straight line between the ends, against which a barrier rises."""
    steps = lcm(*(Fraction(share).limit_denominator(_MOST_PLACES).denominator for share in points))
    steps = min(steps, _MOST_PLACES)
    places: list[float | None] = [None] * (steps + 1)
    for share, value in points.items():
        places[round(share * steps)] = value
    lines = [PlotLine(name, tuple(places))]
    first, last = places[0], places[-1]
    if first is not None and last is not None:
        straight = tuple(first + (last - first) * place / steps for place in range(steps + 1))
        lines.append(PlotLine("straight", straight))
    return Plot(tuple(lines), tuple(f"{place / steps:.4g}" for place in range(steps + 1)), x_title="share")
