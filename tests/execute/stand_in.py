"""The processor in place of a device, for tests: lanes are threads that dawdle, memory starts as rubbish.

Whatever is not ordered by an event runs in another order here, sooner or later: a copy out before the arithmetic, a
stage filled again before it was written.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

import torch

from mergegraph.execute.device import Event, Lane
from mergegraph.execute.devices import Devices

Work = Callable[[], None]


class StandInEvent:
    def __init__(self) -> None:
        self.passed = threading.Event()
        self.error: BaseException | None = None

    def wait(self) -> None:
        self.passed.wait()
        if self.error is not None:
            raise self.error


class StandInLane:
    """A thread with a queue. What fails is raised by events behind it; the rest is dropped."""

    def __init__(self, seconds: float, seed: int) -> None:
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._random, self._seconds = random.Random(seed), seconds
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._perform, daemon=True)
        self._thread.start()

    def _perform(self) -> None:
        while (work := self._queue.get()) is not None:
            if self._seconds and self._random.random() < 0.5:
                time.sleep(self._random.random() * self._seconds)
            try:
                if self._error is None or getattr(work, "always", False):
                    work()
            except BaseException as error:
                self._error = error

    def submit(self, work: Work) -> None:
        self._queue.put(work)

    def copy(self, into: torch.Tensor, source: torch.Tensor) -> None:
        assert into.numel() == source.numel()
        self._queue.put(lambda: _copied(into, source))

    def record(self) -> Event:
        event = StandInEvent()

        def passed() -> None:
            event.error = self._error
            event.passed.set()

        passed.always = True  # type: ignore[attr-defined]
        self._queue.put(passed)
        return event

    def after(self, event: Event) -> None:
        self._queue.put(event.wait)

    def end(self) -> None:
        self._queue.put(None)
        self._thread.join()


def _copied(into: torch.Tensor, source: torch.Tensor) -> None:
    into.copy_(source)


class StandIn:
    """A device of `size_bytes`. `seconds`: a lane waits up to so long before what it does."""

    torch_device = torch.device("cpu")

    def __init__(self, name: str = "stand-in:0", *, seconds: float = 0.002, size_bytes: int = 1 << 30) -> None:
        self.name, self.seconds, self.size_bytes = name, seconds, size_bytes
        self.lanes: list[StandInLane] = []
        self.allocated = self.pinned_bytes = 0
        self.closed = False

    def free_bytes(self) -> int:
        return self.size_bytes

    def memory(self, nbytes: int) -> torch.Tensor:
        if nbytes > self.size_bytes:
            raise torch.OutOfMemoryError(f"{nbytes} bytes of {self.size_bytes}")
        self.allocated += nbytes
        return torch.full((nbytes,), 0xAB, dtype=torch.uint8)

    def pinned(self, nbytes: int) -> torch.Tensor:
        self.pinned_bytes += nbytes
        return torch.full((nbytes,), 0xCD, dtype=torch.uint8)

    def lane(self) -> Lane:
        lane = StandInLane(self.seconds, len(self.lanes))
        self.lanes.append(lane)
        return lane

    def peak_bytes(self) -> int:
        return self.allocated

    def close(self) -> None:
        for lane in self.lanes:
            lane.end()
        self.lanes.clear()
        self.closed = True


def stand_ins(count: int = 1, *, budget_bytes: int | None = None, **options: float) -> Devices:
    """`count` stand-ins as a run takes them."""
    devices = [StandIn(f"stand-in:{n}", **options) for n in range(count)]  # type: ignore[arg-type]
    return Devices("stand-in", "stand-in", devices, budget_bytes)
