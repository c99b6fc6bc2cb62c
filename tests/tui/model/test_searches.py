"""What the Search screen says, from ledgers as plain values; and a ledger that is followed."""

from __future__ import annotations

import gc
import json
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from mergegraph_tui.model import runs, searches
from mergegraph_tui.model.run_rows import Room
from mergegraph_tui.model.search_rows import candidate_rows, first_plot, head_rows, plots, ranks, result_rows, share
from mergegraph_tui.model.searches import FollowedSearch, SearchView, search_at

from mergegraph.errors import RecipeError
from mergegraph.search.summary import summarise
from tests.search.searches import write_search
from tests.tui.screens import search_stage as stage

ROOM = Room(100, 5)


def text(rows: list[Any]) -> list[str]:
    return ["".join(part for part, _ in row).rstrip() for row in rows]


def view(entries: list[dict[str, Any]], **values: Any) -> SearchView:
    return SearchView(Path("found"), Path("search.yaml"), summarise(entries), **values)


def test_the_best_has_the_first_rank_and_a_proposal_none() -> None:
    rows = summarise(stage.greedy()).rows
    rank = ranks(rows)
    by_rank = {rank[row.number]: row.label for row in rows if row.number in rank}
    assert by_rank[1] == "soup_5 + soup_4"
    assert sorted(by_rank) == list(range(1, len(rank) + 1))
    without = {row.label for row in rows if row.number not in rank}
    assert without == {"soup_10", "soup_5 + soup_4"}, "the one that crashed, and the proposal of what was accepted"


def test_every_candidate_says_whether_it_was_accepted_or_why_not() -> None:
    rows = text(candidate_rows(summarise(stage.greedy()), ROOM))
    assert rows[0].split() == ["rank", "candidate", "score", "time"]
    assert rows[1].strip().split("  ")[0].split() == ["1", "*", "soup_5", "+", "soup_4"]
    assert rows[1].endswith("accepted: better by 0.25")
    assert any(row.endswith("left out: worse by 0.5") for row in rows)
    assert any("rejected: ValueError" in row for row in rows)
    in_order = text(candidate_rows(summarise(stage.greedy()), ROOM, by_rank=False))
    assert in_order[1].split()[1] == "soup_0"
    assert len(in_order) == len(rows)


LIMITS = {"evaluations": None, "hours": None}


@pytest.mark.parametrize(
    ("values", "used", "reason"),
    [
        ({"limits": LIMITS | {"evaluations": 4}}, 0.5, "two of four"),
        ({"limits": LIMITS | {"hours": 0.86 / 3600}}, 1.0, "the time is up"),
        ({"limits": LIMITS | {"evaluations": 4, "hours": 1.075 / 3600}}, 0.8, "what is nearer to its end counts"),
        ({"count": 8}, 0.25, "a grid of eight"),
        ({}, None, "nothing limits it"),
    ],
)
def test_progress_is_told_against_the_limits(values: dict[str, Any], used: float | None, reason: str) -> None:
    entries = [stage.begun("grid", "g", **values), *(stage.evaluated(str(n), {"accuracy": n}) for n in range(2))]
    assert share(view(entries, pid=1)) == (used if used is None else pytest.approx(used)), reason
    rows = text(head_rows(view(entries, pid=1), ROOM))
    assert rows[1].endswith(f"{int(100 * used)} %") if used is not None else rows[1] == "no limit is set", reason


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ({}, "stopped"), ({"pid": 7}, "running"), ({"pid": 7, "is_stopping": True}, "stopping"),
        ({"is_starting": True}, "starting"),
    ],
)  # fmt: skip
def test_the_state_is_a_word(values: dict[str, Any], state: str) -> None:
    assert text(head_rows(view(stage.running(), **values), ROOM))[0].split()[1] == state


def test_the_result_shows_both_splits_and_what_comes_next() -> None:
    rows = text(result_rows(view(stage.ended(), found=Path("found/found.yaml"))))
    assert rows[0] == "soup_5 + soup_4"
    assert next(row for row in rows if row.startswith("accuracy")).split() == ["accuracy", "97.5", "98.66"]
    assert rows[-1] == "found/found.yaml"
    said = text(result_rows(view([], said="No candidate.\n  fix  name one")))
    assert said[:2] == ["No candidate.", "  fix  name one"]


