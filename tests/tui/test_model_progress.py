"""Pace, time left and shares from records, with a clock of the test's own."""

from __future__ import annotations

from dataclasses import replace

import pytest
from mergegraph_tui.model.progress import Follower, NodeTime, Pace, clock_text, node_times
from mergegraph_tui.model.runs import Progress

MERGING = Progress("merging", 0, 9_700, 0, 5, 300, 500, 1_000, "a", "merged")


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def paced(clock: Clock, moments: list[tuple[float, int]]) -> Pace:
    """`moments`: (seconds since the moment before, bytes done)."""
    pace = Pace(clock)
    for seconds, done in moments:
        clock.now += seconds
        pace.observe(done)
    return pace


def test_a_steady_pace_is_told_exactly() -> None:
    pace = paced(Clock(), [(0.1, 70 * n) for n in range(60)])
    assert pace.bytes_per_second == pytest.approx(700)
    assert pace.mean_bytes_per_second == pytest.approx(700)
    assert pace.top_bytes_per_second == pytest.approx(700)
    assert pace.seconds_left(70 * 59 + 1_400) == pytest.approx(2)


def test_the_last_ten_seconds_weigh_most() -> None:
    """A minute at 1,000, then ten seconds at 100: 63 % of the weight is with the new pace."""
    clock = Clock()
    pace = paced(clock, [(0.1, 100 * n) for n in range(600)] + [(0.1, 59_900 + 10 * n) for n in range(1, 101)])
    assert pace.bytes_per_second == pytest.approx(100 + 900 * 0.368, rel=0.01)
    assert pace.mean_bytes_per_second == pytest.approx(60_900 / 69.9)


@pytest.mark.parametrize(
    ("moments", "total", "is_told", "reason"),
    [
        ([(0.0, 0)], 1_000, False, "one moment"),
        ([(0.0, 0), (1.0, 19)], 1_000, False, "neither 3 s nor 2 %"),
        ([(0.0, 0), (1.0, 20)], 1_000, True, "2 %"),
        ([(0.0, 0), (2.9, 19)], 1_000, False, "just before 3 s"),
        ([(0.0, 0), (3.0, 1)], 1_000, True, "3 s"),
        ([(0.0, 500), (1.0, 519)], 1_000, False, "what an earlier run left is no pace"),
        ([(0.0, 0), (4.0, 0)], 1_000, False, "nothing moves"),
        ([(0.0, 0), (0.0, 500)], 1_000, False, "no time has passed"),
    ],
)
def test_when_the_time_left_is_told(moments: list[tuple[float, int]], total: int, is_told: bool, reason: str) -> None:
    assert (paced(Clock(), moments).seconds_left(total) is not None) == is_told, reason


def test_a_pause_is_no_time() -> None:
    clock, follower = Clock(), None
    follower = Follower(clock)
    for n in range(40):
        clock.now += 0.1
        shown = follower.observe(replace(MERGING, bytes_done=11 * n))
    assert shown is not None
    pace = shown.bytes_per_second
    for state in ("paused", "paused", "merging"):
        clock.now += 3_600
        shown = follower.observe(replace(MERGING, state=state, bytes_done=429))  # type: ignore[arg-type]
    assert shown is not None
    assert shown.bytes_per_second == pytest.approx(pace)
    assert shown.mean_bytes_per_second == pytest.approx(110)
    assert [line.text for line in shown.log] == [
        "merging, tensor 0 of 5, 9.5 KiB to write, budget 1000 B", "paused, tensor 0 of 5", "merging, tensor 0 of 5"
    ]  # fmt: skip


def test_a_moment_is_ready_to_be_drawn() -> None:
    clock = Clock()
    follower = Follower(clock, samples=2)
    assert follower.observe(None) is None
    follower.observe(replace(MERGING, node_seconds=(("a", 1.0), ("b", 3.0))))
    clock.now += 4
    follower.observe(replace(MERGING, bytes_done=4_850, tensor="b", tensors_done=1))
    follower.note("b: rows 3 and 5 are not finite")
    shown = follower.observe(None)
    assert shown is not None
    assert shown.progress.tensor == "b"
    assert (shown.share, shown.held_share) == (0.5, 0.3)
    assert shown.tensors == ("b", "a")
    assert shown.held == (300, 300)
    assert shown.seconds_left == pytest.approx(4)
    assert shown.log[-1].text.startswith("b: rows")


def test_time_by_node() -> None:
    timed = replace(MERGING, node_seconds=(("a", 1.0), ("b", 3.0)))
    assert node_times(timed) == (NodeTime("a", 1.0, 0.25), NodeTime("b", 3.0, 0.75))
    assert node_times(replace(MERGING, node_seconds=(("a", 0.0),))) == (NodeTime("a", 0.0, 0.0),)


def test_a_new_run_in_the_same_place_begins_anew() -> None:
    pace = paced(Clock(), [(0.0, 0), (1.0, 500), (1.0, 100)])
    assert pace.mean_bytes_per_second == 500


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "--:--"), (0.4, "00:00"), (67, "01:07"), (59.6, "01:00"), (7_509, "2:05:09")]
)
def test_a_time_as_a_clock_shows_it(seconds: float | None, text: str) -> None:
    assert clock_text(seconds) == text
