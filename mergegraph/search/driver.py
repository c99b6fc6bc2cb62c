"""Answers a strategy: from the ledger, or by making the candidate and evaluating it, within the limits of the search.

The key of an evaluation is the hash of recipe, evaluator and split, so nothing is evaluated twice, whatever happened
in between. A search that goes on runs its strategy from the start again, on answers that stand in the ledger.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from mergegraph.errors import DoesNotFit, InputError, Problem, RecipeError, RunError
from mergegraph.search.asking import LOG, Failed, Worker
from mergegraph.search.candidates import Candidate, Decision, Spent
from mergegraph.search.document import Loaded
from mergegraph.search.known import Known
from mergegraph.search.ledger import Entry, Ledger, spent
from mergegraph.search.making import Made, Maker, weights_bytes
from mergegraph.search.outcome import BadResult, Outcome, read_outcome
from mergegraph.search.scoring import Rule
from mergegraph.tensors.disk import delete
from mergegraph.units import parse_bytes

_KEPT_BYTES = 512 << 20
"""So much of the models an evaluator that takes tensors keeps in memory, where the search names no budget."""

Tell = Callable[[Entry], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """An evaluation that the strategy asked for. `reason`: why it was rejected; `seconds` with the making."""

    label: str
    reason: str
    seconds: float


@dataclass
class Driver:
    """One search under way. `tell` hears every entry of the ledger."""

    loaded: Loaded
    ledger: Ledger
    maker: Maker
    worker: Worker
    rule: Rule
    known: Known
    tell: Tell
    asked: dict[str, Asked] = field(default_factory=dict[str, Asked])
    """What the strategy has asked for on the selection split, by key."""
    used: set[str] = field(default_factory=set[str])
    """The keys that the ledger says this search has used."""
    evaluated: int = 0
    """How many evaluations this process has made."""

    decided: set[str] = field(default_factory=set[str])
    _ids: dict[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        self.recall()

    def recall(self) -> None:
        """Take from the ledger what it says of this search."""
        current = self.ledger.current()
        self.used = {entry["key"] for entry in current if entry["event"] in ("evaluated", "reused")}
        self.decided = {
            json.dumps([entry["label"], entry["accepted"], entry["why"], entry["score"]])
            for entry in current
            if entry["event"] == "decided"
        }

    def outcome(self, candidate: Candidate, *, cheap: bool = False) -> Outcome:
        """How good it is on the selection split. Spent when the limits of the search are reached."""
        cheap = cheap and candidate.grown is not None
        split = self.loaded.search.splits[0]
        try:
            key, refused = self.key(candidate, split, cheap=cheap), ""
        except (RecipeError, InputError, DoesNotFit) as error:
            refused = f"the merge is refused: {error.problems[0].fact}"
            key = _hashed("refused", candidate.label, refused, split)
        if key not in self.asked:
            self._require_left()
        raw = self.known.outcome(key)
        if raw is None and refused:
            raw = self._keep(key, Outcome(rejected=refused), _facts(candidate, split, cheap=cheap), made_seconds=0.0)
        elif raw is None:
            raw = self._evaluate(key, candidate, split, cheap=cheap, most_seconds=self._seconds_left())
        elif key not in self.used:
            self.append("reused", key=key, label=candidate.label, split=split)
        outcome, entry = self.rule.judged(raw), self.known.entries[key]
        self.used.add(key)
        self.asked[key] = Asked(candidate.label, outcome.rejected, spent(entry))
        return outcome

    def on_split(self, candidate: Candidate, split: str, made: Made) -> Outcome:
        """How good it is on `split`, whatever the limits and whichever metrics it has there. `made`: its model."""
        key = self.key(candidate, split, cheap=False)
        return self.known.outcome(key) or self._evaluate(key, candidate, split, cheap=False, made=made)

    def decide(self, decision: Decision) -> None:
        """Keep it, unless it is kept already."""
        mark = json.dumps([decision.label, decision.accepted, decision.why, decision.score])
        if mark not in self.decided:
            self.decided.add(mark)
            self.append(
                "decided", label=decision.label, accepted=decision.accepted, why=decision.why, score=decision.score,
                gain=decision.gain, error=decision.error,
            )  # fmt: skip

    def found(self) -> object:
        """The findings that the ledger has of this search; None where it has none."""
        entries = [entry for entry in self.ledger.current() if entry["event"] == "found"]
        return entries[-1]["findings"] if entries else None

    def append(self, event: str, **values: object) -> None:
        self.tell(self.ledger.append(event, **values))

    def key(self, candidate: Candidate, split: str, *, cheap: bool) -> str:
        if candidate.label not in self._ids:
            self._ids[candidate.label] = self.maker.recipe_id(candidate.recipe)
        recipe = ("running:" if cheap else "") + self._ids[candidate.label]
        return _hashed(recipe, self.known.evaluator, split)

    def _require_left(self) -> None:
        limits = self.loaded.search.limits
        if limits.evaluations is not None and len(self.asked) >= limits.evaluations:
            raise Spent(f"{limits.evaluations} evaluations, as limits.evaluations allows")
        left = self._seconds_left()
        if left is not None and left <= 0:
            raise self._out_of_time()

    def _seconds_left(self) -> float | None:
        hours = self.loaded.search.limits.hours
        return None if hours is None else 3600 * hours - sum(asked.seconds for asked in self.asked.values())

    def _out_of_time(self) -> Spent:
        return Spent(f"{self.loaded.search.limits.hours:g} hours, as limits.hours allows")

    def _evaluate(
        self, key: str, candidate: Candidate, split: str, *, cheap: bool, made: Made | None = None,
        most_seconds: float | None = None,
    ) -> Outcome:  # fmt: skip
        """Make it, ask, and keep what was said. `most_seconds`: when the search is over, whatever was said by then."""
        self.append("started", key=key, label=candidate.label, split=split)
        began = time.monotonic()
        facts = _facts(candidate, split, cheap=cheap)
        try:
            made, sources = self._made(candidate, made, cheap=cheap)
        except RunError as error:
            rejected = Outcome(rejected=f"the merge failed: {error.problems[0].fact}")
            return self._keep(key, rejected, facts, made_seconds=time.monotonic() - began)
        facts["digest"] = made.digest
        try:
            if made.digest and (same := self.known.same_bytes(made.digest, split)):
                facts["same_as"] = same[0]["label"]
                return self._keep(key, same[1], facts, made_seconds=time.monotonic() - began)
            made_seconds = time.monotonic() - began
            left = None if most_seconds is None else most_seconds - made_seconds
            outcome, facts["timeout"] = self._asked_worker(key, made, sources, split, left)
            return self._keep(key, outcome, facts, made_seconds=made_seconds)
        finally:
            if made.is_own:
                delete(made.folder)

    def _made(self, candidate: Candidate, made: Made | None, *, cheap: bool) -> tuple[Made, list[tuple[str, int]]]:
        """Where it lies, and the folders with weights that an evaluator which takes tensors gets."""
        if cheap and self.loaded.search.evaluator.takes == "tensors":
            sources = self.maker.sources(candidate)
            return Made(Path(sources[0][0])), sources
        made = made or self.maker.make(candidate, cheap=cheap)
        return made, [(str(made.folder), 1)]

    def _asked_worker(
        self, key: str, made: Made, sources: list[tuple[str, int]], split: str, left: float | None
    ) -> tuple[Outcome, float | None]:
        """The outcome, and the timeout where it was too short. RunError where the evaluator cannot be used at all."""
        search, folder = self.loaded.search, self.ledger.folder.absolute()
        result, timeout = folder / f"result-{key}.json", search.evaluator.timeout_seconds
        question = {
            "evaluator": search.evaluator.spec(), "folder": str(self.loaded.folder),
            "model": str(made.folder.absolute()), "split": split, "result": str(result), "log": str(folder / LOG),
            "sources": sources, "keep_bytes": parse_bytes(search.budget) if search.budget else _KEPT_BYTES,
        }  # fmt: skip
        self.evaluated += 1
        began = time.monotonic()
        try:
            answer = self.worker.ask(question, timeout if left is None else min(timeout, left))
            outcome = read_outcome(answer)
        except Failed as error:
            with suppress(OSError):
                result.unlink()
            if error.is_about_evaluator:
                raise RunError(self._no_evaluator(str(error))) from error
            if error.is_timeout and left is not None and left < timeout:
                raise self._out_of_time() from error
            outcome = Outcome(rejected=str(error), seconds=time.monotonic() - began)
            return outcome, timeout if error.is_timeout else None
        except BadResult as error:
            return Outcome(rejected=str(error), seconds=time.monotonic() - began), None
        size = sum(weights_bytes(Path(source)) for source, _ in sources[-1:])
        return replace(outcome, seconds=round(time.monotonic() - began, 3), model_bytes=size), None

    def _no_evaluator(self, why: str) -> Problem:
        fact = "The evaluator cannot be used, whatever the model."
        fix = f"correct it; what it printed is in {self.ledger.folder / LOG}"
        return Problem(fact, self.loaded.where("evaluator"), why=why, fix=fix)

    def _keep(self, key: str, outcome: Outcome, facts: dict[str, object], *, made_seconds: float) -> Outcome:
        judged = self.rule.judged(outcome)
        facts |= {
            "answered": not outcome.rejected, "status": "rejected" if judged.rejected else "ok",
            "reason": judged.rejected, "score": None if judged.rejected else self.rule.score(outcome),
            "seconds": round(outcome.seconds, 3), "made_seconds": round(made_seconds, 3),
        }  # fmt: skip
        self.tell(self.known.keep(key, outcome, facts))
        return outcome


def _facts(candidate: Candidate, split: str, *, cheap: bool) -> dict[str, object]:
    """What an entry says of the candidate, before anything is known of its model."""
    return {
        "label": candidate.label, "split": split, "proposal": cheap, "facts": dict(candidate.facts), "digest": "",
        "same_as": "", "timeout": None,
    }  # fmt: skip


def _hashed(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
