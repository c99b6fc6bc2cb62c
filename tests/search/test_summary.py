"""A ledger as plain values, at any moment of a search."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mergegraph.cli import main, searching
from mergegraph.search.ledger import Entry, read_ledger
from mergegraph.search.page import report
from mergegraph.search.plots import Series, plot, score_plot
from mergegraph.search.summary import Summary, summarise
from mergegraph.search.text import lines
from tests.search.searches import NAMES, run, write_search


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> tuple[Entry, ...]:
    """Those of a greedy search in which one model crashes."""
    folder = tmp_path_factory.mktemp("search")
    path = write_search(folder, evaluator={"python": "odd:score"}, limits={"evaluations": 50})
    (folder / "odd.py").write_text(
        "import judge\nfrom pathlib import Path\ndef score(model, split):\n"
        "    if Path(model).name == 'd':\n        raise ValueError('<b>no</b>')\n    return judge.score(model, split)\n"
    )
    run(path)
    return read_ledger(folder / "found")


def test_a_summary_can_be_made_at_every_moment(entries: tuple[Entry, ...]) -> None:
    summaries = [summarise(entries[:end]) for end in range(len(entries) + 1)]
    assert summaries[0] == Summary()
    assert [each.state for each in summaries[1:-1]] == ["running"] * (len(entries) - 1)
    assert summaries[-1].state == "ended"
    counts = [each.evaluations for each in summaries]
    assert counts == sorted(counts)
    started = next(i for i, entry in enumerate(entries) if entry["event"] == "started")
    assert summaries[started + 1].evaluating == entries[started]["label"]
    assert summaries[-1].evaluating == ""


def test_a_summary_holds_what_a_screen_shows(entries: tuple[Entry, ...]) -> None:
    summary = summarise(entries)
    assert (summary.kind, summary.splits, summary.goals) == ("greedy_soup", ("select", "test"), {"loss": "min"})
    assert summary.most_evaluations == 50
    assert [row.label for row in summary.rows[:4]] == list(NAMES)
    assert [row.number for row in summary.rows] == list(range(1, summary.evaluations + 1))
    (rejected,) = [row for row in summary.rows if row.reason]
    assert (rejected.label, rejected.score, rejected.reason) == ("d", None, "ValueError: <b>no</b>")
    accepted = [entry for entry in entries if entry["event"] == "decided" and entry["accepted"]]
    assert summary.best is not None
    assert summary.best.label == accepted[-1]["label"]
    assert summary.best.score == accepted[-1]["score"]
    assert summary.curve[-1].best == summary.best.score
    bests = [mark.best for mark in summary.curve if mark.best is not None]
    assert bests == sorted(bests)
    assert set(summary.reported) == {"loss"}


def test_a_line_is_in_the_summary_while_it_is_walked(tmp_path: Path) -> None:
    run(write_search(tmp_path, "line", between=["./models/a", "./models/d"], points=5, report_on=None))
    known = read_ledger(tmp_path / "found")
    half = next(i for i, e in enumerate(known) if e["event"] == "evaluated" and e["facts"]["share"] == 0.25)
    assert [share for share, _ in summarise(known[: half + 1]).segment] == [0.0, 0.25, 1.0]
    whole = summarise(known)
    assert [share for share, _ in whole.segment] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert set(whole.findings["line"]["barriers"]) == {"loss"}
    assert any("barrier" in line for line in lines(whole))


def test_the_report_is_one_file_that_needs_nothing(entries: tuple[Entry, ...]) -> None:
    page = report(summarise(entries))
    assert "<svg" in page
    assert "<script" not in page
    assert not re.search(r"(src|href)=.?(https?:)?//", page)
    assert "&lt;b&gt;no&lt;/b&gt;" in page
    assert "<b>no</b>" not in page


def test_a_plot_puts_every_point_where_it_belongs() -> None:
    drawn = plot([Series("·", "all", [(0, 1.0), (10, 3.0)]), Series("*", "best", [(5, 2.0)])], "t", width=30, height=5)
    assert drawn[0] == "t  · all  * best"
    rows = [row.partition("|")[2] for row in drawn[1:6]]
    width = 30 - 3
    assert rows[4][0] == "·"
    assert rows[0][width - 1] == "·"
    assert rows[2][width // 2] == "*"
    assert drawn[1].startswith("3 |")
    assert drawn[5].startswith("1 |")
    assert drawn[7].strip().split() == ["0", "10"]
    assert all(len(row) <= 30 for row in drawn)


def test_plots_of_next_to_nothing_are_none() -> None:
    assert plot([], "t") == []
    assert score_plot(Summary()) == []
    assert "running" in next(lines(Summary(name="x", kind="grid", splits=("dev",), state="running")))


def test_the_command_says_what_it_found_and_writes_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_search(tmp_path)
    assert main(["search", str(path)]) == 0
    said = capsys.readouterr()
    assert re.search(r"chosen    \w", said.out)
    assert re.search(r"mergegraph run \S+/found\.yaml", said.out)
    assert "accepted  " in said.err
    assert (tmp_path / "found" / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert main(["run", str(tmp_path / "found" / "found.yaml"), "--quiet"]) == 0
    capsys.readouterr()
    assert main(["search", str(path), "--quiet"]) == 0
    again = capsys.readouterr()
    assert (again.out, again.err) == ("", "")
    assert main(["search", str(path)]) == 0
    assert capsys.readouterr().out == said.out


def test_as_json_every_entry_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_search(tmp_path, "uniform", report_on=None)
    assert main(["search", str(path), "--json", "-o", str(tmp_path / "there")]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert said == [dict(entry) for entry in read_ledger(tmp_path / "there")]


def test_the_live_table_shows_the_last_rows_and_the_best(entries: tuple[Entry, ...]) -> None:
    from rich.console import Console

    console = Console(width=100, force_terminal=False, color_system=None)
    for end in range(1, len(entries) + 1):
        with console.capture() as captured:
            console.print(searching.table(summarise(entries[:end])))
    shown = captured.get()
    assert f"{summarise(entries).evaluations} of 50 evaluated" in shown
    assert "*" in shown
    assert "rejected: ValueError: <b>no</b>" in shown
