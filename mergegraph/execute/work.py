"""The tiles of a plan as jobs in order, and what happens to a finished tile: written, hashed, counted.

An executor decides who performs a task and when; the bytes do not depend on it.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from mergegraph.errors import Problem, RunError
from mergegraph.execute.accumulators import accumulator
from mergegraph.execute.arena import WorkerMemory, new_storage
from mergegraph.execute.destination import Destination
from mergegraph.execute.evaluate import evaluate
from mergegraph.execute.events import Progress, Publisher, TensorDone
from mergegraph.execute.finished import Finished
from mergegraph.execute.jobs import Job, Sampling, Stage, Tile
from mergegraph.execute.memory import give_back
from mergegraph.execute.quantile import Quantile
from mergegraph.execute.reduce import Accumulator
from mergegraph.execute.surveys import Surveys
from mergegraph.execute.timing import NodeTimes, has_room_to_look
from mergegraph.execute.views import Source, WithMeans
from mergegraph.expr import Stat
from mergegraph.plan.extent import Extent
from mergegraph.plan.groups import Gathering, Group, OutputTensor, Place, looked_at
from mergegraph.plan.groups import read_bytes as bytes_read
from mergegraph.plan.makers import MakersOf
from mergegraph.plan.plan import Output, Plan
from mergegraph.plan.program import Computation, computation
from mergegraph.statistic import Found
from mergegraph.tensors.checksum import BLOCK_ELEMENTS, block_digests, bytes_per_block, tensor_checksum

_ZEROS = 1 << 20
"""Padding is written in pieces of this many bytes."""


@dataclass(frozen=True, slots=True)
class Todo:
    """How much a run has to do: tensors and bytes, of which a shared read counts once in each pass."""

    computed: int
    copied: int
    read_bytes: int
    write_bytes: int


class Work:
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
        self.plan, self.folders, self.source, self.publisher = plan, folders, WithMeans(source), publisher
        self.allow_non_finite = allow_non_finite
        self.tile_elements: Callable[[Computation], int] = lambda work: plan.projection.tile_elements
        self._nonfinite: Counter[Place] = Counter()
        self._overflowed: Counter[Place] = Counter()
        self._times, self._makers = NodeTimes(may_look=has_room_to_look(plan)), MakersOf(plan)
        self.populations = dict(populations or {})
        self._digests: dict[Place, dict[int, bytes | None]] = {}
        self._elements_left: dict[Place, int] = {}
        self._lock = threading.Lock()
        self._reserved: list[Tensor] = []
        self.surveys = Surveys(plan.surveys, every_element=every_element)
        self._start_progress()

    def _start_progress(self) -> None:
        folders = zip(self.folders, self.plan.outputs, strict=True)
        self._bytes_done = sum(bytes_on_disk(folder, output) for folder, output in folders)
        self._tensors_done = sum(len(folder.finished) for folder in self.folders)
        self._latest = ("", "")
        self._tensors_total = sum(len(output.tensors) for output in self.plan.outputs)
        self.publish()

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

    def tensor(self, place: Place) -> OutputTensor:
        output, tensor = place
        return self.plan.outputs[output].tensors[tensor]

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

    @property
    def node_seconds(self) -> dict[str, float]:
        """Seconds of all workers together, by node (see `timing.py`)."""
        return self._times.by_node()

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

    def finish(self, place: Place, start: int, elements: int, finished: Finished, *, whole_blocks: bool = True) -> None:
        """A tile of a tensor is computed: check it, write it, hash it. Tiles that cut through blocks are hashed when
        the tensor is done, from disk."""
        output, tensor = self.plan.outputs[place[0]], self.tensor(place)
        if finished.nonfinite and not self.allow_non_finite:
            raise NonFinite(output, tensor, finished.nonfinite)
        folder = self.folders[place[0]]
        if elements:
            folder.write(tensor.name, start * tensor.dtype.bits // 8, finished.content)
        digests = block_digests(finished.content, bytes_per_block(tensor.dtype)) if whole_blocks else None
        with self._lock:
            collected = self._digests.setdefault(place, {})
            collected[start] = digests
            left = self._elements_left.get(place, tensor.element_count) - elements
            self._elements_left[place] = left
            self._nonfinite[place] += finished.nonfinite
            self._overflowed[place] += finished.overflowed
        if left == 0:
            self._tensor_done(place, output, tensor, folder)
        self._advance(output, tensor, finished.content.nbytes, left == 0)

    def _tensor_done(self, place: Place, output: Output, tensor: OutputTensor, folder: Destination) -> None:
        with self._lock:
            collected = self._digests.pop(place)
            del self._elements_left[place]
        digests = [digest for _, digest in sorted(collected.items()) if digest is not None]
        padded = self._pad(output, tensor, folder)
        whole = len(digests) == len(collected) and not padded
        checksum = tensor_checksum(digests) if whole else folder.checksum_of(tensor.name)
        folder.tensor_done(tensor.name, checksum, **self._facts(place))
        self.publisher.emit(TensorDone(output.node, tensor.name, checksum))

    def _pad(self, output: Output, tensor: OutputTensor, folder: Destination) -> int:
        """Write the rows of zeros that follow a tensor's own. How many bytes they are."""
        start, end = tensor.element_count * tensor.dtype.bits // 8, output.layout.specs[tensor.name].nbytes
        for offset in range(start, end, _ZEROS):
            folder.write(tensor.name, offset, memoryview(bytes(min(_ZEROS, end - offset))))
        with self._lock:
            self._bytes_done += end - start
        return end - start

    @property
    def nonfinite(self) -> dict[str, int]:
        """NaN and Inf by tensor name, over all outputs."""
        return self._by_name(self._nonfinite)

    @property
    def overflowed(self) -> dict[str, int]:
        """Finite values that the output dtype could not hold, by tensor name, over all outputs."""
        return self._by_name(self._overflowed)

    def _by_name(self, counts: Counter[Place]) -> dict[str, int]:
        totals: Counter[str] = Counter()
        for place, count in counts.items():
            totals[self.tensor(place).name] += count
        return dict(+totals)

    def facts(self, output: int) -> dict[str, dict[str, int]]:
        """Non-finite and overflowed elements of one output's tensors, for those that have any."""
        places = {place for place in (*+self._nonfinite, *+self._overflowed) if place[0] == output}
        return {self.tensor(place).name: self._facts(place) for place in places}

    def _facts(self, place: Place) -> dict[str, int]:
        counts = {"nonfinite": self._nonfinite[place], "overflowed": self._overflowed[place]}
        return {fact: count for fact, count in counts.items() if count}

    def _advance(self, output: Output, tensor: OutputTensor, nbytes: int, done: bool) -> None:
        with self._lock:
            self._bytes_done += nbytes
            self._tensors_done += done
            self._latest = (tensor.name, output.computed_by)
            if self.publisher.due():
                self.publish()

    def publish(self) -> None:
        """Bring the published record up to date."""
        memory = self.plan.projection
        self.publisher.update(
            Progress(
                bytes_done=self._bytes_done,
                bytes_total=self.plan.write_bytes,
                tensors_done=self._tensors_done,
                tensors_total=self._tensors_total,
                held_bytes=memory.pool_bytes,
                peak_bytes=memory.pool_bytes,
                budget_bytes=memory.budget_bytes,
                tensor=self._latest[0],
                node=self._latest[1],
                node_seconds=tuple(self.node_seconds.items()),
            )
        )


class NonFinite(RunError):
    """A computed tile holds NaN or Inf. The run finds out where they came from before it reports."""

    def __init__(self, output: Output, tensor: OutputTensor, count: int) -> None:
        self.output, self.tensor, self.count = output, tensor, count
        super().__init__(Problem(f"{tensor.name} is not finite.", tensor=tensor.name))


def bytes_on_disk(folder: Destination, output: Output) -> int:
    """Bytes of the tensors that an earlier run left on disk."""
    return sum(output.layout.specs[name].nbytes for name in folder.finished)
