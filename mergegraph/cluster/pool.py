"""Where shards are made: a pool takes tasks as text, and says later what became of each."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import dataclass
from typing import Protocol

from mergegraph.errors import Problem

Ticket = Hashable


@dataclass(frozen=True, slots=True)
class Made:
    """A shard is complete on the shared disk. `seconds` are the worker's, bytes what it read and wrote."""

    seconds: float
    read_bytes: int
    write_bytes: int
    measured_bytes: int
    host: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A shard is not made. `may_pass`: the same task may well succeed elsewhere or later."""

    problems: tuple[Problem, ...]
    exit_code: int
    may_pass: bool


class Pool(Protocol):
    """Tickets are the pool's own; one whose task was given up is never heard of again."""

    def slots(self) -> int:
        """How many tasks run at once now; 0 while there is no machine for any."""
        ...

    def submit(self, task: str) -> Ticket:
        """Have a task performed somewhere (see `mergegraph.cluster.worker.perform`)."""
        ...

    def began(self, ticket: Ticket) -> float | None:
        """When a worker began a task, as `time.monotonic` tells; None while the task waits for one."""
        ...

    def wait(self, tickets: Collection[Ticket], seconds: float) -> Collection[Ticket]:
        """The tickets whose tasks have ended, once there is one or the time is over."""
        ...

    def outcome(self, ticket: Ticket) -> Made | Failed | str:
        """What became of a task that has ended; of one that asks for it, a kind of device."""
        ...

    def give_up(self, ticket: Ticket) -> None:
        """The task is not wanted any more. It may go on for a while: nobody looks at what it makes."""
        ...
