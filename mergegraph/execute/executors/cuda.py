"""Tiles on one or more devices, each with a ring of stages; what has no form for a device on the host's workers.

One feed serves all. A dispatcher for each device takes what the feed has: a device's tiles go into its ring, the
others to the workers. Bytes do not depend on which device computed a tile, or on how many there are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue

import torch

from mergegraph.errors import DoesNotFit, Problem
from mergegraph.execute.control import Control
from mergegraph.execute.device import Device
from mergegraph.execute.executors.staging import Ring
from mergegraph.execute.jobs import Feed, Tile
from mergegraph.execute.work import Work
from mergegraph.plan.staging import JOBS, Staging, has_device_form

_TICK_SECONDS = 0.1


class OnDevices:
    """The executor: `devices` with a ring each, as `staging` says."""

    def __init__(self, devices: Sequence[Device], staging: Staging) -> None:
        self.devices, self.staging = devices, staging

    def __call__(self, work: Work, control: Control, tick: Callable[[], None]) -> None:
        """Perform every tile. The first error ends everything and is raised, DoesNotFit where a device is full."""
        previous = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            _Run(self.devices, self.staging, work, control).perform(tick)
        except torch.OutOfMemoryError as error:
            raise DoesNotFit(_full(self.staging, error)) from error
        finally:
            torch.set_num_threads(previous)
            for device in self.devices:
                device.close()


class _Run:
    """One run: dispatchers, rings and workers."""

    def __init__(self, devices: Sequence[Device], staging: Staging, work: Work, control: Control) -> None:
        self.work, self.control = work, control
        self.errors: list[BaseException] = []
        self.hosted: SimpleQueue[Tile | None] = SimpleQueue()
        host, self.workers_count = work.plan.projection, work.plan.projection.workers
        work.tile_elements = lambda each: staging.tile_elements if has_device_form(each) else host.tile_elements
        side_by_side = max(JOBS, self.workers_count + 1)
        self.feed = Feed(work.stages(), staging.tile_elements, side_by_side)
        self.rings = [Ring(device, staging, work, self.feed.done, self.fail) for device in devices]
        self.workers = [threading.Thread(target=self._work, name=f"merge-{n}") for n in range(self.workers_count)]
        self.dispatchers = [threading.Thread(target=self._dispatch, args=(ring,), name=f"feed-{ring.device.name}")
                            for ring in self.rings]  # fmt: skip

    def perform(self, tick: Callable[[], None]) -> None:
        threads = [*self.workers, *(thread for ring in self.rings for thread in ring.threads), *self.dispatchers]
        try:
            for thread in threads:
                thread.start()
            self._watch(self.dispatchers, tick)
            if not self.errors:
                self._end_workers()
                self._watch(self.workers, tick)
                self._end_rings()
            self._watch(threads, tick)
        except BaseException as error:
            self.fail(error)
        finally:
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
        if self.errors:
            raise self.errors[0]

    def _watch(self, threads: Sequence[threading.Thread], tick: Callable[[], None]) -> None:
        """Until all of them have ended, a few ticks a second."""
        while alive := [each for each in threads if each.is_alive()]:
            alive[0].join(_TICK_SECONDS)
            tick()
            if self.control.stopping:
                self.feed.close()

    def fail(self, error: BaseException) -> None:
        """Keep the first error, and let every thread end at the next thing that it waits for."""
        self.errors.append(error)
        self.control.fail()
        self.feed.close()
        self._end_rings()
        self._end_workers()

    def _end_workers(self) -> None:
        for _ in self.workers:
            self.hosted.put(None)

    def _end_rings(self) -> None:
        for ring in self.rings:
            ring.end()

    def _dispatch(self, ring: Ring) -> None:
        """Hand out what the feed has until there is no more, then wait until this device's stages are back."""
        try:
            while not self.control.stopping and (batch := self.feed.next()):
                self.control.wait_while_paused()
                if self.control.stopping:
                    break
                for tile in batch:
                    if not has_device_form(tile.job.computation):
                        self.hosted.put(tile)
                ring.put([tile for tile in batch if has_device_form(tile.job.computation)])
            self.feed.close()
            if not self.errors:
                ring.drain()
        except BaseException as error:  # handed to the caller, whatever it is
            self.fail(error)

    def _work(self) -> None:
        try:
            memory = self.work.memory()
            while (tile := self.hosted.get()) is not None:
                self.control.wait_while_paused()
                if self.control.stopping:
                    return
                self.work.perform(tile, memory)
                self.feed.done(tile)
        except BaseException as error:  # handed to the caller, whatever it is
            self.fail(error)


def _full(staging: Staging, error: torch.OutOfMemoryError) -> Problem:
    """The device was promised more than it has: somebody else uses it too, or a kernel took more than was counted."""
    mebibytes = max(staging.device_bytes // 2**21, 1)
    return Problem(
        "The device has too little memory for the run.",
        why=str(error).split("\n")[0],
        fix=f"--device-budget {mebibytes}MiB, or --device cpu",
    )
