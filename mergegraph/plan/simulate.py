"""How long a plan would take on N workers, and what that would cost: arithmetic over its shards, nothing is run.

A worker makes one shard at a time: it reads, computes on its threads and writes, all overlapping, so a shard takes as
long as the slowest of the three. Workers share the storage. Statistics of whole models are found first, by the driver;
at the end it reads every shard back and publishes. Whole-matrix methods (singular values) are counted as their
element-wise part, and take longer.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mergegraph.plan.groups import read_bytes
from mergegraph.plan.plan import Plan
from mergegraph.plan.program import Program
from mergegraph.plan.shards import Shard, shards_of
from mergegraph.plan.steps import Call, Reduce, Step

_STEP_NS, _CALL_NS, _REDUCE_NS = 0.12, 0.5, 1.0
"""Of one thread, an element: to convert, add or round; a kernel; what is counted or summed up. Medians of the table in
`benchmarks/README.md`."""
_READ_NS, _WRITE_NS = 0.14, 0.4
"""A byte, from and into the page cache."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What one worker is. `bandwidth` in bytes a second to and from the storage, each way; `start_seconds` until its
    first byte: interpreter, torch, engine. `price` of an hour."""

    bandwidth: float = 1e9
    threads: int = 4
    start_seconds: float = 1.4
    price: float = 0.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What a shard, or the statistics of whole models, take: bytes, and seconds of one thread."""

    read_bytes: int
    write_bytes: int
    thread_seconds: float


@dataclass(frozen=True, slots=True)
class Simulated:
    """`seconds` of wall time, of which `gather_seconds` before the first shard and `finish_seconds` after the last;
    `busy` is the workers' part of the time in between. `price` is of all workers for the whole time."""

    workers: int
    seconds: float
    gather_seconds: float
    finish_seconds: float
    read_bytes: int
    write_bytes: int
    busy: float
    price: float


def simulated(plan: Plan, workers: Iterable[int], machine: Machine, storage: float | None = None) -> list[Simulated]:
    """For each number of workers. `storage`: bytes a second that the storage gives and takes in all, each way."""
    costs = shard_costs(plan)
    gathered = gathering_cost(plan)
    return [_simulated(costs, gathered, count, machine, storage) for count in workers]


def _simulated(
    costs: Sequence[Cost], gathered: Cost, workers: int, machine: Machine, storage: float | None
) -> Simulated:
    alone = min(machine.bandwidth, storage or machine.bandwidth)
    shared = min(machine.bandwidth, storage / workers) if storage else machine.bandwidth
    gather_seconds = _seconds(gathered, alone, machine) if gathered.read_bytes else 0.0
    times = [_seconds(cost, shared, machine) for cost in costs]
    ends = [machine.start_seconds] * workers
    for seconds in times:
        heapq.heappush(ends, heapq.heappop(ends) + seconds)
    making = max(ends)
    written = sum([cost.write_bytes for cost in costs])
    finish = written / alone
    total = gather_seconds + making + finish
    return Simulated(
        workers=workers,
        seconds=total,
        gather_seconds=gather_seconds,
        finish_seconds=finish,
        read_bytes=gathered.read_bytes + sum([cost.read_bytes for cost in costs]),
        write_bytes=written,
        busy=sum(times) / (workers * making) if making else 0.0,
        price=workers * total / 3600 * machine.price,
    )


def _seconds(cost: Cost, bandwidth: float, machine: Machine) -> float:
    """Reading, writing and computing overlap; so the slowest counts."""
    return max(
        cost.read_bytes / bandwidth, cost.write_bytes / bandwidth, cost.thread_seconds / machine.threads
    )  # fmt: skip


def shard_costs(plan: Plan) -> list[Cost]:
    """What each shard takes. Tensors of several shards that share reads are read by each."""
    read = dict.fromkeys(shards_of(plan), 0)
    spent = dict.fromkeys(read, 0.0)
    for group in plan.groups:
        where = {_shard(plan, place) for place in group.members}
        for shard in where:
            taken = read_bytes(group.computation)
            read[shard] += taken
            spent[shard] += _thread_seconds(group.computation.program, group.element_count, taken)
    written = {shard: plan.outputs[shard.output].layout.files[shard.file].file_bytes for shard in read}
    return [Cost(read[shard], written[shard], spent[shard] + written[shard] * _WRITE_NS * 1e-9) for shard in read]


def gathering_cost(plan: Plan) -> Cost:
    """What the statistics of whole models take."""
    read, spent = 0, 0.0
    for each in plan.gatherings:
        for work, cut in each.members:
            read += each.passes * read_bytes(work)
            spent += each.passes * _thread_seconds(work.program, cut.elements, read_bytes(work))
    return Cost(read, 0, spent)


def _shard(plan: Plan, place: tuple[int, int]) -> Shard:
    output, tensor = place
    each = plan.outputs[output]
    return Shard(output, each.layout.file_of[each.tensors[tensor].name])


def _thread_seconds(program: Program, elements: int, bytes_read: int) -> float:
    nanoseconds = sum([_nanoseconds(step) for step in program.steps]) * elements + bytes_read * _READ_NS
    return nanoseconds * 1e-9


def _nanoseconds(step: Step) -> float:
    """Of one thread, an element."""
    return _CALL_NS if isinstance(step, Call) else _REDUCE_NS if isinstance(step, Reduce) else _STEP_NS
