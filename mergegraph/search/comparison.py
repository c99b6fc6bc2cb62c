"""Models beside each other: every metric and slice, against one of them, the worst regression first; and ensembles.

An ensemble keeps all its members: its memory and its time are the sums of theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from mergegraph.search.candidates import Asking, Candidate, Chosen, Spent
from mergegraph.search.outcome import Outcome
from mergegraph.search.predictions import Predictions, averaged, direction, majority
from mergegraph.search.scoring import Rule, standard_error

_SAME = 1e-2


@dataclass(frozen=True)
class Row:
    """What is compared: a model, the mean of a group, or an ensemble."""

    name: str
    outcome: Outcome
    kind: str = "model"


def compare(
    candidates: Mapping[str, Candidate], groups: Mapping[str, Sequence[str]], against: str,
    ensembles: Mapping[str, Sequence[str]], asking: Asking, rule: Rule,
) -> Chosen:  # fmt: skip
    """Every model evaluated; what was rejected is a row without numbers."""
    rows: dict[str, Row] = {}
    ended = ""
    try:
        for name, candidate in candidates.items():
            rows[name] = Row(name, asking.outcome(candidate))
    except Spent as spent:
        ended = str(spent)
    good = {name: row.outcome for name, row in rows.items() if not row.outcome.rejected}
    means = [mean_row(name, [good[m] for m in members if m in good]) for name, members in groups.items()]
    mixed = [row for name, members in ensembles.items() for row in ensemble(name, members, good)]
    every = [*rows.values(), *(row for row in means if row), *mixed]
    return Chosen(None, None, ended, findings={"comparison": findings(every, against, rule)})


def mean_row(name: str, members: Sequence[Outcome]) -> Row | None:
    """The mean of every metric that all members have."""
    if len(members) < 2:
        return None
    shared = [metric for metric in members[0].metrics if all(metric in each.metrics for each in members)]
    metrics = {metric: fmean(each.metrics[metric] for each in members) for metric in shared}
    seconds = fmean(each.seconds for each in members)
    size = round(fmean(each.model_bytes for each in members))
    return Row(f"mean of {name}", Outcome(metrics, seconds=seconds, model_bytes=size), "mean")


def ensemble(name: str, members: Sequence[str], outcomes: Mapping[str, Outcome]) -> list[Row]:
    """Probabilities averaged, and a vote, of all members; a row without numbers says why there is none."""
    chosen = [outcomes[member] for member in members if member in outcomes]
    cost = Outcome(seconds=sum(e.seconds for e in chosen), model_bytes=sum(e.model_bytes for e in chosen))
    absent = [member for member in members if member not in outcomes]
    slices = (
        [part for part in chosen[0].predictions if all(part in each.predictions for each in chosen)] if chosen else []
    )
    if absent or not slices:
        why = f"{', '.join(absent)} could not be evaluated" if absent else "the evaluator gives no predictions"
        return [Row(name, replace(cost, rejected=why), "ensemble")]
    mean, vote = dict[str, Predictions](), dict[str, Predictions]()
    try:
        for part in slices:
            predictions = [each.predictions[part] for each in chosen]
            mean[part], vote[part] = averaged(predictions), majority(predictions)
    except ValueError as error:
        return [Row(name, replace(cost, rejected=str(error)), "ensemble")]
    wanted = [metric for metric in ("accuracy", "loss", "calibration_error") if _is_derived(metric, chosen[0])]
    return [
        Row(f"{name}, averaged", _from_predictions(mean, cost, wanted), "ensemble"),
        # A vote has no probabilities to be calibrated.
        Row(f"{name}, vote", _from_predictions(vote, cost, [m for m in wanted if m == "accuracy"]), "ensemble"),
    ]


def _is_derived(metric: str, member: Outcome) -> bool:
    """Whether the evaluator's metric of that name is what follows from its predictions: percent, not a fraction."""
    for part, predictions in member.predictions.items():
        value = predictions.metrics()[metric][0]
        said = member.metrics.get(f"{metric}@{part}" if part else metric, value)
        if abs(said - value) > _SAME * max(1.0, abs(value)):
            return False
    return True


def _from_predictions(predictions: Mapping[str, Predictions], cost: Outcome, wanted: Sequence[str]) -> Outcome:
    metrics: dict[str, float] = {}
    examples: dict[str, Sequence[float]] = {}
    for part, each in predictions.items():
        for name, (value, by_example) in each.metrics().items():
            if name in wanted:
                full = f"{name}@{part}" if part else name
                metrics[full] = value
                if by_example is not None:
                    examples[full] = by_example
    return replace(cost, metrics=metrics, examples=examples)


def findings(rows: Sequence[Row], against: str, rule: Rule) -> Mapping[str, object]:
    """Rows as plain values, and every change against one of them, the worst first."""
    shown = [
        {
            "name": row.name, "kind": row.kind, "metrics": dict(row.outcome.metrics), "reason": row.outcome.rejected,
            "seconds": row.outcome.seconds, "model_bytes": row.outcome.model_bytes,
        }
        for row in rows
    ]  # fmt: skip
    base = next((row.outcome for row in rows if row.name == against and not row.outcome.rejected), None)
    changes = [] if base is None else [c for row in rows if row.name != against for c in _changes(row, base, rule)]
    return {"against": against, "rows": shown, "changes": sorted(changes, key=_badness)}


def _changes(row: Row, base: Outcome, rule: Rule) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for name, value in row.outcome.metrics.items():
        sign = direction(name, rule.directions)
        if not sign or name not in base.metrics:
            continue
        ours, theirs = row.outcome.examples.get(name), base.examples.get(name)
        paired = ours is not None and theirs is not None and len(ours) == len(theirs)
        differences = [a - b for a, b in zip(ours or (), theirs or (), strict=True)] if paired else None
        found.append(
            {
                "name": row.name, "metric": name, "value": value, "against": base.metrics[name],
                "gain": sign * (value - base.metrics[name]), "error": standard_error(differences),
            }
        )  # fmt: skip
    return found


def _badness(change: Mapping[str, object]) -> float:
    """The gain as a share of the number it is held against: one measure for every metric."""
    gain, against = change["gain"], change["against"]
    assert isinstance(gain, float) and isinstance(against, float)  # noqa: PT018
    return gain / abs(against) if against else gain
