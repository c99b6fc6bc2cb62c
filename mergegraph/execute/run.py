"""A plan becomes files: outputs are claimed, tiles computed, folders finished and renamed, in this order.

Nothing stands at an output's final name before every output is complete. On an error or a signal the partial
folders keep what is journaled, and the same command goes on from there.
"""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

import torch

from mergegraph.errors import Interrupted, Problem, RunError
from mergegraph.execute.card import copied_files, engine_version, provenance, read_by, sidecar_contents
from mergegraph.execute.compare import compare_uncomputed
from mergegraph.execute.control import Control, stop_on_signals
from mergegraph.execute.devices import ON_CPU, DeviceReport, Devices
from mergegraph.execute.diagnose import explained
from mergegraph.execute.events import Failed, OutputDone, Publisher, Started
from mergegraph.execute.executors import Executor
from mergegraph.execute.executors.threads import threads
from mergegraph.execute.memory import heap_set_aside, peak_bytes, resident_bytes, warm_up
from mergegraph.execute.preflight import finished_outputs, refuse_existing, require_space
from mergegraph.execute.work import NonFinite, Work
from mergegraph.plan.encode import result_digest
from mergegraph.plan.plan import Output, Plan
from mergegraph.plan.staging import has_device_form
from mergegraph.tensors.disk import replace_file
from mergegraph.tensors.reader import FileReader
from mergegraph.tensors.writer import PROGRESS, OutputFolder
from mergegraph.units import format_count

_PROGRESS_FILE_SECONDS = 0.2


@dataclass(frozen=True)
class Options:
    """How to run a plan. With `devices` tensors are computed there, in place of `executor`, and the bytes are those of
    their kind; nothing else here changes the bytes of a finished tensor."""

    overwrite: bool = False
    sync: bool = True
    allow_non_finite: bool = False
    strict_integers: bool = False
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
    started = time.monotonic()
    running = _Run(plan, options, publisher or Publisher(), control or Control())
    try:
        with stop_on_signals(running.control), heap_set_aside():
            return _run(running, started)
    except BaseException as error:
        running.publisher.state("stopped" if isinstance(error, Interrupted | KeyboardInterrupt) else "failed")
        running.publisher.emit(Failed(str(error)))
        raise


def _run(running: _Run, started: float) -> Report:
    plan, options = running.plan, running.options
    ids = {output.node: result_id(plan, output, running.kind) for output in plan.outputs}
    already = (
        () if options.overwrite else finished_outputs(plan.outputs, ids, allow_non_finite=options.allow_non_finite)
    )
    remaining = plan.without(already)
    if not options.overwrite:
        refuse_existing(remaining.outputs, ids, allow_non_finite=options.allow_non_finite)
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
        _execute(running, work, devices.executor() if devices else options.executor)
        _publish(running, remaining, work, ids)
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
        device=devices.report(on_device) if devices else ON_CPU,
    )


def _claim(running: _Run, plan: Plan, ids: Mapping[str, str], stack: ExitStack) -> None:
    """Take or resume every partial folder, and write what lies beside the weights: it must not fail at the end."""
    options = running.options
    for output in plan.outputs:
        folder = OutputFolder.open(
            output.path, output.layout, result_id=ids[output.node],
            engine=f"{engine_version()} on {running.kind}",
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


def result_id(plan: Plan, output: Output, kind: str = "cpu") -> str:
    """The plan's digest with what it cannot know: torch's version, the kind of device, what the CPU can do, and the
    content of the files that are copied along."""
    kernel = f"{torch.__version__}:{kind}:{torch.backends.cpu.get_cpu_capability()}"
    digest = hashlib.sha256(f"{result_digest(plan, output)}:{kernel}".encode())
    for name, content in copied_files(output):
        digest.update(f":{name}:{len(content)}:".encode())
        digest.update(content)
    return digest.hexdigest()


def _execute(running: _Run, work: Work, executor: Executor) -> None:
    """Run the executor; a signal becomes Interrupted once what is done has been committed."""
    running.publisher.state("merging")
    try:
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


def _publish(running: _Run, plan: Plan, work: Work, ids: Mapping[str, str]) -> None:
    """Finish every folder, then rename them all, in recipe order."""
    work.publish()
    running.publisher.state("finishing")
    running.tick()
    versions = {"mergegraph": engine_version(), "torch": torch.__version__, "device": running.kind}
    for index, (output, folder) in enumerate(zip(plan.outputs, running.folders, strict=True)):
        folder.commit()
        facts = {**folder.finished_facts, **work.facts(index)}
        folder.write_sidecar(
            "mergegraph.json", provenance(plan, output, ids[output.node], versions, folder.checksums, facts)
        )
        folder.finalize()
    for output, folder in zip(plan.outputs, running.folders, strict=True):
        folder.publish()
        running.publisher.emit(OutputDone(output.node, str(output.path)))
