"""What workers take: tiles of jobs. A job is a computation over one tensor's elements, pass after pass.

The tiles of a pass may be performed in any order and by anyone; the next pass begins when all of them are done,
since it needs the statistics that they fed. Jobs of a stage run side by side, stages one after the other.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from mergegraph.execute.accumulators import of_reduction
from mergegraph.execute.finished import Statistics
from mergegraph.execute.quantile import Quantile
from mergegraph.execute.reduce import Accumulator
from mergegraph.execute.timing import Kind
from mergegraph.plan.extent import Extent
from mergegraph.plan.groups import Place
from mergegraph.plan.program import Computation
from mergegraph.statistic import Found

SAMPLE_RUN = 2_048
"""A sample is runs of so many elements."""
SAMPLE_RUNS = 32
"""So many of them are enough for a window of a few percent of the elements."""
_WORTH_SAMPLING = 1 << 20
"""With fewer elements the runs cost more than the pass that they save."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """A pass looks at runs of `SAMPLE_RUN` elements only, one in each `stride`, the first at `phase`."""

    stride: int
    phase: int = 0

    @classmethod
    def over(cls, elements: int) -> Sampling | None:
        """`SAMPLE_RUNS` runs over so many elements; None where that is not worth it."""
        return cls(elements // SAMPLE_RUNS) if elements >= _WORTH_SAMPLING else None

    def after(self, elements: int) -> Sampling:
        """The sampling of the tensor that follows one of `elements`, as if they were one long tensor."""
        return Sampling(self.stride, (self.phase - elements) % self.stride)


@dataclass(eq=False)
class Job:
    """`members` are the tensors it writes, by root; none for a member of a population, or where nothing is written.
    `fed` are accumulators that belong to others, fed in the last pass, which is `sampling` when they sample. `kinds`:
    where the time of each pass is counted; none where it is not."""

    computation: Computation
    cut: Extent
    tile: int
    members: tuple[Place, ...] = ()
    shared: tuple[Found, ...] = ()
    fed: tuple[Accumulator, ...] = ()
    sampling: Sampling | None = None
    kinds: tuple[Kind, ...] = ()
    index: int = 0
    found: list[Found | None] = field(init=False)
    accumulators: dict[int, Accumulator] = field(init=False)
    _given_sampling: Sampling | None = field(init=False)
    _next: int = 0
    _running: int = 0

    def __post_init__(self) -> None:
        own: list[Found | None] = [None] * len(self.computation.program.reductions)
        self.found = [*own, *self.shared]
        self._given_sampling = self.sampling
        self.accumulators = {}
        self._begin_pass()

    @property
    def statistics(self) -> Statistics:
        return Statistics(self.found, self.accumulators)

    @property
    def is_over(self) -> bool:
        return self.index == len(self.computation.program.passes)

    @property
    def is_last_pass(self) -> bool:
        return self.index == len(self.computation.program.passes) - 1

    @property
    def waits(self) -> bool:
        """Whether every tile of this pass is handed out."""
        return self._next >= max(self.cut.elements, 1)

    def take(self) -> Tile:
        """The next tile of this pass."""
        start = self._next
        stride, length = (self.sampling.stride, SAMPLE_RUN) if self.sampling else (self.tile, self.tile)
        self._next += stride
        self._running += 1
        return Tile(self, self.index, start, min(length, self.cut.elements - start))

    def done(self) -> bool:
        """A tile is performed. Whether that ended the pass."""
        self._running -= 1
        if self._running or not self.waits:
            return False
        self._end_pass()
        self._begin_pass()
        return True

    def _end_pass(self) -> None:
        """What is found is noted. The pass is gone through again where something should be found in it and is not."""
        unfinished = False
        for number, accumulator in self.accumulators.items():
            if number < len(self.found):
                self.found[number] = accumulator.end_pass()
                unfinished |= self.found[number] is None and self._is_due(number)
        self.index += not unfinished

    def _is_due(self, number: int) -> bool:
        """Whether a reduction is fed for the last time in this pass, as planned."""
        reduction = self.computation.program.reductions[number]
        return self.index == reduction.first_pass + reduction.passes - 1

    def _begin_pass(self) -> None:
        """The next pass that has anything to do: statistics may be found earlier than planned."""
        program, before = self.computation.program, self.accumulators
        wanted = self._unfound()
        while not wanted and self.index < len(program.passes) - 1:
            self.index += 1
            wanted = self._unfound()
        if self.is_over:
            return
        self.accumulators = {n: before.get(n) or of_reduction(program.reductions[n]) for n in wanted}
        if self.is_last_pass:
            self.accumulators |= {len(self.found) + n: accumulator for n, accumulator in enumerate(self.fed)}
        self._next = 0
        self.sampling = self._given_sampling if self.fed and self.is_last_pass else self._own_sampling()
        if self.sampling:
            self._next = self.sampling.phase

    def _unfound(self) -> list[int]:
        """The reductions that this pass feeds and that are not found yet."""
        return [number for number in self.computation.program.fed_in(self.index) if self.found[number] is None]

    def _own_sampling(self) -> Sampling | None:
        """Quantiles that begin look at a sample first, where nothing else is fed and any run may be a tile."""
        beginning = [each for each in self.accumulators.values() if isinstance(each, Quantile) and each.may_sample]
        if not beginning or len(beginning) < len(self.accumulators) or self.cut.unit > 1:
            return None
        sampling = Sampling.over(self.cut.elements)
        if sampling:
            for each in beginning:
                each.sample()
        return sampling


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
