"""The pace of a run, and what is shown of it."""

from __future__ import annotations

import json

import pytest

from mergegraph.cli.progress import Bar, Pace, pace_text, progress_json, state_text
from mergegraph.cli.reporters import JsonLines
from mergegraph.cli.terminal import has_colour, note
from mergegraph.errors import Location, Problem
from mergegraph.execute.events import Progress

HALF = Progress(
    state="merging", bytes_done=3 << 20, bytes_total=6 << 20, tensors_done=5, tensors_total=11,
    held_bytes=7 << 20, budget_bytes=13 << 20, tensor="lm_head.weight", seconds=2.0,
)  # fmt: skip


def test_pace_looks_at_the_last_five_seconds() -> None:
    pace = Pace()
    for second, done in ((0, 1000), (1, 1000), (2, 1000), (8, 1400), (10, 2000)):
        pace.observe(float(second), done)
    assert pace.bytes_per_second == pytest.approx(300)
    assert pace.seconds_left(900) == pytest.approx(3)


def test_bytes_from_an_earlier_run_are_not_pace() -> None:
    pace = Pace()
    pace.observe(0.0, 5_000_000)
    assert pace.bytes_per_second == 0
    assert pace.seconds_left(100) is None
    pace.observe(2.0, 5_000_100)
    assert pace.bytes_per_second == pytest.approx(50)


def test_the_line_of_a_terminal() -> None:
    pace = Pace()
    pace.observe(0.0, 0)
    pace.observe(2.0, 3 << 20)
    assert pace_text(HALF, pace) == " 50 %  3.0 MiB of 6.0 MiB  2 MB/s  2.0 s left"
    assert state_text(HALF, 17 << 20) == "merging 5 of 11  pool 7.0 MiB of 13.0 MiB  process 17.0 MiB  lm_head.weight"
    assert pace_text(Progress(), Pace()) == "  0 %  0 B of 0 B"


def test_the_object_of_a_program_is_json() -> None:
    shown = json.loads(json.dumps(progress_json(HALF, Pace(), 17 << 20)))
    assert shown["kind"] == "progress"
    assert shown["seconds_left"] is None
    assert shown["resident_bytes"] == 17 << 20
    assert shown["tensor"] == "lm_head.weight"


def test_progress_lines_come_at_most_five_times_a_second(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 1000.0
    monkeypatch.setattr("mergegraph.cli.reporters.time.monotonic", lambda: now)
    lines = JsonLines(last_only=False)
    for _ in range(100):
        lines.tick(HALF)
        now += 0.01
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_the_bar_follows_a_run_and_leaves_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    with Bar() as bar:
        bar.show(HALF, 17 << 20)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "3.0 MiB of 6.0 MiB" in shown.err
    assert "lm_head.weight" in shown.err
    assert shown.err.rstrip("\n").endswith("\x1b[2K")  # the last thing is a line erased


@pytest.mark.parametrize(
    ("terminal", "variables", "colour"),
    [(True, {}, True), (False, {}, False), (True, {"NO_COLOR": "1"}, False), (True, {"TERM": "dumb"}, False)],
)
def test_colour_is_for_terminals(
    terminal: bool,
    variables: dict[str, str],
    colour: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import sys

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    assert has_colour(sys.stderr) is colour
    note(str(Problem("It is wrong.", Location("x.yaml", 3), fix="mend it")))
    plain = "It is wrong.\n  where   x.yaml:3\n  fix     mend it\n"
    styled = "\x1b[1mIt is wrong.\x1b[0m\n\x1b[2m  where  \x1b[0m x.yaml:3\n\x1b[2m  fix    \x1b[0m mend it\n"
    assert capsys.readouterr().err == (styled if colour else plain)
