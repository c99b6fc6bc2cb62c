"""What the ledger knows of evaluations: an outcome by its key, and where one goes once it is made.

An entry is what the evaluator said, or why it said nothing. Which metrics a search wants is no part of it: another
search, with other metrics, reads the same entries. What is long, results of every example and predictions, is in a file
of its own that the entry names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mergegraph.search.ledger import Entry, Ledger
from mergegraph.search.outcome import Outcome
from mergegraph.search.predictions import read_predictions
from mergegraph.tensors.disk import replace_file

RESULTS = "results"


@dataclass
class Known:
    """The evaluations of one ledger. `evaluator`: its hash. `retry_rejected`: where an evaluator said nothing before,
    it is asked once more."""

    ledger: Ledger
    evaluator: str
    timeout_seconds: float
    retry_rejected: bool = False
    entries: dict[str, Entry] = field(default_factory=dict[str, Entry])
    _again: set[str] = field(default_factory=set[str])

    def __post_init__(self) -> None:
        self.entries = {entry["key"]: entry for entry in self.ledger.of("evaluated")}
        if self.retry_rejected:
            self._again = {key for key, entry in self.entries.items() if not entry["answered"]}

    def outcome(self, key: str) -> Outcome | None:
        """None where there is none, where only another time was not enough, and where the results that the entry names
        are gone or torn."""
        entry = self.entries.get(key)
        if entry is None or key in self._again:
            return None
        if entry["timeout"] is not None and entry["timeout"] != self.timeout_seconds:
            return None
        try:
            return self._read(entry)
        except (OSError, ValueError):
            return None

    def same_bytes(self, digest: str, split: str) -> tuple[Entry, Outcome] | None:
        """An evaluation of a model with the same files: another recipe may have given them."""
        for key, entry in self.entries.items():
            if (entry["digest"], entry["split"], entry["evaluator"]) == (digest, split, self.evaluator):
                outcome = self.outcome(key) if entry["answered"] else None
                if outcome is not None:
                    return entry, outcome
        return None

    def keep(self, key: str, outcome: Outcome, facts: Mapping[str, object]) -> Entry:
        """Put the outcome on disk: what is long first, then the entry that names it."""
        values: dict[str, Any] = {
            "key": key, "evaluator": self.evaluator, **facts, "metrics": dict(outcome.metrics),
            "model_bytes": outcome.model_bytes, "details": self._write(key, outcome),
        }  # fmt: skip
        self._again.discard(key)
        self.entries[key] = self.ledger.append("evaluated", **values)
        return self.entries[key]

    def _read(self, entry: Entry) -> Outcome:
        details: dict[str, Any] = {}
        if entry["details"]:
            details = json.loads((self.ledger.folder / entry["details"]).read_bytes())
        return Outcome(
            entry["metrics"],
            details.get("examples", {}),
            {name: read_predictions(each) for name, each in details.get("predictions", {}).items()},
            "" if entry["answered"] else entry["reason"],
            entry["seconds"],
            entry["model_bytes"],
        )

    def _write(self, key: str, outcome: Outcome) -> str:
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
