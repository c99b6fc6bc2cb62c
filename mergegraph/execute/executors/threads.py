"""Worker threads, each with one arena and torch single-threaded: read, compute and write overlap across workers.

torch and the system calls release the interpreter lock, so two workers keep two processors busy. Tasks are
handed out in order under one lock, several small tensors at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import torch

from mergegraph.execute.control import Control
from mergegraph.execute.work import Task, Work

_TICK_SECONDS = 0.1


def threads(work: Work, control: Control, tick: Callable[[], None]) -> None:
    """Perform every task on the plan's number of workers. The first error ends the others and is raised."""
    feed = _Feed(work.tasks(), work.plan.projection.tile_elements)
    errors: list[BaseException] = []

    def worker() -> None:
        try:
            arena = work.arena()
            while not control.stopping and (batch := feed.next()):
                for task in batch:
                    control.wait_while_paused()
                    if control.stopping:
                        return
                    work.perform(task, arena)
        except BaseException as error:  # handed to the caller, whatever it is
            errors.append(error)
            control.fail()

    workers = [threading.Thread(target=worker, name=f"merge-{i}") for i in range(work.plan.projection.workers)]
    previous = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for each in workers:
            each.start()
        while alive := [each for each in workers if each.is_alive()]:
            alive[0].join(_TICK_SECONDS)
            tick()
    finally:
        if any(each.is_alive() for each in workers):
            control.fail()
        for each in workers:
            if each.ident is not None:
                each.join()
        torch.set_num_threads(previous)
    if errors:
        raise errors[0]


class _Feed:
    """Hands out tasks in order: one tile, or small tensors that together make up about one."""

    def __init__(self, tasks: Iterator[Task], batch_elements: int) -> None:
        self._tasks, self._batch_elements = tasks, batch_elements
        self._lock = threading.Lock()

    def next(self) -> list[Task]:
        batch: list[Task] = []
        elements = 0
        with self._lock:
            while elements < self._batch_elements and (task := next(self._tasks, None)) is not None:
                batch.append(task)
                elements += task.elements
        return batch
