"""The tiles of a plan as jobs in order, and the computation of one. What happens to its results is in `results.py`.

An executor decides who performs a task and when; the bytes do not depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from mergegraph.errors import RunError
from mergegraph.execute.accumulators import accumulator
from mergegraph.execute.arena import WorkerMemory, new_storage
from mergegraph.execute.destination import Destination
from mergegraph.execute.evaluate import evaluate
from mergegraph.execute.events import Publisher
from mergegraph.execute.finished import Finished
from mergegraph.execute.jobs import Job, Sampling, Stage, Tile
from mergegraph.execute.memory import give_back
from mergegraph.execute.quantile import Quantile
from mergegraph.execute.reduce import Accumulator
from mergegraph.execute.results import NonFinite, Results
from mergegraph.execute.surveys import Surveys
from mergegraph.execute.views import Source, WithMeans
from mergegraph.expr import Stat
from mergegraph.plan.extent import Extent
from mergegraph.plan.groups import Gathering, Group, Place, looked_at
from mergegraph.plan.groups import read_bytes as bytes_read
from mergegraph.plan.makers import MakersOf
from mergegraph.plan.plan import Plan
from mergegraph.plan.program import Computation, computation
from mergegraph.statistic import Found
from mergegraph.tensors.checksum import BLOCK_ELEMENTS


@dataclass(frozen=True, slots=True)
class Todo:
    """How much a run has to do: tensors and bytes, of which a shared read counts once in each pass."""

    computed: int
    copied: int
    read_bytes: int
    write_bytes: int


class Work(Results):
    """What a run has to do. Tiles are handed out once, in the plan's order; results may arrive in any.

    `allow_non_finite`: NaN and Inf in computed tensors are counted instead of refused. `populations`: statistics of
    whole models that are known already.
    """

    def __init__(
        self,
        plan: Plan,
        folders: Sequence[Destination],
        source: Source,
        publisher: Publisher,
        *,
        allow_non_finite: bool = False,
        every_element: bool = False,
        populations: Mapping[Stat, Found] | None = None,
    ) -> None:
        super().__init__(plan, folders, publisher, allow_non_finite=allow_non_finite)
        self.source = WithMeans(source)
        self.tile_elements: Callable[[Computation], int] = lambda work: plan.projection.tile_elements
        self._makers = MakersOf(plan)
        self.populations = dict(populations or {})
        self._reserved: list[Tensor] = []
        self.surveys = Surveys(plan.surveys, every_element=every_element)

    def reserve(self) -> None:
        """Take the memory of all workers now. Where there is too little, this is the place to find out: a thread that
        is started without any may never say so (Python 3.11 waits for it for ever)."""
        projection = self.plan.projection
        self._reserved = [new_storage(projection.tile_set_bytes) for _ in range(projection.workers)]

    def memory(self) -> WorkerMemory:
        """One worker's memory."""
        with self._lock:
            reserved = self._reserved.pop() if self._reserved else None
        return WorkerMemory(reserved if reserved is not None else new_storage(self.plan.projection.tile_set_bytes))

    def stages(self) -> Iterator[Stage]:
        """What workers perform, in order: every pass over the populations, then the tensors that are not on disk."""
        if any(self.unfinished()):
            yield from self.gatherings()
        yield self._groups(), lambda: None

    def gatherings(self) -> Iterator[Stage]:
        """Every pass over the populations whose statistics are not known yet."""
        for gathering in self.plan.gatherings:
            stat = gathering.stat
            if stat in self.populations:
                continue
            found = accumulator(stat.kind, stat.parameters)
            sampling = self._sampling(gathering, found)
            while stat not in self.populations:
                yield self._members(gathering, found, sampling), partial(self._gathered, stat, found)
                sampling = None

    def _sampling(self, gathering: Gathering, found: Accumulator) -> Sampling | None:
        """How a population is sampled first: its members as one long tensor, where none needs a pass of its own."""
        simple = all([cut.unit == 1 and len(work.program.passes) == 1 for work, cut in gathering.members])
        if not isinstance(found, Quantile) or not simple:
            return None
        sampling = Sampling.over(sum(cut.elements for _, cut in gathering.members))
        if sampling:
            found.sample()
        return sampling

    def _members(self, gathering: Gathering, found: Accumulator, sampling: Sampling | None) -> Iterator[Job]:
        for position, (work, cut) in enumerate(gathering.members):
            if sampling is None or sampling.phase < cut.elements:
                kinds = self._times.kinds(self._makers.member(gathering, position), work.program)
                tile, shared = self._tile(work, cut), self.shared(work)
                yield Job(work, cut, tile, shared=shared, fed=(found,), sampling=sampling, kinds=kinds)
            sampling = sampling and sampling.after(cut.elements)

    def _gathered(self, stat: Stat, found: Accumulator) -> None:
        """A pass over a population is over; the last one gives the statistic."""
        result = found.end_pass()
        if result is not None:
            self.populations[stat] = result

    def _groups(self) -> Iterator[Job]:
        """A group keeps only its unfinished members."""
        for members, group in self.unfinished():
            work, measured = self._computation(members, group), self._measured(members, group)
            fed, tile = self.surveys.begin(measured, work), self._tile(work, group.extent)
            kinds = self._times.kinds(self._makers.group(members, measured, work), work.program)
            yield Job(work, group.extent, tile, members, self.shared(work), fed, kinds=kinds)

    def _computation(self, members: tuple[Place, ...], group: Group) -> Computation:
        """What computes these members of a group: the group's own where they are all."""
        if members == group.members:
            return group.computation
        measured = self._measured(members, group)
        feeds = [feed for place in measured for feed in looked_at(self.plan.surveys, place).feeds]
        return computation([self.tensor(place).root for place in members], feeds)

    def _measured(self, members: tuple[Place, ...], group: Group) -> tuple[Place, ...]:
        return tuple([place for place in group.measured if place in members])

    def shared(self, work: Computation) -> tuple[Found, ...]:
        """The statistics of populations that a computation needs."""
        return tuple([self.populations[stat] for stat in work.shared])

    def _tile(self, work: Computation, cut: Extent) -> int:
        return cut.tile(self.tile_elements(work))

    def unfinished(self) -> Iterator[tuple[tuple[Place, ...], Group]]:
        """The groups with the members that are not on disk yet."""
        for group in self.plan.groups:
            members = tuple(
                place for place in group.members if self.tensor(place).name not in self.folders[place[0]].finished
            )
            if members:
                yield members, group

    def todo(self) -> Todo:
        """What is not on disk yet, as when the run began."""
        groups = list(self.unfinished())
        tensors = [self.tensor(place) for members, _ in groups for place in members]
        copied = sum(tensor.is_copy for tensor in tensors)
        read_bytes = sum(bytes_read(self._computation(members, group)) for members, group in groups)
        unknown = [each for each in self.plan.gatherings if groups and each.stat not in self.populations]
        read_bytes += sum(each.passes * bytes_read(work) for each in unknown for work, _ in each.members)
        write_bytes = sum(tensor.element_count * tensor.dtype.bits // 8 for tensor in tensors)
        return Todo(len(tensors) - copied, copied, read_bytes, write_bytes)

    def count_tensors(self, wanted: Callable[[Computation], bool]) -> int:
        """How many tensors that are not on disk yet are computed so."""
        return sum([len(members) for members, group in self.unfinished() if wanted(group.computation)])

    def perform(self, tile: Tile, memory: WorkerMemory) -> None:
        """Compute one tile and write its results. RunError names the tensor that cannot be computed."""
        job = tile.job
        kind = job.kinds[tile.index] if job.kinds else None
        times = self._times.begin(kind) if kind is not None else None
        whole_blocks = job.tile % BLOCK_ELEMENTS == 0 or tile.elements == job.cut.elements
        with self.named(job):
            evaluate(
                job.computation, tile.start, tile.elements, memory.arena(job.computation, job.tile), self.source,
                lambda finished: self._finish_tile(tile, finished, whole_blocks=whole_blocks),
                index=tile.index, cut=job.cut, statistics=job.statistics, times=times,
            )  # fmt: skip
        if job.fed and job.computation.program.granularity == "matrix":
            # What is kept of statistics comes to lie between the buffers of kernels, which then find no room where
            # they had it before: 40 MiB more after 60 matrices of 2 MiB.
            give_back()
        if kind is not None and times is not None:
            self._times.add(kind, times)

    def spent(self, job: Job, seconds: float) -> None:
        """Count the time of a job as a whole, for the node that computes it."""
        if job.members:
            self._times.add_whole(self.plan.outputs[job.members[0][0]].computed_by, seconds)

    @contextmanager
    def named(self, job: Job) -> Generator[None]:
        """What a kernel refuses gets the tensor and the node that a person knows."""
        try:
            yield
        except RunError as error:
            if not job.members or isinstance(error, NonFinite) or any(each.tensor for each in error.problems):
                raise
            output, tensor = self.plan.outputs[job.members[0][0]], self.tensor(job.members[0])
            located = [replace(x.located(output.at, output.computed_by), tensor=tensor.name) for x in error.problems]
            raise RunError(*located) from error

    def _finish_tile(self, tile: Tile, finished: Finished, *, whole_blocks: bool) -> None:
        """A root of a tile. What is put together has other elements than the tile that it was made from."""
        place = tile.job.members[finished.root]
        elements = len(finished.content) * 8 // self.tensor(place).dtype.bits
        self.finish(place, tile.start, elements, finished, whole_blocks=whole_blocks)
