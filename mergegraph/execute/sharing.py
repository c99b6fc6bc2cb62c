"""Some shards of a plan become files: what one of several workers does, on this machine or another.

Every worker computes what its files need by itself and tells nobody: shards are put together by `adopting.py`.
"""

from __future__ import annotations

import os
import platform
import socket
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import torch

from mergegraph.errors import Interrupted, OutputError, Problem
from mergegraph.execute.compare import compare_uncomputed
from mergegraph.execute.control import Control, stop_on_signals
from mergegraph.execute.devices import ON_CPU, DeviceReport
from mergegraph.execute.diagnose import explained
from mergegraph.execute.events import Publisher
from mergegraph.execute.identity import identified, shard_key
from mergegraph.execute.jobs import Stage
from mergegraph.execute.memory import (
    bound_arenas,
    heap_set_aside,
    peak_bytes,
    refusals_as_problems,
    resident_bytes,
    warm_up,
)
from mergegraph.execute.running import DEFAULTS, Options
from mergegraph.execute.standing import Wanted, is_done, taken
from mergegraph.execute.work import NonFinite, Work
from mergegraph.expr import Stat
from mergegraph.plan.plan import Plan
from mergegraph.plan.shards import Shard, only
from mergegraph.plan.staging import has_device_form
from mergegraph.statistic import Found
from mergegraph.tensors.attempts import AttemptFolder, Key
from mergegraph.tensors.reader import FileReader
from mergegraph.units import format_count


@dataclass(frozen=True)
class Part:
    """Some shards, as a plan of their own (`mergegraph.plan.shards.only`), with the key of each output.

    `told`: what the records of the attempts say beside what was found. `populations`: the statistics of whole models
    where they are known; what is missing is found out first, by reading those models. `creates`: the folder of the
    attempts is made where it is missing; a worker whose driver has made it may come too late.
    """

    plan: Plan
    keys: tuple[Key, ...]
    told: Mapping[str, object] = field(default_factory=dict[str, object])
    populations: Mapping[Stat, Found] = field(default_factory=dict[Stat, Found])
    creates: bool = True


def part_of(
    plan: Plan,
    chosen: Collection[Shard],
    kind: str = "cpu",
    told: Mapping[str, object] | None = None,
    populations: Mapping[Stat, Found] | None = None,
) -> Part:
    """The part of `plan` that makes the `chosen` shards on devices of a kind."""
    reduced = only(plan, chosen)
    whole = {output.node: output for output in plan.outputs}
    keys = tuple([shard_key(plan, whole[output.node], kind) for output in reduced.outputs])
    return Part(reduced, keys, told or {}, populations or {})


def refuse_standing(plan: Plan, kind: str = "cpu") -> tuple[str, ...]:
    """The outputs that are complete already. OutputError for every path at which something else stands."""
    done: list[str] = []
    problems: list[Problem] = []
    for output in plan.outputs:
        wanted = Wanted(plan, output, identified(plan, output, kind), kind)
        if is_done(wanted, allow_non_finite=True):
            done.append(output.node)
        elif output.path.exists():
            problems.append(taken(wanted))
    if problems:
        raise OutputError(*problems)
    return tuple(done)


def compare(plan: Plan, *, strict_integers: bool) -> tuple[Problem, ...]:
    """What a run finds out of tensors that it does not compute, before it computes any: a tied head that is no copy of
    its embedding (RunError), integer tensors that differ (RunError where `strict_integers`, else warnings)."""
    with FileReader({file.path: file.identity for file in plan.inputs}) as reader:
        return tuple(compare_uncomputed(plan.comparisons, reader.read_into, strict=strict_integers))


@dataclass(frozen=True)
class PartReport:
    """What a worker did. `made` and `already`: file names by output node; bytes and seconds as in `Report`."""

    made: Mapping[str, tuple[str, ...]]
    already: Mapping[str, tuple[str, ...]]
    tensors: int
    read_bytes: int
    write_bytes: int
    reserved_bytes: int
    budget_bytes: int
    measured_bytes: int
    seconds: float
    nonfinite: Mapping[str, int]
    device: DeviceReport = ON_CPU


def make_part(
    part: Part, options: Options = DEFAULTS, publisher: Publisher | None = None, control: Control | None = None
) -> PartReport:
    """Write every shard of `part` that has no complete attempt. DoesNotFit, OutputError, RunError, Interrupted."""
    part.plan.validate()
    bound_arenas()
    control = control or Control()
    with refusals_as_problems(part.plan.projection.pool_bytes), stop_on_signals(control), heap_set_aside():
        return _make(part, options, publisher or Publisher(), control, time.monotonic())


