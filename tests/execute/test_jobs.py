"""Who gets which tile, and when: passes wait for each other, stages too, and nobody waits for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from fractions import Fraction

import pytest

from mergegraph.execute.jobs import Feed, Job, Stage, Tile
from mergegraph.execute.quantile import Quantile
from mergegraph.expr import apply, cast, linear, read
from mergegraph.plan.extent import extent
from mergegraph.plan.program import computation
from mergegraph.statistic import Threshold, dot

X = read("x", "w", "F32", (10,), 0, 40)
Y = read("y", "w", "F32", (10,), 0, 40)


def plain(elements: int, tile: int) -> Job:
    work = computation([cast(linear([(Fraction(1, 2), X)], "weights"), "F32")])
    return Job(work, extent((elements,), "element"), tile, ((0, 0),))


def two_passes(elements: int, tile: int) -> Job:
    angle = apply("slerp", (X, Y), (("t", 0.5),), "weights", (dot(X, X), dot(Y, Y), dot(X, Y)))
    return Job(computation([cast(angle, "F32")]), extent((elements,), "element"), tile, ((0, 0),))


def stages(*each: list[Job]) -> Iterator[Stage]:
    return iter([(iter(jobs), lambda: None) for jobs in each])


def taken(batch: list[Tile]) -> list[tuple[int, int, int]]:
    return [(tile.index, tile.start, tile.elements) for tile in batch]


def test_a_batch_is_about_one_tile_and_may_span_jobs() -> None:
    feed = Feed(stages([plain(30, 100), plain(60, 100), plain(250, 100)]), 100, 3)
    assert [taken(feed.next()) for _ in range(3)] == [
        [(0, 0, 30), (0, 0, 60), (0, 0, 100)],
        [(0, 100, 100)],
        [(0, 200, 50)],
    ]


def test_an_empty_tensor_is_one_tile() -> None:
    feed = Feed(stages([plain(0, 100)]), 100, 3)
    (tile,) = feed.next()
    assert (tile.start, tile.elements) == (0, 0)
    feed.done(tile)
    assert feed.next() == []


def test_the_next_pass_begins_when_every_tile_of_the_last_is_done() -> None:
    feed = Feed(stages([two_passes(250, 100), two_passes(50, 100)]), 100, 1)
    first = [feed.next()[0] for _ in range(3)]
    assert {tile.index for tile in first} == {0}
    for tile in first[:2]:
        feed.done(tile)
    waiting: list[list[Tile]] = []
    waiter = threading.Thread(target=lambda: waiting.append(feed.next()))
    waiter.start()
    time.sleep(0.05)
    assert not waiting, "one job may be begun at a time, and its first pass is not over"
    feed.done(first[2])
    waiter.join(5)
    assert taken(waiting[0]) == [(1, 0, 100)]


def test_a_stage_begins_when_the_one_before_is_over() -> None:
    ended: list[str] = []
    made = iter([(iter([plain(10, 10)]), lambda: ended.append("one")), (iter([plain(10, 10)]), lambda: None)])
    feed = Feed(made, 10, 3)
    (tile,) = feed.next()
    assert ended == []
    feed.done(tile)
    (tile,) = feed.next()
    assert ended == ["one"]
    feed.done(tile)
    assert feed.next() == []


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_any_number_of_workers_does_everything_once(workers: int) -> None:
    jobs = [two_passes(n, 64) if n % 2 else plain(n, 64) for n in range(200)]
    feed = Feed(stages(jobs[:100], jobs[100:]), 64, workers + 1)
    done: list[Tile] = []

    def work() -> None:
        while batch := feed.next():
            for tile in batch:
                done.append(tile)
                feed.done(tile)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert all(job.is_over for job in jobs)
    for job in jobs:
        passes = len(job.computation.program.passes)
        covered = sum(tile.elements for tile in done if tile.job is job)
        assert covered == passes * job.cut.elements


def test_closing_wakes_who_waits() -> None:
    feed = Feed(stages([two_passes(50, 100)]), 100, 1)
    feed.next()
    woken: list[list[Tile]] = []
    waiter = threading.Thread(target=lambda: woken.append(feed.next()))
    waiter.start()
    time.sleep(0.02)
    feed.close()
    waiter.join(5)
    assert woken == [[]]


def test_accumulators_of_others_are_fed_and_not_finished() -> None:
    into = Quantile({"rank": "largest", "share": 0.5})
    job = Job(computation([], [(X,)]), extent((10,), "element"), 10, fed=(into,))
    job.take()
    assert job.statistics.fed == {0: into}
    assert job.done()
    assert job.is_over
    assert isinstance(job.found, list)
    assert not any(isinstance(each, Threshold) for each in job.found)
