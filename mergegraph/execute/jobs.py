"""What workers take: tiles of jobs. A job is a computation over one tensor's elements, pass after pass.

The tiles of a pass may be performed in any order and by anyone; the next pass begins when all of them are done,
since it needs the statistics that they fed. Jobs of a stage run side by side, stages one after the other.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from mergegraph.execute.evaluate import Statistics
from mergegraph.execute.reduce import Accumulator, of_reduction
from mergegraph.plan.extent import Extent
from mergegraph.plan.groups import Place
from mergegraph.plan.program import Computation
from mergegraph.statistic import Found


@dataclass(eq=False)
class Job:
    """`members` are the tensors it writes, by root; none for a member of a population. `fed` are accumulators
    that belong to others, fed in the last pass."""

    computation: Computation
    cut: Extent
    tile: int
    members: tuple[Place, ...] = ()
    shared: tuple[Found, ...] = ()
    fed: tuple[Accumulator, ...] = ()
    index: int = 0
    found: list[Found | None] = field(init=False)
    accumulators: dict[int, Accumulator] = field(init=False)
    _next: int = 0
    _running: int = 0

    def __post_init__(self) -> None:
        own: list[Found | None] = [None] * len(self.computation.program.reductions)
        self.found = [*own, *self.shared]
        self._begin_pass()

    @property
    def statistics(self) -> Statistics:
        return Statistics(self.found, self.accumulators)

    @property
    def is_over(self) -> bool:
        return self.index == len(self.computation.program.passes)

    @property
    def waits(self) -> bool:
        """Whether every tile of this pass is handed out."""
        return self._next >= max(self.cut.elements, 1)

    def take(self) -> Tile:
        """The next tile of this pass."""
        start = self._next
        self._next += self.tile
        self._running += 1
        return Tile(self, self.index, start, min(self.tile, self.cut.elements - start))

    def done(self) -> bool:
        """A tile is performed. Whether that ended the pass."""
        self._running -= 1
        if self._running or not self.waits:
            return False
        for number, accumulator in self.accumulators.items():
            if number < len(self.found):
                result = accumulator.end_pass()
                self.found[number] = result
        self.index += 1
        if not self.is_over:
            self._begin_pass()
        return True

    def _begin_pass(self) -> None:
        program, before = self.computation.program, getattr(self, "accumulators", {})
        self._next = 0
        self.accumulators = {
            number: before.get(number) or of_reduction(program.reductions[number])
            for number in program.fed_in(self.index)
        }
        if self.index == len(program.passes) - 1:
            self.accumulators |= {len(self.found) + n: accumulator for n, accumulator in enumerate(self.fed)}


@dataclass(frozen=True, slots=True)
class Tile:
    """`elements` of a job from `start`, in pass `index`."""

    job: Job
    index: int
    start: int
    elements: int


Stage = tuple[Iterable[Job], Callable[[], None]]
"""Jobs that run side by side, and what to do when all are done."""


class Feed:
    """Hands out tiles, several small ones at a time, to any number of threads; blocks where a pass must end first.

    At most `side_by_side` jobs that accumulate something are begun at a time, so that it stays small.
    """

    def __init__(self, stages: Iterator[Stage], batch_elements: int, side_by_side: int) -> None:
        self._stages, self._batch_elements, self._side_by_side = stages, batch_elements, side_by_side
        self._condition = threading.Condition()
        self._jobs: Iterator[Job] = iter(())
        self._end_stage: Callable[[], None] = lambda: None
        self._active: set[Job] = set()
        self._open: deque[Job] = deque()
        self._counting: set[Job] = set()
        self._exhausted = self._closed = False

    def next(self) -> list[Tile]:
        """Tiles to perform, in order; none when there is nothing left to do."""
        with self._condition:
            while not self._closed:
                batch = self._batch()
                if batch:
                    return batch
                if self._active:
                    self._condition.wait()
                elif not self._next_stage():
                    self._closed = True
                    self._condition.notify_all()
            return []

    def done(self, tile: Tile) -> None:
        """A tile that was handed out is performed."""
        with self._condition:
            if tile.job.done():
                if tile.job.is_over:
                    self._active.remove(tile.job)
                else:
                    self._open.appendleft(tile.job)
                self._note(tile.job)
                self._condition.notify_all()

    def close(self) -> None:
        """Nobody gets any more tiles."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def _batch(self) -> list[Tile]:
        batch: list[Tile] = []
        elements = 0
        while elements < self._batch_elements:
            job = self._open[0] if self._open else self._begin()
            if job is None:
                break
            tile = job.take()
            if job.waits:
                self._open.popleft()
            batch.append(tile)
            elements += max(tile.elements, 1)
        return batch

    def _begin(self) -> Job | None:
        if self._exhausted or len(self._counting) >= self._side_by_side:
            return None
        job = next(self._jobs, None)
        if job is None:
            self._exhausted = True
            return None
        self._active.add(job)
        self._open.append(job)
        self._note(job)
        return job

    def _note(self, job: Job) -> None:
        """Keep in mind whether a job accumulates something in the pass that it is in now."""
        if job.is_over or not job.accumulators:
            self._counting.discard(job)
        else:
            self._counting.add(job)

    def _next_stage(self) -> bool:
        self._end_stage()
        self._end_stage = lambda: None
        stage = next(self._stages, None)
        if stage is None:
            return False
        jobs, self._end_stage = stage
        self._jobs, self._exhausted = iter(jobs), False
        return True