def test_scores_and_every_metric_along_a_line_are_plots() -> None:
    whole = summarise(stage.line())
    assert list(plots(whole)) == ["score", "loss", "accuracy"]
    assert first_plot(whole) == "loss"
    curve, straight = plots(whole)["loss"].lines
    assert curve.values[5] == 2.84
    assert straight.values[0] == 0.12
    assert straight.values[5] == pytest.approx(0.13)
    ends_and_one = [entry for entry in stage.line() if entry.get("facts", {}).get("share") in (None, 0.0, 0.3, 1.0)]
    half = plots(summarise(ends_and_one[:4]))["loss"]
    assert [place for place, value in enumerate(half.lines[0].values) if value is not None] == [0, 3, 10]
    assert first_plot(summarise(stage.greedy())) == "score"


def test_a_ledger_is_followed_from_its_folder(tmp_path: Path) -> None:
    place = stage.put(tmp_path / "found", stage.running())
    (tmp_path / "greedy-soup.yaml").write_text("search: greedy_soup\n")
    followed = FollowedSearch(place)
    assert followed.view.state == "stopped", "nobody runs it"
    assert followed.view.file == tmp_path / "greedy-soup.yaml", "the ledger says which file"
    before = followed.view
    assert followed.look() is before, "nothing is new"
    with (place / "ledger.jsonl").open("a") as ledger:
        for entry in stage.ended()[len(stage.running()) - 1 :]:
            ledger.write(json.dumps(entry) + "\n")
    assert followed.look().state == "done"
    assert followed.view.found is None, "the recipe is not there"
    (place / "found.yaml").write_text("mergegraph: 1\n")
    assert followed.look().found == place / "found.yaml"


def test_a_line_that_is_no_entry_is_said(tmp_path: Path) -> None:
    place = stage.put(tmp_path / "found", stage.greedy())
    with (place / "ledger.jsonl").open("a") as ledger:
        ledger.write("[]\n")
    assert "ledger.jsonl:" in FollowedSearch(place).view.said


def test_a_folder_and_a_file_are_told_from_what_is_no_search(tmp_path: Path) -> None:
    path = write_search(tmp_path)
    found = search_at(path)
    assert found is not None
    assert (found.place.resolve(), found.view.state) == (tmp_path / "found", "not begun")
    assert search_at(tmp_path) is None
    (tmp_path / "merge.yaml").write_text("mergegraph: 1\nnodes: {}\n")
    assert search_at(tmp_path / "merge.yaml") is None
    stage.put(tmp_path / "found", stage.greedy())
    assert search_at(tmp_path / "found") is not None
    with pytest.raises(RecipeError):
        search_at(write_search(tmp_path, metrics={"loss": "least"}))


@pytest.fixture
def lingering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FollowedSearch]:
    """One that was begun from here, and let go of its folder without having ended."""
    monkeypatch.setattr(searches, "IGNORING_SIGHUP", ("sh", "-c", "exec sleep 60"))
    (tmp_path / "greedy-soup.yaml").write_text("search: greedy_soup\n")
    followed = FollowedSearch(stage.put(tmp_path / "found", stage.running()))
    monkeypatch.setattr(searches, "writer", lambda place: 7)
    assert followed.start() is None
    assert followed.view.pid == 7
    monkeypatch.setattr(searches, "writer", lambda place: 0)
    child = followed.look().pid
    yield followed
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    followed.close()
    while is_kept(child):
        runs.reap()
        sleep(0.01)


def is_kept(pid: int) -> bool:
    return any(child.pid == pid for child in runs._children)


def test_a_search_lives_until_its_process_has_ended(lingering: FollowedSearch, monkeypatch: pytest.MonkeyPatch) -> None:
    before = lingering.view
    assert before.state == "running"
    assert lingering.start() is None
    assert lingering.look() is before, "none is begun beside it"
    asked: list[tuple[int, int]] = []
    with monkeypatch.context() as patched:
        patched.setattr(os, "kill", lambda pid, number: asked.append((pid, number)))
        assert lingering.stop()
    assert asked == [(before.pid, signal.SIGINT)]
    assert lingering.look().state == "stopping"
    os.kill(before.pid, signal.SIGTERM)
    while lingering.look().pid:
        sleep(0.01)
    assert lingering.view.state == "stopped"
    assert lingering.view.said == f"mergegraph search ended with code {-signal.SIGTERM}"


def test_a_search_that_is_followed_no_more_goes_on(lingering: FollowedSearch) -> None:
    pid = lingering.view.pid
    lingering.close()
    gc.collect()
    os.kill(pid, 0)
    assert is_kept(pid), "its end is taken note of"