def _make(part: Part, options: Options, publisher: Publisher, control: Control, started: float) -> PartReport:
    warm_up()
    devices = options.devices
    plan = devices.prepare(part.plan) if devices else part.plan
    reserved = resident_bytes()
    with FileReader({file.path: file.identity for file in plan.inputs}) as reader, ExitStack() as stack:
        folders = _folders(part, reader, started, stack)
        control.begin(())
        work = Work(
            plan, folders, reader.read_into, publisher,
            allow_non_finite=options.allow_non_finite, populations=part.populations,
        )  # fmt: skip
        todo = work.todo()
        on_device = work.count_tensors(has_device_form) if devices else 0
        if not devices:
            work.reserve()
        try:
            publisher.state("merging")
            (devices.executor() if devices else options.executor)(work, control, options.on_tick)
        except NonFinite as error:
            kept = sum([len(folder.completed) for folder in folders])
            raise explained(error, plan, work.source, kept, str(folders[0].partial)) from error
        if control.signal is not None:
            raise _interrupted(folders, plan)
    nodes = [output.node for output in plan.outputs]
    return PartReport(
        made={node: tuple(folder.completed) for node, folder in zip(nodes, folders, strict=True)},
        already={node: folder.already for node, folder in zip(nodes, folders, strict=True)},
        tensors=todo.computed + todo.copied,
        read_bytes=todo.read_bytes,
        write_bytes=todo.write_bytes,
        reserved_bytes=reserved,
        budget_bytes=plan.projection.budget_bytes,
        measured_bytes=peak_bytes(),
        seconds=time.monotonic() - started,
        nonfinite=work.nonfinite,
        device=devices.report(on_device) if devices else ON_CPU,
    )


def _folders(part: Part, reader: FileReader, started: float, stack: ExitStack) -> list[AttemptFolder]:
    def facts() -> dict[str, object]:
        return {
            **part.told,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "machine": platform.machine(),
            "capability": torch.backends.cpu.get_cpu_capability(),
            "seconds": round(time.monotonic() - started, 3),
            "measured_bytes": peak_bytes(),
        }

    return [
        stack.enter_context(
            AttemptFolder.open(
                output.path,
                output.layout,
                key,
                creates=part.creates,
                before_record=reader.require_unchanged,
                facts=facts,
            )
        )
        for output, key in zip(part.plan.outputs, part.keys, strict=True)
    ]


def _interrupted(folders: Sequence[AttemptFolder], plan: Plan) -> Interrupted:
    complete = sum([len(folder.completed) + len(folder.already) for folder in folders])
    total = sum([len(output.layout.files) for output in plan.outputs])
    return Interrupted(
        Problem(
            f"Stopped: {complete} of {format_count(total, 'shard')} of this part {'is' if complete == 1 else 'are'} "
            "complete.",
            why="shards that were begun are deleted, complete ones are kept",
            fix="run the same command again to go on",
        ),
        by_system=True,
    )


def gather(plan: Plan, options: Options = DEFAULTS, control: Control | None = None) -> Mapping[Stat, Found]:
    """The statistics of whole models that a plan needs; takes the passes over those models that they take."""
    if not plan.gatherings:
        return {}
    plan.validate()
    bound_arenas()
    control = control or Control()
    with refusals_as_problems(plan.projection.pool_bytes), stop_on_signals(control), heap_set_aside():
        warm_up()
        with FileReader({file.path: file.identity for file in plan.inputs}) as reader:
            nowhere = [_Nowhere() for _ in plan.outputs]
            work = _Gathering(replace(plan, surveys=()), nowhere, reader.read_into, Publisher())
            work.reserve()
            options.executor(work, control, options.on_tick)
            reader.require_unchanged()
    if control.signal is not None:
        raise Interrupted(Problem("Stopped before any shard was begun.", fix="run the same command again"))
    return work.populations


class _Nowhere:
    """A destination of a run that writes nothing."""

    finished: Mapping[str, str] = MappingProxyType({})

    def write(self, tensor: str, offset_in_tensor: int, buffer: memoryview) -> None:
        raise AssertionError(tensor)

    def checksum_of(self, tensor: str) -> str:
        raise AssertionError(tensor)

    def tensor_done(self, tensor: str, checksum: str, **facts: object) -> None:
        raise AssertionError(tensor)


class _Gathering(Work):
    """Nothing but the passes over the populations."""

    def stages(self) -> Iterator[Stage]:
        return self.gatherings()
