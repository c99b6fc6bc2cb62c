"""The ring of one device: tiles are read into pinned memory, copied in, computed, copied out, written and hashed.

    readers      fill a stage's raw bytes
    conductor    gives three lanes their work: copies in, tiles, copies out; it waits for none of them
    writers      wait until a stage is back, hand its statistics on, write its bytes, and free it

A stage is one tile or many small ones, so that lanes and threads meet once a stage and not once a tensor.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue

from torch import Tensor

from mergegraph.execute.device import Device
from mergegraph.execute.device.reducing import Results, Rooms
from mergegraph.execute.device.tile import DeviceMemory, DeviceOps, DeviceTile
from mergegraph.execute.executors.stage import Piece, Stage, grouped, is_whole, read_pieces, written_pieces
from mergegraph.execute.factors import byte_view
from mergegraph.execute.finished import Finished
from mergegraph.execute.jobs import Tile
from mergegraph.execute.reduce import Scratch
from mergegraph.execute.views import read_view
from mergegraph.execute.work import Work
from mergegraph.plan.staging import READERS, WRITERS, Staging

Task = Callable[[], None]


class Ring:
    """The stages of one device and the threads that turn it. `done` is told of every tile, `fail` of every error."""

    def __init__(
        self,
        device: Device,
        staging: Staging,
        work: Work,
        done: Callable[[Tile], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self.device, self.staging, self.work, self.done, self.fail = device, staging, work, done, fail
        self.memory, self.stages = _allocated(device, staging)
        self.copy_in, self.compute, self.copy_out = device.lane(), device.lane(), device.lane()
        self._free: SimpleQueue[Stage | None] = SimpleQueue()
        self._reads: SimpleQueue[Task | None] = SimpleQueue()
        self._loaded: SimpleQueue[Stage | None] = SimpleQueue()
        self._writes: SimpleQueue[Task | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._scratch = threading.local()
        for stage in self.stages:
            self._free.put(stage)
        self.threads = [
            *[self._thread(f"read-{n}", partial(self._perform, self._reads)) for n in range(READERS)],
            self._thread("conduct", self._conduct),
            *[self._thread(f"write-{n}", partial(self._perform, self._writes)) for n in range(WRITERS)],
        ]

    def _thread(self, name: str, body: Callable[[], None]) -> threading.Thread:
        def guarded() -> None:
            try:
                body()
            except BaseException as error:  # handed to whoever waits, whatever it is
                self.fail(error)

        return threading.Thread(target=guarded, name=f"{self.device.name}-{name}")

    def put(self, tiles: Sequence[Tile]) -> None:
        """Give tiles to the device; waits for free stages. What is given after a failure is dropped."""
        stage: Stage | None = None
        for tile in tiles:
            if stage is None or not stage.add(tile, self.staging.stage):
                if stage is not None:
                    self._read(stage)
                stage = self._free.get()
                if stage is None:
                    return
                fits = stage.add(tile, self.staging.stage)
                assert fits, "a stage holds every tile by itself"
        if stage is not None:
            self._read(stage)

    def drain(self) -> None:
        """Wait until every stage is free, or something failed."""
        for _ in self.stages:
            if self._free.get() is None:
                return

    def end(self) -> None:
        """Every thread ends when it gets there: after `drain` for all work, at once after a failure."""
        self._free.put(None)
        self._loaded.put(None)
        for queue, count in ((self._reads, READERS), (self._writes, WRITERS)):
            for _ in range(count):
                queue.put(None)

    @staticmethod
    def _perform(tasks: SimpleQueue[Task | None]) -> None:
        while (task := tasks.get()) is not None:
            task()

    def _share(self, stage: Stage, tasks: Sequence[Task], queue: SimpleQueue[Task | None], then: Task) -> None:
        """Put a stage's tasks into a queue; the thread that ends the last one does what comes `then`."""
        stage.tasks = len(tasks) or 1

        def counted(task: Task) -> None:
            task()
            with self._lock:
                stage.tasks -= 1
                last = not stage.tasks
            if last:
                then()

        for task in tasks or [lambda: None]:
            queue.put(partial(counted, task))

    def _read(self, stage: Stage) -> None:
        tasks = [partial(self._fill, pieces) for pieces in grouped(read_pieces(stage))]
        self._share(stage, tasks, self._reads, lambda: self._loaded.put(stage))

    def _fill(self, pieces: list[Piece]) -> None:
        for part, stage, number, first, last in pieces:
            job, place = part.tile.job, part.reads[number]
            read = job.computation.reads[number]
            bits = 8 * (place.stop - place.start) // max(part.tile.elements, 1)
            content = byte_view(stage.here[0][place.start + first : place.start + last])
            read_view(read, part.tile.start * bits // 8 + first, content, self.work.source)

    def _conduct(self) -> None:
        while (stage := self._loaded.get()) is not None:
            used = stage.used
            self.copy_in.copy(stage.there[0][: used.raw], stage.here[0][: used.raw])
            self.compute.after(self.copy_in.record())
            self.compute.submit(partial(self._run, stage))
            self.copy_out.after(self.compute.record())
            for which, count in ((1, used.out), (2, used.results)):
                self.copy_out.copy(stage.here[which][:count], stage.there[which][:count])
            stage.back = self.copy_out.record()
            self._writes.put(partial(self._land, stage))

    def _run(self, stage: Stage) -> None:
        results = Results(stage.there[2], stage.here[2])
        for part in stage.parts:
            began = time.perf_counter()
            tile, job = part.tile, part.tile.job
            with self.work.named(job):
                part.computed = DeviceTile(
                    job.computation, tile.start, tile.elements, job.cut, job.statistics, self.memory,
                    {number: stage.there[0][place] for number, place in part.reads.items()},
                    {root: stage.there[1][place] for root, place in part.outs.items()},
                    results,
                )  # fmt: skip
                part.computed.perform(tile.index)
            self.work.spent(job, time.perf_counter() - began)

    def _land(self, stage: Stage) -> None:
        """A stage is back: its statistics first, then its bytes."""
        assert stage.back is not None
        stage.back.wait()
        for part in stage.parts:
            assert part.computed is not None
            for deliver in part.computed.delivered:
                deliver(self._own_scratch())
        tasks = [partial(self._write, pieces) for pieces in grouped(written_pieces(stage))]
        self._share(stage, tasks, self._writes, lambda: self._release(stage))

    def _own_scratch(self) -> Scratch:
        if not hasattr(self._scratch, "scratch"):
            self._scratch.scratch = Scratch()
        scratch: Scratch = self._scratch.scratch
        return scratch

    def _write(self, pieces: list[Piece]) -> None:
        for part, stage, root, first, last in pieces:
            tile, job, place = part.tile, part.tile.job, part.outs[root]
            bits = self.work.tensor(job.members[root]).dtype.bits
            content = byte_view(stage.here[1][place.start + first : place.start + last])
            nonfinite = overflowed = 0
            if not first and part.computed is not None:
                counted = next(each for each in part.computed.counted if each.root == root)
                nonfinite, overflowed = counted.nonfinite(tile.elements), counted.overflowed()
            elements = (last - first) * 8 // bits
            finished = Finished(root, content, nonfinite, overflowed)
            start = tile.start + first * 8 // bits
            self.work.finish(job.members[root], start, elements, finished, whole_blocks=is_whole(tile))

    def _release(self, stage: Stage) -> None:
        tiles = [part.tile for part in stage.parts]
        stage.clear()
        for tile in tiles:
            self.done(tile)
        self._free.put(stage)


def _allocated(device: Device, staging: Staging) -> tuple[DeviceMemory, list[Stage]]:
    """One pool on the device and one on the host, cut."""
    there, here = device.memory(staging.pool_bytes), device.pinned(staging.pinned_bytes // staging.devices)
    piece, at = staging.piece_elements, [0, 0]

    def cut(pool: int, nbytes: int) -> Tensor:
        first = at[pool]
        at[pool] = first + nbytes
        return (there, here)[pool][first : first + nbytes]

    sizes = (staging.stage.raw, staging.stage.out, staging.stage.results)
    slots = cut(0, staging.slot_bytes)
    rooms = Rooms(cut(0, 8 * piece), cut(0, 8 * piece), cut(0, piece), cut(0, piece))
    stages = [
        Stage(
            (cut(1, sizes[0]), cut(1, sizes[1]), cut(1, sizes[2])),
            (cut(0, sizes[0]), cut(0, sizes[1]), cut(0, sizes[2])),
        )
        for _ in range(staging.stages)
    ]
    return DeviceMemory(slots, rooms, DeviceOps(device.torch_device)), stages
