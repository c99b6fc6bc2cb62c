"""The progress file read back: whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mergegraph.errors import Location, Problem, problem_from_json, problem_json
from mergegraph.runs.progress import Progress, parse_progress, read_progress

WHOLE = Progress("merging", 3, 7, 2, 5, 11, 13, 17, "a.weight", "merged", 1.5, (("merged", 0.25),), 1e9, 19)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    assert read_progress(tmp_path) is None
    (tmp_path / "progress.json").write_bytes(WHOLE.as_json())
    assert read_progress(tmp_path) == WHOLE


def test_a_torn_record_is_none() -> None:
    content = WHOLE.as_json()
    assert [parse_progress(content[:end]) for end in range(len(content))] == [None] * len(content)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"state": "asleep"}, "a state nobody knows"),
        ({"state": None}, "no state"),
        ({"bytes_done": "3"}, "a text for a number"),
        ({"bytes_done": 3.5}, "half a byte"),
        ({"bytes_done": -1}, "fewer than none"),
        ({"tensors_done": True}, "a truth for a number"),
        ({"seconds": float("nan")}, "no number"),
        ({"node_seconds": {"merged": 1}}, "no pairs"),
        ({"node_seconds": [["merged"]]}, "half a pair"),
    ],
)
def test_a_record_with_wrong_values_is_none(change: dict[str, object], reason: str) -> None:
    assert parse_progress(json.dumps({**json.loads(WHOLE.as_json()), **change}).encode()) is None, reason


def test_a_later_version_may_say_more_and_an_earlier_less() -> None:
    assert parse_progress(b'{"state": "paused", "mood": "fine"}') == Progress("paused")


def test_a_problem_survives_json() -> None:
    problem = Problem("It failed.", Location("a.yaml", 3), "merged", "w", "base", "so", "try", "warning")
    assert problem_from_json(json.loads(json.dumps(problem_json(problem)))) == problem
    assert problem_from_json({"fact": 3}) == Problem("")
