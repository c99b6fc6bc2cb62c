"""Hands the shards of a plan out to a pool until an attempt at each is complete.

A shard whose worker is lost, or whose disk or network fails, is tried again; one that nobody hears of for much longer
than the others took gets a second attempt beside the first, and whichever ends first counts: attempts are files of
their own, so neither harms the other. What was complete before, of an earlier driver that died too, is not made again.
"""

from __future__ import annotations

import json
import statistics
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from mergegraph.cluster.pool import Failed, Made, Pool, Ticket
from mergegraph.errors import DoesNotFit, Interrupted, MergegraphError, OutputError, Problem, RunError
from mergegraph.execute.adopting import missing_shards, partial_of, standings
from mergegraph.execute.control import Control, stop_on_signals
from mergegraph.execute.sharing import gather, part_of
from mergegraph.expr import Stat
from mergegraph.plan.plan import Plan
from mergegraph.plan.shards import Shard, only
from mergegraph.plan.task import Task, task_json
from mergegraph.statistic import Found
from mergegraph.tensors.lock import FolderLock
from mergegraph.tensors.partial import ATTEMPTS, LOCK, failing_as_output
from mergegraph.units import format_count

_CLASSES: Mapping[int, type[MergegraphError]] = {1: RunError, 2: OutputError, 3: DoesNotFit}


@dataclass(frozen=True)
class Policy:
    """`retries` of a shard before the run fails. A shard is given another attempt, up to `most_attempts` at once, when
    the newest takes `patience` times the median of those that are done, and at least `least_patience_seconds`; before
    any is done, `first_patience_seconds`. One that waits for a worker takes no time yet. A cluster without a worker is
    waited for `empty_seconds`."""

    retries: int = 3
    poll_seconds: float = 5.0
    patience: float = 5.0
    least_patience_seconds: float = 120.0
    first_patience_seconds: float = 900.0
    most_attempts: int = 3
    empty_seconds: float = 300.0


@dataclass(frozen=True)
class Asked:
    """How workers are to make shards. `device` and `kind` as in `devices_for`; bytes and threads are of one worker."""

    threads: int | None = None
    device: str = "cpu"
    kind: str = "cpu"
    device_budget_bytes: int | None = None
    allow_non_finite: bool = False
    overwrite: bool = False


@dataclass
class Progress:
    """What the driver has so far. `again`: attempts that were made because an earlier one failed, by shard.
    `trouble`: why the last of them failed. `waits_for`: after how many seconds the driver gives up, while the cluster
    has no worker; else 0."""

    total: int
    done: int = 0
    running: int = 0
    already: int = 0
    read_bytes: int = 0
    write_bytes: int = 0
    again: Counter[Shard] = field(default_factory=Counter[Shard])
    second: int = 0
    hosts: Counter[str] = field(default_factory=Counter[str])
    measured_bytes: int = 0
    waits_for: float = 0.0
    trouble: str = ""


