"""Worker threads, each with its own memory and torch single-threaded: read, compute and write overlap across workers.

torch and the system calls release the interpreter lock, so two workers keep two processors busy.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch

from mergegraph.execute.control import Control
from mergegraph.execute.jobs import Feed
from mergegraph.execute.work import Work

_TICK_SECONDS = 0.1


def threads(work: Work, control: Control, tick: Callable[[], None]) -> None:
    """Perform every tile on the plan's number of workers. The first error ends the others and is raised."""
    projection = work.plan.projection
    feed = Feed(work.stages(), projection.tile_elements, projection.workers + 1)
    errors: list[BaseException] = []

    def worker() -> None:
        try:
            # Without what autograd keeps of every view and every write, an operation on a piece takes 0.3 us less.
            with torch.inference_mode():
                memory = work.memory()
                while not control.stopping and (batch := feed.next()):
                    for tile in batch:
                        control.wait_while_paused()
                        if control.stopping:
                            return
                        work.perform(tile, memory)
                        feed.done(tile)
        except BaseException as error:  # handed to the caller, whatever it is
            errors.append(error)
            control.fail()
        finally:
            feed.close()

    workers = [threading.Thread(target=worker, name=f"merge-{i}") for i in range(projection.workers)]
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
            feed.close()
        for each in workers:
            if each.ident is not None:
                each.join()
        torch.set_num_threads(previous)
    if errors:
        raise errors[0]
