"""A ledger as plain values, for whoever shows it: the command's table, the report, a terminal interface.

Only the last search of the ledger is in it. Reads nothing and waits for nothing: entries in, values out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from mergegraph.search.ledger import Entry, since_begun, spent
from mergegraph.search.outcome import Outcome
from mergegraph.search.scoring import Metric, Rule

State = Literal["none", "running", "ended"]


@dataclass(frozen=True, slots=True)
class Row:
    """One evaluation on the selection split, in the order they were made. `score` is None where it was rejected for
    `reason`; `accepted` is None where nothing was concluded of it; `seconds` with the making. `is_proposal`: it was
    made from the running average of a soup."""

    number: int
    label: str
    score: float | None
    metrics: Mapping[str, float]
    reason: str
    accepted: bool | None
    why: str
    seconds: float
    reused: bool
    is_proposal: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A point of the curve of scores: the candidate's own, and the best of those accepted so far."""

    number: int
    score: float | None
    best: float | None


@dataclass(frozen=True)
class Summary:
    """What a search has come to. `goals`: metric to `max` or `min`. `segment`: (share, metrics) along a line. `file`:
    of the search, from its folder; `count`: how many candidates it has, where that is known before it has seen them.

    `findings` is what the strategy found beside the model: `line`, `ablation`, `comparison`, `front`.
    """

    name: str = ""
    kind: str = ""
    state: State = "none"
    ended: str = ""
    splits: tuple[str, ...] = ()
    goals: Mapping[str, str] = field(default_factory=dict[str, str])
    rows: tuple[Row, ...] = ()
    best: Row | None = None
    curve: tuple[Mark, ...] = ()
    segment: tuple[tuple[float, Mapping[str, float]], ...] = ()
    reported: Mapping[str, float] = field(default_factory=dict[str, float])
    evaluating: str = ""
    evaluations: int = 0
    most_evaluations: int | None = None
    most_hours: float | None = None
    count: int | None = None
    file: str = ""
    seconds: float = 0.0
    findings: Mapping[str, Any] = field(default_factory=dict[str, Any])


def summarise(entries: Sequence[Entry]) -> Summary:
    """The last search in `entries`; an empty summary where there is none."""
    current = since_begun(entries)
    if not current:
        return Summary()
    begun, last = current[0], current[-1]
    measured = _measured(entries, current, begun["splits"][0])
    decisions = {entry["label"]: entry for entry in current if entry["event"] == "decided"}
    rule = Rule({name: Metric.model_validate(metric) for name, metric in begun["metrics"].items()})
    rows = tuple(_row(number, entry, decisions, reused, rule) for number, (entry, reused) in enumerate(measured, 1))
    reported = [entry for entry in current if entry["event"] == "reported"]
    found = [entry for entry in current if entry["event"] == "found"]
    return Summary(
        name=begun["name"],
        kind=begun["search"],
        state="ended" if last["event"] == "ended" else "running",
        ended=last["state"] if last["event"] == "ended" else "",
        splits=tuple(begun["splits"]),
        goals={name: metric["direction"] for name, metric in begun["metrics"].items()},
        rows=rows,
        best=_best(rows, current),
        curve=tuple(_curve(rows)),
        segment=_segment(measured),
        reported=dict(reported[-1]["metrics"]) if reported else {},
        evaluating=last["label"] if last["event"] == "started" else "",
        evaluations=len(rows),
        most_evaluations=begun["limits"]["evaluations"],
        most_hours=begun["limits"]["hours"],
        count=begun["count"],
        file=begun["file"],
        seconds=sum(row.seconds for row in rows),
        findings=cast("Mapping[str, Any]", found[-1]["findings"]) if found else {},
    )


def _measured(entries: Sequence[Entry], current: Sequence[Entry], split: str) -> list[tuple[Entry, bool]]:
    """The evaluations on one split that the search has used, and whether an earlier one had made them."""
    known = {entry["key"]: entry for entry in entries if entry["event"] == "evaluated"}
    used: dict[str, tuple[Entry, bool]] = {}
    for entry in current:
        if entry["event"] == "evaluated" and entry["split"] == split:
            used[entry["key"]] = entry, False
        elif entry["event"] == "reused" and entry["key"] in known and entry["split"] == split:
            used.setdefault(entry["key"], (known[entry["key"]], True))
    return list(used.values())


def _row(number: int, entry: Entry, decisions: Mapping[str, Entry], reused: bool, rule: Rule) -> Row:
    """By the rule of the search that is shown: another one may have made the evaluation."""
    outcome = rule.judged(Outcome(dict(entry["metrics"]), rejected="" if entry["answered"] else entry["reason"]))
    decided = decisions.get(entry["label"])
    return Row(
        number, entry["label"], None if outcome.rejected else rule.score(outcome), outcome.metrics, outcome.rejected,
        decided["accepted"] if decided else None, decided["why"] if decided else "",
        spent(entry), reused, entry["proposal"],
    )  # fmt: skip


def _best(rows: Sequence[Row], current: Sequence[Entry]) -> Row | None:
    """The row of the candidate that was accepted last."""
    accepted = [entry["label"] for entry in current if entry["event"] == "decided" and entry["accepted"]]
    named = [row for row in rows if accepted and row.label == accepted[-1]]
    return named[-1] if named else None


def _curve(rows: Sequence[Row]) -> list[Mark]:
    best: float | None = None
    marks: list[Mark] = []
    for row in rows:
        if row.accepted and row.score is not None:
            best = row.score if best is None else max(best, row.score)
        marks.append(Mark(row.number, row.score, best))
    return marks


def _segment(measured: Sequence[tuple[Entry, bool]]) -> tuple[tuple[float, Mapping[str, float]], ...]:
    points = [
        (float(entry["facts"]["share"]), dict(entry["metrics"]))
        for entry, _ in measured
        if "share" in entry["facts"] and entry["answered"]
    ]
    return tuple(sorted(points, key=lambda point: point[0]))
