"""The tiles of a plan as tasks in order, and what happens to a finished tile: written, hashed, counted.

An executor decides who performs a task and when; the bytes do not depend on it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mergegraph.errors import Problem, RunError
from mergegraph.execute.evaluate import Arena, Finished, Source, evaluate
from mergegraph.execute.events import Progress, Publisher, TensorDone
from mergegraph.plan.plan import Group, Output, OutputTensor, Plan
from mergegraph.plan.program import Computation, computation
from mergegraph.tensors.checksum import block_digests, bytes_per_block, tensor_checksum
from mergegraph.tensors.writer import OutputFolder

Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Task:
    """One tile of one group: `elements` from `start` of every member that is not on disk yet."""

    members: tuple[Place, ...]
    computation: Computation
    start: int
    elements: int


class Work:
    """What a run has to do. Tasks are handed out once, in the plan's order; results may arrive in any.

    `allow_non_finite`: NaN and Inf in computed tensors are counted instead of refused.
    """

    def __init__(
        self,
        plan: Plan,
        folders: Sequence[OutputFolder],
        source: Source,
        publisher: Publisher,
        *,
        allow_non_finite: bool = False,
    ) -> None:
        self.plan, self.folders, self.source, self.publisher = plan, folders, source, publisher
        self.allow_non_finite = allow_non_finite
        self._nonfinite: Counter[Place] = Counter()
        self._overflowed: Counter[Place] = Counter()
        self.node_seconds: defaultdict[str, float] = defaultdict(float)
        self._digests: dict[Place, dict[int, bytes]] = {}
        self._elements_left: dict[Place, int] = {}
        self._lock = threading.Lock()
        self._start_progress()

    def _start_progress(self) -> None:
        folders = zip(self.folders, self.plan.outputs, strict=True)
        self._bytes_done = sum(bytes_on_disk(folder, output) for folder, output in folders)
        self._tensors_done = sum(len(folder.finished) for folder in self.folders)
        self._latest = ("", "")
        self._tensors_total = sum(len(output.tensors) for output in self.plan.outputs)
        self.publish()

    def arena(self) -> Arena:
        """One worker's memory."""
        return Arena(self.plan.projection.shape, self.plan.projection.tile_elements)

    def tensor(self, place: Place) -> OutputTensor:
        output, tensor = place
        return self.plan.outputs[output].tensors[tensor]

    def tasks(self) -> Iterator[Task]:
        """Every tile that is not on disk yet, in order. A group keeps only its unfinished members."""
        tile = self.plan.projection.tile_elements
        for members, group in self.unfinished():
            steps = computation([self.tensor(place).root for place in members])
            for start in range(0, max(group.element_count, 1), tile):
                yield Task(members, steps, start, min(tile, group.element_count - start))

    def unfinished(self) -> Iterator[tuple[tuple[Place, ...], Group]]:
        """The groups with the members that are not on disk yet."""
        for group in self.plan.groups:
            members = tuple(
                place for place in group.members if self.tensor(place).name not in self.folders[place[0]].finished
            )
            if members:
                yield members, group

    def perform(self, task: Task, arena: Arena) -> None:
        """Compute one task and write its results. RunError names the tensor that cannot be computed."""
        began = time.perf_counter()
        evaluate(
            task.computation, task.start, task.elements, arena, self.source,
            lambda finished: self.finish(task.members[finished.root], task.start, task.elements, finished),
        )  # fmt: skip
        node = self.plan.outputs[task.members[0][0]].computed_by
        with self._lock:
            self.node_seconds[node] += time.perf_counter() - began

    def finish(self, place: Place, start: int, elements: int, finished: Finished) -> None:
        """A tile of a tensor is computed: check it, write it, hash it."""
        output, tensor = self.plan.outputs[place[0]], self.tensor(place)
        if finished.nonfinite and not self.allow_non_finite:
            raise NonFinite(output, tensor, finished.nonfinite)
        folder = self.folders[place[0]]
        if elements:
            folder.write(tensor.name, start * tensor.dtype.bits // 8, finished.content)
        digests = block_digests(finished.content, bytes_per_block(tensor.dtype))
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

    def _tensor_done(self, place: Place, output: Output, tensor: OutputTensor, folder: OutputFolder) -> None:
        with self._lock:
            collected = self._digests.pop(place)
            del self._elements_left[place]
        checksum = tensor_checksum(collected[start] for start in sorted(collected))
        folder.tensor_done(tensor.name, checksum, **self._facts(place))
        self.publisher.emit(TensorDone(output.node, tensor.name, checksum))

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


def bytes_on_disk(folder: OutputFolder, output: Output) -> int:
    """Bytes of the tensors that an earlier run left on disk."""
    return sum(output.layout.specs[name].nbytes for name in folder.finished)