def drive(
    plan: Plan,
    pool: Pool,
    asked: Asked,
    *,
    policy: Policy | None = None,
    control: Control | None = None,
    on_tick: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Have an attempt at every shard made; afterwards `adopt` puts them together. Raises what a worker reports that
    will not pass, RunError when a shard fails again and again, Interrupted after a signal."""
    plan.validate()
    control = control or Control()
    with ExitStack() as stack:
        stack.enter_context(stop_on_signals(control))
        for output in plan.outputs:
            with failing_as_output(partial_of(output), output.layout):
                _hold(partial_of(output), stack)
        return _Driver(plan, pool, asked, policy or Policy(), control, on_tick).run()


def kind_of_workers(pool: Pool, device: str, seconds: float = 120.0) -> str:
    """The kind of `device` that a worker has, which decides the bytes. Raises what the worker says of it; RunError
    where none answers."""
    if device in ("auto", "cpu"):
        return "cpu"
    ticket = pool.submit(json.dumps({"device": device, "device_budget_bytes": None}))
    if not pool.wait([ticket], seconds):
        pool.give_up(ticket)
        fact = f"No worker answered in {seconds:.0f} s."
        raise RunError(Problem(fact, fix="look at the cluster with `ray status`, and run the same command again"))
    outcome = pool.outcome(ticket)
    if isinstance(outcome, Failed):
        raise _CLASSES.get(outcome.exit_code, RunError)(*outcome.problems)
    assert isinstance(outcome, str), "a device is asked for"
    return outcome


def _hold(partial: Path, stack: ExitStack) -> None:
    """Take the output for this driver. A folder that is left with nothing in it goes again."""
    partial.mkdir(parents=True, exist_ok=True)
    lock = FolderLock.take(partial / LOCK)
    (partial / ATTEMPTS).mkdir(exist_ok=True)

    def let_go() -> None:
        lock.release()
        attempts = partial / ATTEMPTS
        with suppress(OSError):
            if not attempts.is_dir() or not any(attempts.iterdir()):
                (partial / LOCK).unlink(missing_ok=True)
                attempts.rmdir() if attempts.is_dir() else None
                partial.rmdir()

    stack.callback(let_go)


class _Driver:
    def __init__(
        self,
        plan: Plan,
        pool: Pool,
        asked: Asked,
        policy: Policy,
        control: Control,
        on_tick: Callable[[Progress], None],
    ) -> None:
        self._plan, self._pool, self._asked, self._policy = plan, pool, asked, policy
        self._control, self._on_tick = control, on_tick
        missing = missing_shards(standings(plan, asked.kind, overwrite=asked.overwrite))
        self._queue = deque(missing)
        self._wanted = set(missing)
        self._running: dict[Ticket, Shard] = {}
        self._empty_since: float | None = None
        self._seconds: list[float] = []
        total = sum([len(output.layout.files) for output in plan.outputs])
        self._progress = Progress(total, already=total - len(missing))
        self._populations: Mapping[Stat, Found] = {}

    def run(self) -> Progress:
        if self._wanted:
            self._populations = gather(only(self._plan, self._wanted), control=self._control)
        try:
            while self._wanted:
                self._submit()
                for ticket in self._pool.wait(list(self._running), self._policy.poll_seconds):
                    self._ended(ticket)
                self._watch()
                self._tell()
                if self._control.signal is not None:
                    raise self._interrupted()
        finally:
            for ticket in list(self._running):
                self._pool.give_up(ticket)
        return self._progress

    def _submit(self) -> None:
        slots = self._pool.slots()
        self._require_workers(slots)
        while self._queue and len(self._running) < slots:
            shard = self._queue.popleft()
            if shard in self._wanted:
                self._start(shard)

    def _require_workers(self, slots: int) -> None:
        """RunError where the cluster has had no worker for too long: the engine would wait for one without end."""
        now, policy = time.monotonic(), self._policy
        if slots or self._empty_since is None:
            self._empty_since = None if slots else now
        elif now - self._empty_since > policy.empty_seconds:
            kept = self._progress.done + self._progress.already
            raise RunError(
                Problem(
                    f"The cluster has had no node that can make a shard for {policy.empty_seconds:.0f} s.",
                    why=f"all were lost; {kept} of {format_count(self._progress.total, 'shard')} are complete and kept",
                    fix="start nodes with `ray start --address HOST:6379`, and run the same command again",
                )
            )
        self._progress.waits_for = 0.0 if slots else policy.empty_seconds

    def _start(self, shard: Shard) -> None:
        part = part_of(self._plan, [shard], self._asked.kind)
        task = Task(part.plan, tuple(part.keys), self._populations)
        asked = self._asked
        message = {
            "task": task_json(task),
            "threads": asked.threads,
            "device": asked.device,
            "kind": asked.kind,
            "device_budget_bytes": asked.device_budget_bytes,
            "allow_non_finite": asked.allow_non_finite,
            "part": self._name(shard),
        }
        ticket = self._pool.submit(json.dumps(message, separators=(",", ":")))
        self._running[ticket] = shard

    def _ended(self, ticket: Ticket) -> None:
        shard = self._running.pop(ticket)
        outcome = self._pool.outcome(ticket)
        assert not isinstance(outcome, str), "only a shard is asked for here"
        if shard not in self._wanted:
            return
        if isinstance(outcome, Made):
            self._made(shard, outcome)
        else:
            self._failed(shard, outcome)

    def _made(self, shard: Shard, made: Made) -> None:
        self._wanted.discard(shard)
        self._seconds.append(made.seconds)
        progress = self._progress
        progress.done += 1
        progress.read_bytes += made.read_bytes
        progress.write_bytes += made.write_bytes
        progress.measured_bytes = max(progress.measured_bytes, made.measured_bytes)
        progress.hosts[made.host] += 1
        for ticket, other in list(self._running.items()):
            if other == shard:
                del self._running[ticket]
                self._pool.give_up(ticket)

    def _failed(self, shard: Shard, failed: Failed) -> None:
        if not failed.may_pass:
            raise _CLASSES.get(failed.exit_code, RunError)(*failed.problems)
        if shard in self._running.values():
            return  # the other attempt may still be made
        self._progress.again[shard] += 1
        self._progress.trouble = failed.problems[0].fact
        if self._progress.again[shard] > self._policy.retries:
            times = self._policy.retries + 1
            first, *rest = failed.problems
            fact = f"{self._name(shard)} could not be made in {times} attempts: {first.fact}"
            raise RunError(
                Problem(fact, first.at, first.node, first.tensor, why=first.why,
                        fix="mend that and run the same command again: complete shards are kept"), *rest,
            )  # fmt: skip
        self._queue.appendleft(shard)

    def _watch(self) -> None:
        """Another attempt for what takes too long: its worker may be cut off, and the engine may not notice. What waits
        for a worker would only wait twice."""
        now, patience = time.monotonic(), self._patience()
        newest: dict[Shard, float] = {}
        for ticket, shard in self._running.items():
            began = self._pool.began(ticket)
            newest[shard] = max(now if began is None else began, newest.get(shard, 0.0))
        attempts = Counter(self._running.values())
        for shard, began in newest.items():
            if now - began > patience and attempts[shard] < self._policy.most_attempts:
                self._progress.second += 1
                self._start(shard)

    def _patience(self) -> float:
        policy = self._policy
        if not self._seconds:
            return policy.first_patience_seconds
        return max(policy.least_patience_seconds, policy.patience * statistics.median(self._seconds))

    def _tell(self) -> None:
        self._progress.running = len(self._running)
        self._on_tick(self._progress)

    def _interrupted(self) -> Interrupted:
        kept = self._progress.done + self._progress.already
        return Interrupted(
            Problem(
                f"Stopped: {kept} of {format_count(self._progress.total, 'shard')} are complete.",
                why="workers were told to end; complete shards are kept",
                fix="run the same command again to go on",
            )
        )

    def _name(self, shard: Shard) -> str:
        output = self._plan.outputs[shard.output]
        return f"{output.node}: {output.layout.files[shard.file].name}"
