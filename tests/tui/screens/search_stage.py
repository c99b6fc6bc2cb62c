"""Ledgers of searches over digit models, as they were at one moment: what the pictures of the Search screen are of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergegraph_tui.model.searches import SearchView

from mergegraph.search.summary import summarise

Metrics = Mapping[str, float]

SINGLES = (96.75, 94.0, 95.5, 95.5, 96.75, 97.25, 94.25, 96.5, 95.25, 93.75)
"""Accuracy of ten fine-tunes on the select split."""
SOUPS = ((4, 97.5, True), (0, 97.25, False), (7, 97.0, False), (2, 97.25, False))
"""Who is added to what was accepted, the accuracy, and whether it was accepted."""


def begun(kind: str, name: str, **values: Any) -> dict[str, Any]:
    common = {
        "event": "begun", "search": kind, "name": name, "content": "c", "evaluator": "e",
        "metrics": {"accuracy": {"direction": "max"}}, "splits": ["select", "test"],
        "limits": {"evaluations": None, "hours": None}, "file": f"../{name}.yaml", "count": None,
    }  # fmt: skip
    return common | values


def evaluated(label: str, metrics: Metrics, **values: Any) -> dict[str, Any]:
    common = {
        "event": "evaluated", "key": f"{label} {values}", "label": label, "split": "select", "status": "ok",
        "reason": "", "metrics": dict(metrics), "score": metrics.get("accuracy", -metrics.get("loss", 0.0)),
        "seconds": 0.31, "made_seconds": 0.12, "facts": {}, "proposal": False,
        "same_as": "", "answered": bool(metrics), "evaluator": "e", "digest": "", "timeout": None, "details": "",
        "model_bytes": 544_552,
    }  # fmt: skip
    return common | values


def decided(label: str, accepted: bool, why: str, score: float) -> dict[str, Any]:
    return {"event": "decided", "label": label, "accepted": accepted, "why": why, "score": score}


def greedy(steps: int = len(SOUPS)) -> list[dict[str, Any]]:
    """A greedy soup after so many steps; one of the models crashed."""
    entries = [begun("greedy_soup", "greedy-soup", limits={"evaluations": 24, "hours": 0.5})]
    for number, accuracy in enumerate(SINGLES):
        metrics = {"accuracy": accuracy, "loss": 0.3 - accuracy / 600, "calibration_error": 1.5 + number / 10}
        entries.append(evaluated(f"soup_{number}", metrics))
    reason = "ValueError: vit.embeddings.patch.weight is not finite"
    entries.append(evaluated("soup_10", {}, status="rejected", reason=reason, score=None))
    entries.append(decided("soup_5", True, "the best single model", 97.25))
    soup = "soup_5"
    best = 97.25
    for added, accuracy, accepted in SOUPS[:steps]:
        label = f"{soup} + soup_{added}"
        metrics = {"accuracy": accuracy, "loss": 0.0948 + (97.5 - accuracy) / 60, "calibration_error": 1.2}
        entries.append(evaluated(label, metrics, proposal=True))
        if accepted:
            entries.append(evaluated(label, metrics))
            soup, why = label, f"better by {accuracy - best:g}"
            best = accuracy
        else:
            why = f"worse by {best - accuracy:g}"
        entries.append(decided(label, accepted, why, best))
    return entries


def running() -> list[dict[str, Any]]:
    started = {"event": "started", "key": "k", "label": "soup_5 + soup_4 + soup_2", "split": "select"}
    return [*greedy(len(SOUPS) - 1), started]


def ended() -> list[dict[str, Any]]:
    reported = {"accuracy": 98.66, "loss": 0.078, "calibration_error": 1.1}
    return [
        *greedy(),
        {"event": "reported", "label": "soup_5 + soup_4", "split": "test", "metrics": reported},
        {"event": "ended", "state": "done", "label": "soup_5 + soup_4"},
    ]


def line() -> list[dict[str, Any]]:
    """Between two trainings from different random weights."""
    losses = (0.12, 0.35, 0.9, 1.7, 2.5, 2.84, 2.4, 1.5, 0.8, 0.3, 0.14)
    entries = [begun("line", "line-unrelated", metrics={"loss": {"direction": "min"}}, splits=["test"], count=11)]
    for step, loss in enumerate(losses):
        label = f"{step / 10:g} of the way from soup_5 to other_init"
        metrics = {"loss": loss, "accuracy": 98.0 - 30 * loss}
        entries.append(evaluated(label, metrics, split="test", score=-loss, facts={"share": step / 10}))
    barriers = {"loss": {"height": 2.71, "error": 0.05, "share": 0.5}}
    findings = {"line": {"ends": ["soup_5", "other_init"], "points": [], "barriers": barriers}}
    return [
        *entries, decided("0 of the way from soup_5 to other_init", True, "the first", -0.12),
        {"event": "found", "findings": findings}, {"event": "ended", "state": "done", "label": ""},
    ]  # fmt: skip


def put(folder: Path, entries: Sequence[Mapping[str, Any]]) -> Path:
    """The folder of a search with this ledger, and the recipe that it found."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ledger.jsonl").write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
    return folder


@dataclass
class StillSearch:
    """A search that is seen at one moment for ever."""

    view: SearchView

    @property
    def place(self) -> Path:
        return self.view.place

    def begin(self) -> None:
        pass

    def close(self) -> None:
        pass

    def look(self) -> SearchView:
        return self.view

    def stop(self) -> bool:
        return False


def still(entries: Sequence[Mapping[str, Any]], **values: Any) -> StillSearch:
    place = Path("out/search/greedy-soup")
    return StillSearch(SearchView(place, Path("greedy-soup.yaml"), summarise(entries), **values))
