"""What a strategy asks for, and what answers it. Strategies know nothing else of engine, evaluator or disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from mergegraph.recipe.model import Recipe
from mergegraph.search.outcome import Outcome


@dataclass(frozen=True)
class Grown:
    """A soup of `before` with one model more: it can be made from their running average and that model alone."""

    before: tuple[str, ...]
    added: str


@dataclass(frozen=True)
class Candidate:
    """A model to evaluate. `recipe` has one save; `single` is the model itself where nothing is merged.

    `facts` go to the ledger with it: members, settings, a place on a line.
    """

    label: str
    recipe: Recipe
    single: str = ""
    grown: Grown | None = None
    facts: Mapping[str, object] = field(default_factory=dict[str, object], hash=False)


@dataclass(frozen=True)
class Decision:
    """What a strategy concluded of a candidate. `score`: after the decision, what is best so far."""

    label: str
    accepted: bool
    why: str
    score: float | None
    gain: float | None = None
    error: float | None = None


class Asking(Protocol):
    """Answers a strategy."""

    def outcome(self, candidate: Candidate, *, cheap: bool = False) -> Outcome:
        """How good a candidate is on the selection split. `cheap`: from the running average, where it has one.

        Spent when the search may evaluate no more.
        """
        ...

    def decide(self, decision: Decision) -> None:
        """Keep a conclusion in the ledger."""
        ...


class Spent(Exception):
    """The limits of the search are reached; the message says which."""


@dataclass(frozen=True)
class Chosen:
    """What a strategy ends with. `candidate` is None where nothing is chosen, or could be; `ended` is the limit it ran
    into, "" where it came to its end; `findings` are plain values for the ledger: a line, a table."""

    candidate: Candidate | None
    outcome: Outcome | None
    ended: str = ""
    findings: Mapping[str, object] = field(default_factory=dict[str, object])
