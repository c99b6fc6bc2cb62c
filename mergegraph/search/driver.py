"""Answers a strategy: from the ledger, or by making the candidate and evaluating it, within the limits of the search.

The key of an evaluation is the hash of recipe, evaluator and split, so nothing is evaluated twice, whatever happened
in between. A search that goes on runs its strategy from the start again, on answers that stand in the ledger.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mergegraph.errors import MergegraphError, RunError
from mergegraph.search.asking import Failed, Worker
from mergegraph.search.candidates import Candidate, Decision, Spent
from mergegraph.search.document import Loaded
from mergegraph.search.ledger import Entry, Ledger
from mergegraph.search.making import Made, Maker, weights_bytes
from mergegraph.search.outcome import BadResult, Outcome, read_outcome
from mergegraph.search.predictions import read_predictions
from mergegraph.search.scoring import Rule
from mergegraph.tensors.disk import delete, replace_file
from mergegraph.units import parse_bytes

RESULTS = "results"
_KEPT_BYTES = 512 << 20
"""So much of the models an evaluator that takes tensors keeps in memory, where the search names no budget."""

Tell = Callable[[Entry], None]


@dataclass
class Driver:
    """One search under way. `tell` hears every entry of the ledger, those that were there at the start too."""

    loaded: Loaded
    ledger: Ledger
    maker: Maker
    worker: Worker
    rule: Rule
    evaluator: str
    tell: Tell
    known: dict[str, Entry] = field(default_factory=dict[str, Entry])
    asked: dict[str, float] = field(default_factory=dict[str, float])
    """The keys that the strategy has asked for on the selection split, with the seconds each took."""
    used: set[str] = field(default_factory=set[str])
    """The keys that the ledger says this search has used."""
    evaluated: int = 0
    """How many evaluations this process has made."""

    decided: set[str] = field(default_factory=set[str])
    _ids: dict[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        self.recall()

    def recall(self) -> None:
        """Take from the ledger what it says of this search, and every evaluation."""
        self.known = {entry["key"]: entry for entry in self.ledger.of("evaluated")}
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
        key = self.key(candidate, self.loaded.search.splits[0], cheap=cheap)
        if key not in self.asked:
            self._require_left()
        split = self.loaded.search.splits[0]
        outcome = self._known(key)
        if outcome is None:
            outcome = self._evaluate(key, candidate, split, cheap=cheap)
        elif key not in self.used:
            self.append("reused", key=key, label=candidate.label, split=split)
        self.used.add(key)
        self.asked[key] = self.known[key]["seconds"] + self.known[key]["made_seconds"]
        return outcome

    def on_split(self, candidate: Candidate, split: str, made: Made | None = None) -> Outcome:
        """How good it is on `split`, whatever the limits. `made`: where its model lies already."""
        key = self.key(candidate, split, cheap=False)
        return self._known(key) or self._evaluate(key, candidate, split, cheap=False, made=made)

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
        return hashlib.sha256(json.dumps([recipe, self.evaluator, split]).encode()).hexdigest()[:32]

    def _require_left(self) -> None:
        limits = self.loaded.search.limits
        if limits.evaluations is not None and len(self.asked) >= limits.evaluations:
            raise Spent(f"{limits.evaluations} evaluations, as limits.evaluations allows")
        if limits.hours is not None and sum(self.asked.values()) >= 3600 * limits.hours:
            raise Spent(f"{limits.hours:g} hours, as limits.hours allows")

    def _known(self, key: str) -> Outcome | None:
        """What the ledger says; None where it says nothing, or only that another time was not enough, and where
        somebody deleted the results that it names."""
        entry = self.known.get(key)
        timeout = self.loaded.search.evaluator.timeout_seconds
        if entry is None or (entry["timeout"] is not None and entry["timeout"] != timeout):
            return None
        if entry["details"] and not (self.ledger.folder / entry["details"]).is_file():
            return None
        return self._outcome(entry)

    def _outcome(self, entry: Entry) -> Outcome:
        file = self.ledger.folder / entry["details"]
        details: dict[str, Any] = json.loads(file.read_bytes()) if entry["details"] else {}
        return Outcome(
            entry["metrics"],
            details.get("examples", {}),
            {name: read_predictions(each) for name, each in details.get("predictions", {}).items()},
            entry["reason"],
            entry["seconds"],
            entry["model_bytes"],
        )

    def _evaluate(
        self, key: str, candidate: Candidate, split: str, *, cheap: bool, made: Made | None = None
    ) -> Outcome:
        self.append("started", key=key, label=candidate.label, split=split)
        began = time.monotonic()
        lazily = cheap and self.loaded.search.evaluator.takes == "tensors"
        try:
            if lazily:
                sources = self.maker.sources(candidate)
                made = Made(Path(sources[0][0]))
            else:
                made = made or self.maker.make(candidate, cheap=cheap)
                sources = [(str(made.folder), 1)]
        except RunError as error:
            return self._keep(key, candidate, split, Outcome(rejected=_merge_failed(error)), None, began=began)
        try:
            if made.digest and (same := self._same_bytes(made.digest, split)):
                outcome = self._outcome(same)
                return self._keep(key, candidate, split, outcome, made, began=began, same_as=same["label"])
            made_seconds = time.monotonic() - began
            outcome, timeout = self._asked_worker(key, made, sources, split)
            return self._keep(
                key, candidate, split, outcome, made, began=began, made_seconds=made_seconds, timeout=timeout
            )
        finally:
            if made.is_own:
                delete(made.folder)

    def _asked_worker(
        self, key: str, made: Made, sources: list[tuple[str, int]], split: str
    ) -> tuple[Outcome, float | None]:
        """The outcome, and the timeout where it was too short."""
        search = self.loaded.search
        question = {
            "evaluator": search.evaluator.spec(),
            "folder": str(self.loaded.folder),
            "model": str(made.folder.absolute()),
            "split": split,
            "result": str((self.ledger.folder / f"result-{key}.json").absolute()),
            "sources": sources,
            "keep_bytes": parse_bytes(search.budget) if search.budget else _KEPT_BYTES,
        }
        self.evaluated += 1
        began = time.monotonic()
        try:
            answer = self.worker.ask(question, search.evaluator.timeout_seconds)
            outcome = read_outcome(answer, tuple(search.metrics))
        except Failed as error:
            timeout = search.evaluator.timeout_seconds if error.is_timeout else None
            return Outcome(rejected=str(error), seconds=time.monotonic() - began), timeout
        except BadResult as error:
            return Outcome(rejected=str(error), seconds=time.monotonic() - began), None
        size = sum(weights_bytes(Path(source)) for source, _ in sources[:1])
        return replace(outcome, seconds=time.monotonic() - began, model_bytes=size), None

    def _same_bytes(self, digest: str, split: str) -> Entry | None:
        """An evaluation of a model with the same tensors: another recipe may have given them."""
        return next(
            (
                entry
                for entry in self.known.values()
                if entry["digest"] == digest and entry["split"] == split and entry["evaluator"] == self.evaluator
                and entry["timeout"] is None and self._known(entry["key"]) is not None
            ),
            None,
        )  # fmt: skip

    def _keep(
        self, key: str, candidate: Candidate, split: str, outcome: Outcome, made: Made | None, *, began: float,
        made_seconds: float | None = None, timeout: float | None = None, same_as: str = "",
    ) -> Outcome:  # fmt: skip
        """Put the outcome on disk: what is long in a file of its own, then the entry that names it."""
        values: dict[str, Any] = {
            "key": key, "label": candidate.label, "split": split, "evaluator": self.evaluator,
            "digest": made.digest if made else "", "status": "rejected" if outcome.rejected else "ok",
            "reason": outcome.rejected, "metrics": dict(outcome.metrics),
            "score": None if outcome.rejected else self.rule.score(outcome),
            "seconds": round(outcome.seconds, 3) if not same_as else 0.0,
            "made_seconds": round(time.monotonic() - began if made_seconds is None else made_seconds, 3),
            "model_bytes": outcome.model_bytes, "timeout": timeout, "same_as": same_as, "facts": dict(candidate.facts),
            "details": self._write_details(key, outcome),
        }  # fmt: skip
        entry = self.ledger.append("evaluated", **values)
        self.known[key] = entry
        self.tell(entry)
        return outcome

    def _write_details(self, key: str, outcome: Outcome) -> str:
        if not outcome.examples and not outcome.predictions:
            return ""
        name = f"{RESULTS}/{key}.json"
        (self.ledger.folder / RESULTS).mkdir(exist_ok=True)
        details = {
            "examples": {metric: list(each) for metric, each in outcome.examples.items()},
            "predictions": {part: each.to_json() for part, each in outcome.predictions.items()},
        }
        replace_file(self.ledger.folder / name, json.dumps(details).encode(), sync=True)
        return name


def _merge_failed(error: MergegraphError) -> str:
    return f"the merge failed: {error.problems[0].fact}"
