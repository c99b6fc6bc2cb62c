"""Statistics of what a recipe would make, or of models, with nothing written: the tiles of a run, only measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from mergegraph.errors import Interrupted, Problem
from mergegraph.execute import counting, singular
from mergegraph.execute.control import Control, stop_on_signals
from mergegraph.execute.events import Progress, Publisher
from mergegraph.execute.executors.threads import threads
from mergegraph.execute.jobs import Job, Tile
from mergegraph.execute.memory import (
    bound_arenas,
    heap_set_aside,
    peak_bytes,
    refusals_as_problems,
    resident_bytes,
    warm_up,
)
from mergegraph.execute.spectra import with_spectra
from mergegraph.execute.views import Source
from mergegraph.execute.work import Work
from mergegraph.plan.groups import Group, Place
from mergegraph.plan.plan import Plan
from mergegraph.plan.spectra import plan_spectra
from mergegraph.stats.record import Record
from mergegraph.tensors.reader import FileReader


@dataclass(frozen=True)
class Surveyed:
    """The records, in the order of the plan's surveys, and what they took; bytes as in `Report`."""

    records: tuple[Record, ...]
    read_bytes: int
    reserved_bytes: int
    budget_bytes: int
    pool_bytes: int
    measured_bytes: int
    seconds: float
    node_seconds: Mapping[str, float] = field(default_factory=dict[str, float])


def survey_plan(
    plan: Plan,
    *,
    every_element: bool = False,
    tier: int = 1,
    publisher: Publisher | None = None,
    control: Control | None = None,
    on_tick: Callable[[], None] = lambda: None,
) -> Surveyed:
    """Measure a plan that writes nothing. DoesNotFit, RunError or Interrupted when it cannot be finished.

    `every_element`: count all elements of large tensors too, not a sample; several times slower.
    `tier` 2: find the leading singular values of every matrix too, in a pass of its own.
    """
    plan.validate()
    spectra = plan_spectra(plan) if tier > 1 else None
    bound_arenas()
    began = time.monotonic()
    publisher, control = publisher or Publisher(), control or Control()
    with refusals_as_problems(plan.projection.pool_bytes), stop_on_signals(control), heap_set_aside():
        warm_up()
        counting.warm_up()
        if spectra:
            singular.warm_up()
        reserved = resident_bytes()
        with FileReader({file.path: file.identity for file in plan.inputs}) as reader:
            more = spectra.read_bytes if spectra else 0
            work = _Looking(plan, reader.read_into, publisher, more, every_element=every_element)
            work.reserve()
            publisher.state("merging")
            threads(work, control, on_tick)
            records = tuple([work.surveys.record(index) for index in range(len(plan.surveys))])
            if spectra:
                records = with_spectra(records, spectra, work.source, control, work.advance, on_tick, work.shared)
            reader.require_unchanged()
        if control.signal is not None:
            raise Interrupted(Problem("Stopped: nothing was written.", fix="run the same command again"))
    return Surveyed(
        records=records,
        read_bytes=plan.read_bytes + (spectra.read_bytes if spectra else 0),
        reserved_bytes=reserved,
        budget_bytes=plan.projection.budget_bytes,
        pool_bytes=max(plan.projection.pool_bytes, spectra.pool_bytes if spectra else 0),
        measured_bytes=peak_bytes(),
        seconds=time.monotonic() - began,
    )


class _Looking(Work):
    """The work of a plan without outputs on disk: every job only feeds accumulators. `more_bytes` are read after it."""

    def __init__(
        self, plan: Plan, source: Source, publisher: Publisher, more_bytes: int = 0, *, every_element: bool
    ) -> None:
        self._more_bytes = more_bytes
        super().__init__(plan, (), source, publisher, allow_non_finite=True, every_element=every_element)

    def _start_progress(self) -> None:
        self._bytes_done = self._tensors_done = 0
        self._tensors_total = sum(len(group.measured) for group in self.plan.groups)
        self._total = self.plan.read_bytes + self._more_bytes
        self.publish()

    def unfinished(self) -> Iterator[tuple[tuple[Place, ...], Group]]:
        yield from [((), group) for group in self.plan.groups]

    def _groups(self) -> Iterator[Job]:
        for group in self.plan.groups:
            work = group.computation
            fed = self.surveys.begin(group.measured, work)
            yield Job(work, group.extent, self._tile(work, group.extent), (), self.shared(work), fed)

    def perform(self, tile: Tile, memory: object) -> None:
        super().perform(tile, memory)  # pyright: ignore[reportArgumentType]
        if tile.job.is_last_pass:
            fetched = sum(x.fetched_bytes for x in tile.job.computation.reads)
            self.advance(tile.elements * fetched // max(tile.job.cut.elements, 1))

    def advance(self, done_bytes: int) -> None:
        """So many more bytes are read and measured."""
        with self._lock:
            self._bytes_done += done_bytes
            if self.publisher.due():
                self.publish()

    def publish(self) -> None:
        projection = self.plan.projection
        self.publisher.update(
            Progress(
                bytes_done=self._bytes_done,
                bytes_total=self._total,
                tensors_done=0,
                tensors_total=self._tensors_total,
                held_bytes=projection.pool_bytes,
                peak_bytes=projection.pool_bytes,
                budget_bytes=projection.budget_bytes,
                tensor="",
                node="",
            )
        )
