"""A plan becomes files: outputs are claimed, tiles computed, folders finished and renamed, in this order.

Nothing stands at an output's final name before every output is complete. On an error or a signal the partial
folders keep what is journaled, and the same command goes on from there.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

from mergegraph.errors import Interrupted, Problem, RunError
from mergegraph.execute.card import read_by, sidecar_contents
from mergegraph.execute.committing import Committer
from mergegraph.execute.compare import compare_uncomputed
from mergegraph.execute.confirm import Confirmed, confirm, confirm_sidecars
from mergegraph.execute.control import Control, stop_on_signals
from mergegraph.execute.devices import ON_CPU, DeviceReport, Devices
from mergegraph.execute.diagnose import explained
from mergegraph.execute.engine import engine_and_torch
from mergegraph.execute.events import Failed, OutputDone, Publisher, Started
from mergegraph.execute.executors import Executor
from mergegraph.execute.executors.threads import threads
from mergegraph.execute.identity import Identity, identified
from mergegraph.execute.memory import (
    bound_arenas,
    heap_set_aside,
    peak_bytes,
    refusals_as_problems,
    resident_bytes,
    warm_up,
)
from mergegraph.execute.preflight import finished_outputs, left_behind, refuse_existing, require_space
from mergegraph.execute.records import inputs_of, write_records
from mergegraph.execute.work import NonFinite, Work
from mergegraph.plan.plan import Output, Plan
from mergegraph.plan.staging import has_device_form
from mergegraph.provenance.verify import verify
from mergegraph.tensors.disk import replace_file
from mergegraph.tensors.reader import FileReader
from mergegraph.tensors.writer import PROGRESS, OutputFolder
from mergegraph.units import format_count

_PROGRESS_FILE_SECONDS = 0.2


@dataclass(frozen=True)
class Options:
    """How to run a plan. With `devices` tensors are computed there, in place of `executor`, and the bytes are those of
    their kind; nothing else here changes the bytes of a finished tensor.

    `verify_output`: read everything back from disk before it is published, and compute every sha256 on the way.
    """

    overwrite: bool = False
    sync: bool = True
    allow_non_finite: bool = False
    strict_integers: bool = False
    verify_output: bool = False
    executor: Executor = threads
    devices: Devices | None = None
    on_tick: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Report:
    """What a run did. Bytes; `measured` is the process's peak, `reserved` what it held before the tiles.

    `tensors` are those of all outputs: `computed` and `copied` by this run, `resumed` from an earlier one's partial
    folders, or in outputs that were `already_done`. `read_bytes` and `write_bytes` are this run's.
    """

    outputs: Mapping[str, str]
    tensors: int
    resumed: int
    computed: int
    copied: int
    already_done: tuple[str, ...]
    read_bytes: int
    write_bytes: int
    reserved_bytes: int
    budget_bytes: int
    pool_bytes: int
    measured_bytes: int
    seconds: float
    nonfinite: Mapping[str, int]
    overflowed: Mapping[str, int]
    node_seconds: Mapping[str, float]
    warnings: tuple[Problem, ...] = ()
    verified: bool = False
    device: DeviceReport = ON_CPU


@dataclass
class _Run:
    """One run from start to finish."""

    plan: Plan
    options: Options
    publisher: Publisher
    control: Control
    folders: list[OutputFolder] = field(default_factory=list[OutputFolder])
    warnings: list[Problem] = field(default_factory=list[Problem])
    progress_written: float = 0.0
    began: float = field(default_factory=time.time)

    @property
    def kind(self) -> str:
        """The kind of device that the bytes are of."""
        return self.options.devices.kind if self.options.devices else "cpu"

    def tick(self) -> None:
        """Called a few times a second: the progress file, and whoever shows it."""
        if self.publisher.progress.state in ("merging", "paused"):
            self.publisher.state("paused" if self.control.paused else "merging")
        now = time.monotonic()
        if now - self.progress_written >= _PROGRESS_FILE_SECONDS:
            self.progress_written = now
            for folder in self.folders:
                folder.publish_progress(self.publisher.progress.as_json())
        self.options.on_tick()


def run(
    plan: Plan, options: Options = Options(), publisher: Publisher | None = None, control: Control | None = None
) -> Report:
    """Execute a plan. DoesNotFit, OutputError, RunError or Interrupted when it cannot be finished."""
    plan.validate()
    bound_arenas()
    started = time.monotonic()
    running = _Run(plan, options, publisher or Publisher(), control or Control())
    try:
        with refusals_as_problems(plan.projection.pool_bytes), stop_on_signals(running.control), heap_set_aside():
            return _run(running, started)
    except BaseException as error:
        running.publisher.state("stopped" if isinstance(error, Interrupted | KeyboardInterrupt) else "failed")
        running.publisher.emit(Failed(str(error)))
        if isinstance(error, KeyboardInterrupt) and running.control.signal is not None:
            raise _interrupted(running) from error  # a second signal ends as the first would have
        raise


def _run(running: _Run, started: float) -> Report:
    plan, options = running.plan, running.options
    identities = {output.node: identified(plan, output, running.kind) for output in plan.outputs}
    ids = {node: each.result_id for node, each in identities.items()}
    already = (
        () if options.overwrite else finished_outputs(plan.outputs, ids, allow_non_finite=options.allow_non_finite)
    )
    if options.verify_output:
        _verify_finished(running, already)
    remaining = plan.without(already)
    if not options.overwrite:
        refuse_existing(remaining.outputs, ids, allow_non_finite=options.allow_non_finite)
        running.warnings += left_behind(plan.outputs)
    require_space(remaining.outputs)
    warm_up()
    devices = options.devices
    if devices:
        remaining = devices.prepare(remaining)
    reserved = resident_bytes()
    running.publisher.state("checking")
    with FileReader({file.path: file.identity for file in plan.inputs}) as reader, ExitStack() as stack:
        running.warnings += compare_uncomputed(plan.comparisons, reader.read_into, strict=options.strict_integers)
        stack.enter_context(_last_word(running))
        _claim(running, remaining, ids, stack)
        resumed = sum(len(folder.finished) for folder in running.folders)
        running.publisher.emit(Started(plan, resumed))
        work = Work(
            remaining, running.folders, reader.read_into, running.publisher, allow_non_finite=options.allow_non_finite
        )
        todo = work.todo()
        on_device = work.count_tensors(has_device_form) if devices else 0
        if not devices:
            work.reserve()
        _execute(running, work, devices.executor() if devices else options.executor)
        reader.require_unchanged()
        _publish(running, remaining, work, identities)
    work.publish()
    running.publisher.state("done")
    return Report(
        outputs={output.node: str(output.path) for output in plan.outputs},
        tensors=sum(len(output.tensors) for output in plan.outputs),
        resumed=resumed,
        computed=todo.computed,
        copied=todo.copied,
        already_done=already,
        read_bytes=todo.read_bytes,
        write_bytes=todo.write_bytes,
        reserved_bytes=reserved,
        budget_bytes=remaining.projection.budget_bytes,
        pool_bytes=remaining.projection.pool_bytes,
        measured_bytes=peak_bytes(),
        seconds=time.monotonic() - started,
        nonfinite=work.nonfinite,
        overflowed=work.overflowed,
        node_seconds=dict(work.node_seconds),
        warnings=tuple(running.warnings),
        verified=options.verify_output,
        device=devices.report(on_device) if devices else ON_CPU,
    )


def _claim(running: _Run, plan: Plan, ids: Mapping[str, str], stack: ExitStack) -> None:
    """Take or resume every partial folder, and write what lies beside the weights: it must not fail at the end."""
    options = running.options
    for output in plan.outputs:
        folder = OutputFolder.open(
            output.path, output.layout, result_id=ids[output.node],
            engine=f"{engine_and_torch()} on {running.kind}",
            inputs={file.path: file.identity for file in read_by(plan, output)},
            overwrite=options.overwrite, sync=options.sync,
        )  # fmt: skip
        running.folders.append(stack.enter_context(folder))
        _refuse_kept_nonfinite(output, folder, options)
        for name, content in sidecar_contents(plan, output):
            folder.write_sidecar(name, content)
    running.control.begin(tuple(folder.partial / "pause" for folder in running.folders))


@contextmanager
def _last_word(running: _Run) -> Generator[None]:
    """When the run ends early, say so in the progress files of the folders that are kept. Entered before the
    folders, so left after them."""
    try:
        yield
    except BaseException as error:
        state = "stopped" if isinstance(error, Interrupted | KeyboardInterrupt) else "failed"
        running.publisher.state(state)
        for folder in running.folders:
            if folder.partial.is_dir():
                with suppress(OSError):
                    replace_file(folder.partial / PROGRESS, running.publisher.progress.as_json(), sync=False)
        raise


def _refuse_kept_nonfinite(output: Output, folder: OutputFolder, options: Options) -> None:
    """A partial folder may hold NaN that an earlier run was allowed to write."""
    kept = [name for name, facts in folder.finished_facts.items() if facts.get("nonfinite")]
    if kept and not options.allow_non_finite:
        raise RunError(
            Problem(
                f"{format_count(len(kept), 'tensor')} on disk from the earlier run {'is' if len(kept) == 1 else 'are'} "
                "not finite.",
                at=output.at,
                node=output.computed_by,
                tensor=kept[0],
                fix="--allow-non-finite to keep them, or --overwrite to begin again",
            )
        )


def _verify_finished(running: _Run, nodes: tuple[str, ...]) -> None:
    """Outputs that were complete before this run are as good as those of this run, or it fails."""
    for output in running.plan.outputs:
        if output.node in nodes:
            running.warnings += verify(output.path, lambda read, total: running.options.on_tick()).warnings


def _execute(running: _Run, work: Work, executor: Executor) -> None:
    """Run the executor; a signal becomes Interrupted once what is done has been committed."""
    running.publisher.state("merging")
    try:
        with Committer(running.folders if running.options.sync else ()):
            executor(work, running.control, running.tick)
    except NonFinite as error:
        raise explained(error, running.plan, work.source, *_kept(running)) from error
    if running.control.signal is not None:
        running.publisher.state("stopped")
        for folder in running.folders:
            folder.commit()
        raise _interrupted(running)


def _kept(running: _Run) -> tuple[int, str]:
    """How many tensors the partial folders keep when the run ends now, and in which folders."""
    folders = [folder for folder in running.folders if folder.checksums]
    return sum(len(folder.checksums) for folder in folders), ", ".join(str(folder.partial) for folder in folders)


def _interrupted(running: _Run) -> Interrupted:
    kept, where = _kept(running)
    total = sum(len(output.tensors) for output in running.plan.outputs)
    by_system = running.control.signal == signal.SIGTERM
    return Interrupted(
        Problem(
            f"Stopped by {'SIGTERM' if by_system else 'Ctrl-C'}: {kept:,} of {total:,} tensors are on disk.",
            why=f"they are kept in {where}" if kept else "nothing was finished yet, so nothing is kept",
            fix="run the same command again to go on" if kept else "run the same command again",
        ),
        by_system=by_system,
    )


def _publish(running: _Run, plan: Plan, work: Work, identities: Mapping[str, Identity]) -> None:
    """Finish every folder, then rename them all, in recipe order."""
    work.publish()
    running.publisher.state("finishing")
    running.tick()
    found = _confirmed(running, plan)
    for index, (output, folder) in enumerate(zip(plan.outputs, running.folders, strict=True)):
        folder.commit()
        write_records(
            plan, output, folder, identities[output.node], work.facts(index), {**found.inputs, **found.outputs[index]},
            started=running.began, verified=running.options.verify_output, kind=running.kind,
        )  # fmt: skip
        folder.finalize()
        if running.options.verify_output:
            confirm_sidecars(folder, output)
    for output, folder in zip(plan.outputs, running.folders, strict=True):
        folder.publish()
        running.publisher.emit(OutputDone(output.node, str(output.path)))


def _confirmed(running: _Run, plan: Plan) -> Confirmed:
    """The digests of all files, where they are asked for; a signal ends the reading."""
    if not running.options.verify_output:
        return Confirmed(tuple({} for _ in plan.outputs))

    def tick() -> None:
        running.tick()
        if running.control.signal is not None:
            raise _interrupted(running)

    read = {file.path: file for output in plan.outputs for file in inputs_of(plan, output)}
    return confirm(plan.outputs, running.folders, list(read.values()), tick)
