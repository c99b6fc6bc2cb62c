"""The best of a row of candidates, taken in the order they are given: a later one must beat what is best so far."""

from __future__ import annotations

from collections.abc import Iterable

from mergegraph.search.candidates import Asking, Candidate, Chosen, Decision, Spent
from mergegraph.search.outcome import Outcome
from mergegraph.search.scoring import Rule


class Best:
    """The best candidate so far."""

    def __init__(self, asking: Asking, rule: Rule) -> None:
        self.asking, self.rule = asking, rule
        self.candidate: Candidate | None = None
        self.outcome: Outcome | None = None

    def consider(self, candidate: Candidate) -> Outcome:
        """Evaluate it, and take it where it is the best. An equal score is no reason to."""
        outcome = self.asking.outcome(candidate)
        if not outcome.rejected:
            self._judge(candidate, outcome)
        return outcome

    def _judge(self, candidate: Candidate, outcome: Outcome) -> None:
        if self.outcome is None:
            low = self.rule.below_floor(outcome)
            if not low:
                self.candidate, self.outcome = candidate, outcome
            self._decided(candidate, not low, low or "the first", None, None)
            return
        verdict = self.rule.compare(outcome, self.outcome)
        accepted = verdict.accepted and verdict.gain > 0
        if accepted:
            self.candidate, self.outcome = candidate, outcome
        why = "no better" if verdict.accepted and not accepted else verdict.why
        self._decided(candidate, accepted, why, verdict.gain, verdict.error)

    def _decided(self, candidate: Candidate, accepted: bool, why: str, gain: float | None, error: float | None) -> None:
        score = None if self.outcome is None else self.rule.score(self.outcome)
        self.asking.decide(Decision(candidate.label, accepted, why, score, gain, error))


def best_of(candidates: Iterable[Candidate], asking: Asking, rule: Rule) -> Chosen:
    """Every candidate evaluated, as far as the limits allow."""
    best, ended = Best(asking, rule), ""
    try:
        for candidate in candidates:
            best.consider(candidate)
    except Spent as spent:
        ended = str(spent)
    return Chosen(best.candidate, best.outcome, ended)
