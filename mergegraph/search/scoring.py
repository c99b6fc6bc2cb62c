"""Metrics to one score, and whether a candidate is accepted.

    score = Σ weight · (value, negated where less is better)

A gain may have to stand out of the noise: with results for every example, its standard error is that of the mean of
the paired differences, sd(d) / √n. Knows nothing of models.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import Field, model_validator

from mergegraph.errors import did_you_mean
from mergegraph.fields import FieldModel, Number
from mergegraph.search.outcome import Outcome


class Metric(FieldModel):
    """A number of the evaluator: which way is better, how much it counts, and what it must not be worse than."""

    direction: Literal["max", "min"] = Field(description="whether more or less is better")
    weight: Number = Field(default=1.0, ge=0, le=1e6, description="what it counts in the score; 0 only shows it")
    floor: Number | None = Field(default=None, description="a candidate that is worse than this is not accepted")

    @model_validator(mode="before")
    @classmethod
    def _bare_direction(cls, value: Any) -> Any:
        return {"direction": value} if isinstance(value, str) else value

    @property
    def sign(self) -> int:
        return 1 if self.direction == "max" else -1


class Accept(FieldModel):
    """What a candidate must do to be accepted."""

    noise: Number = Field(default=0.0, ge=0, description="the gain must be so many paired standard errors")


@dataclass(frozen=True)
class Rule:
    """How outcomes are compared. `strict`: an equal score is no reason to accept."""

    metrics: Mapping[str, Metric]
    noise: float = 0.0
    strict: bool = False

    def score(self, outcome: Outcome) -> float:
        """Larger is better."""
        return self.score_of(outcome.metrics)

    def score_of(self, values: Mapping[str, float]) -> float:
        return math.fsum(m.weight * m.sign * values[name] for name, m in self.metrics.items() if m.weight)

    @property
    def directions(self) -> dict[str, int]:
        """1 for a metric of which more is better, -1 for the others."""
        return {name: metric.sign for name, metric in self.metrics.items()}

    def judged(self, outcome: Outcome) -> Outcome:
        """`outcome`, rejected where it lacks a metric."""
        missing = next((name for name in self.metrics if name not in outcome.metrics), None)
        if outcome.rejected or missing is None:
            return outcome
        fix = did_you_mean(missing, outcome.metrics, "it has")
        return replace(outcome, rejected=f'the result has no "{missing}"; {fix}')

    def below_floor(self, outcome: Outcome) -> str:
        """`accuracy 88.5 is below its floor 90`, or ""."""
        for name, metric in self.metrics.items():
            value = outcome.metrics[name]
            if metric.floor is not None and metric.sign * value < metric.sign * metric.floor:
                beyond = "below its floor" if metric.sign > 0 else "above its limit"
                return f"{name} {value:g} is {beyond} {metric.floor:g}"
        return ""

    def compare(self, new: Outcome, old: Outcome) -> Verdict:
        """Whether `new` may take the place of `old`."""
        gain = self.score(new) - self.score(old)
        error = standard_error(self.differences(new, old))
        if low := self.below_floor(new):
            return Verdict(False, gain, error, low)
        needed = self.noise * error if error is not None else 0.0
        accepted = gain > needed if self.strict else gain >= needed
        return Verdict(accepted, gain, error, self._why(gain, error, needed, accepted=accepted))

    def _why(self, gain: float, error: float | None, needed: float, *, accepted: bool) -> str:
        if accepted:
            unknown = ", its noise unknown: there are no results by example" if self.noise and error is None else ""
            return ("not worse" if gain == 0 else f"better by {gain:.6g}") + unknown
        if gain < 0:
            return f"worse by {-gain:.6g}"
        if gain == 0:
            return "no better"
        return f"better by {gain:.6g}, which is within the noise: {needed:.6g} ({self.noise:g} × {error or 0:.3g})"

    def differences(self, new: Outcome, old: Outcome) -> list[float] | None:
        """The gain in score of every example; None where a metric that counts lacks results for each."""
        total: list[float] | None = None
        for name, metric in self.metrics.items():
            if not metric.weight:
                continue
            ours, theirs = new.examples.get(name), old.examples.get(name)
            if ours is None or theirs is None or len(ours) != len(theirs):
                return None
            part = [metric.weight * metric.sign * (a - b) for a, b in zip(ours, theirs, strict=True)]
            if total is not None and len(total) != len(part):
                return None
            total = part if total is None else [a + b for a, b in zip(total, part, strict=True)]
        return total


@dataclass(frozen=True, slots=True)
class Verdict:
    """`gain` in score; `error`: its paired standard error, None where it cannot be told."""

    accepted: bool
    gain: float
    error: float | None
    why: str


def standard_error(differences: Sequence[float] | None) -> float | None:
    """Of the mean of `differences`; None for fewer than two."""
    if differences is None or len(differences) < 2:
        return None
    count = len(differences)
    mean = math.fsum(differences) / count
    return math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / (count - 1) / count)
