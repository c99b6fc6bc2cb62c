"""Who performs the tasks of a run: one executor a file. Each takes the work and a control, and returns when all
tasks are done, when it was asked to stop, or with the first error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mergegraph.execute.control import Control
from mergegraph.execute.work import Work


class Executor(Protocol):
    """Performs every task of `work`; calls `tick` a few times a second from the calling thread."""

    def __call__(self, work: Work, control: Control, tick: Callable[[], None]) -> None: ...
