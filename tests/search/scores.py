"""Strategies without an engine: candidates that are only names, and an evaluator that is a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mergegraph.recipe.model import Recipe
from mergegraph.search.candidates import Candidate, Decision, Grown, Spent
from mergegraph.search.outcome import Outcome

NO_RECIPE = Recipe("none", 0, {}, Path(), "none")
Members = tuple[str, ...]


def soup(members: Members) -> Candidate:
    """The candidate of a soup, as a search makes it."""
    grown = Grown(members[:-1], members[-1]) if len(members) > 2 else None
    return Candidate("+".join(members), NO_RECIPE, grown=grown, facts={"members": list(members)})


@dataclass
class Table:
    """Answers from a function of the members; counts what it is asked, and refuses after `most` candidates."""

    outcome_of: Callable[[Candidate, bool], Outcome]
    most: int | None = None
    asked: list[tuple[str, bool]] = field(default_factory=list[tuple[str, bool]])
    decisions: list[Decision] = field(default_factory=list[Decision])

    def outcome(self, candidate: Candidate, *, cheap: bool = False) -> Outcome:
        cheap = cheap and candidate.grown is not None
        if (candidate.label, cheap) not in self.asked:
            if self.most is not None and len(self.asked) >= self.most:
                raise Spent("no more")
            self.asked.append((candidate.label, cheap))
        return self.outcome_of(candidate, cheap)

    def decide(self, decision: Decision) -> None:
        self.decisions.append(decision)


def table(values: Mapping[str, float | str], **options: int) -> Table:
    """By label: the metric `accuracy`, or the reason why there is none."""

    def outcome_of(candidate: Candidate, cheap: bool) -> Outcome:
        value = values[candidate.label]
        return Outcome(rejected=value) if isinstance(value, str) else Outcome({"accuracy": value})

    return Table(outcome_of, **options)
