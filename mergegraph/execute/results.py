"""What happens to a finished tile: it is checked, written, hashed and counted; and how far the run is by that.

Results may arrive in any order and from any thread.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence

from mergegraph.errors import Problem, RunError
from mergegraph.execute.destination import Destination
from mergegraph.execute.events import Progress, Publisher, TensorDone
from mergegraph.execute.finished import Finished
from mergegraph.execute.timing import NodeTimes, has_room_to_look
from mergegraph.plan.groups import OutputTensor, Place
from mergegraph.plan.plan import Output, Plan
from mergegraph.tensors.checksum import block_digests, bytes_per_block, tensor_checksum

_ZEROS = 1 << 20
"""Padding is written in pieces of this many bytes."""


class Results:
    """Of all outputs of a plan. `allow_non_finite`: NaN and Inf in computed tensors are counted instead of refused."""

    def __init__(
        self, plan: Plan, folders: Sequence[Destination], publisher: Publisher, *, allow_non_finite: bool
    ) -> None:
        self.plan, self.folders, self.publisher = plan, folders, publisher
        self.allow_non_finite = allow_non_finite
        self._nonfinite: Counter[Place] = Counter()
        self._overflowed: Counter[Place] = Counter()
        self._times = NodeTimes(may_look=has_room_to_look(plan))
        self._digests: dict[Place, dict[int, bytes | None]] = {}
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

    def tensor(self, place: Place) -> OutputTensor:
        output, tensor = place
        return self.plan.outputs[output].tensors[tensor]

    @property
    def node_seconds(self) -> dict[str, float]:
        """Seconds of all workers together, by node (see `timing.py`)."""
        return self._times.by_node()

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
