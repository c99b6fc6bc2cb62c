"""A plan becomes files: outputs are claimed, tiles computed, folders finished and renamed, in this order.

Nothing stands at an output's final name before every output is complete. On an error or a signal the partial
folders keep what is journaled, and the same command goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack

from mergegraph.errors import Interrupted, OutputError, Problem, RunError
from mergegraph.execute import counting
from mergegraph.execute.card import read_by, sidecar_contents
from mergegraph.execute.committing import Committer
from mergegraph.execute.compare import compare_uncomputed
from mergegraph.execute.confirm import Confirmed, confirm, confirm_sidecars
from mergegraph.execute.control import Control, stop_on_signals
from mergegraph.execute.devices import ON_CPU
from mergegraph.execute.diagnose import explained
from mergegraph.execute.engine import engine_and_torch
from mergegraph.execute.events import Failed, OutputDone, Publisher, Started
from mergegraph.execute.executors import Executor
from mergegraph.execute.identity import Identity, identified
from mergegraph.execute.memory import (
    bound_arenas,
    heap_set_aside,
    peak_bytes,
    refusals_as_problems,
    resident_bytes,
    warm_up,
)
from mergegraph.execute.preflight import left_behind, require_space
from mergegraph.execute.records import inputs_of, write_records
from mergegraph.execute.results import NonFinite
from mergegraph.execute.running import DEFAULTS, Options, Report, Running
from mergegraph.execute.standing import Wanted, is_done, not_measured, taken
from mergegraph.execute.work import Work
from mergegraph.plan.plan import Output, Plan
from mergegraph.plan.staging import has_device_form
from mergegraph.provenance.verify import verify
from mergegraph.stats.files import STATS, to_json
from mergegraph.tensors.partial import PAUSE
from mergegraph.tensors.reader import FileReader
from mergegraph.tensors.writer import OutputFolder
from mergegraph.units import format_count


def run(
    plan: Plan, options: Options = DEFAULTS, publisher: Publisher | None = None, control: Control | None = None
) -> Report:
    """Execute a plan. DoesNotFit, OutputError, RunError or Interrupted when it cannot be finished."""
    plan.validate()
    bound_arenas()
    started = time.monotonic()
    running = Running(plan, options, publisher or Publisher(), control or Control())
    try:
        with refusals_as_problems(plan.projection.pool_bytes), stop_on_signals(running.control), heap_set_aside():
            return _run(running, started)
    except BaseException as error:
        running.publisher.state("stopped" if isinstance(error, Interrupted | KeyboardInterrupt) else "failed")
        running.publisher.emit(Failed(str(error)))
        if isinstance(error, KeyboardInterrupt) and running.control.signal is not None:
            raise running.interrupted() from error  # a second signal ends as the first would have
        raise


def _run(running: Running, started: float) -> Report:
    plan, options = running.plan, running.options
    identities = {output.node: identified(plan, output, running.kind) for output in plan.outputs}
    if not options.overwrite:
        _find_finished(running, identities)
    if options.verify_output:
        _verify_finished(running)
    remaining = plan.without(tuple(running.already))
    require_space(remaining.outputs)
    warm_up()
    if plan.surveys:
        counting.warm_up()
    devices = options.devices
    if devices:
        remaining = devices.prepare(remaining)
    reserved = resident_bytes()
    running.publisher.state("checking")
    with FileReader({file.path: file.identity for file in plan.inputs}) as reader, ExitStack() as stack:
        running.warnings += compare_uncomputed(plan.comparisons, reader.read_into, strict=options.strict_integers)
        stack.enter_context(running.last_word())
        _claim(running, remaining, identities, stack)
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
        already_done=tuple(running.already),
        read_bytes=todo.read_bytes,
        write_bytes=todo.write_bytes,
        reserved_bytes=reserved,
        budget_bytes=remaining.projection.budget_bytes,
        pool_bytes=remaining.projection.pool_bytes,
        measured_bytes=peak_bytes(),
        seconds=time.monotonic() - started,
        nonfinite=work.nonfinite,
        overflowed=work.overflowed,
        node_seconds=work.node_seconds,
        warnings=tuple(running.warnings),
        verified=options.verify_output,
        device=devices.report(on_device) if devices else ON_CPU,
    )


def _claim(running: Running, plan: Plan, identities: Mapping[str, Identity], stack: ExitStack) -> None:
    """Take or resume every partial folder, and write what lies beside the weights: it must not fail at the end."""
    options = running.options
    for output in plan.outputs:
        folder = OutputFolder.open(
            output.path, output.layout,
            result_id=identities[output.node].result_id, plan_sha256=identities[output.node].plan_sha256,
            engine=f"{engine_and_torch()} on {running.kind}",
            inputs={file.path: file.identity for file in read_by(plan, output)},
            overwrite=options.overwrite, sync=options.sync,
        )  # fmt: skip
        running.folders.append(stack.enter_context(folder))
        _refuse_kept_nonfinite(output, folder, options)
        for name, content in sidecar_contents(plan, output):
            folder.write_sidecar(name, content)
    running.control.begin(tuple(folder.partial / PAUSE for folder in running.folders))


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


def _find_finished(running: Running, identities: Mapping[str, Identity]) -> None:
    """What need not be made because it stands there. OutputError for every path that something else has taken."""
    problems: list[Problem] = []
    for output in running.plan.outputs:
        wanted = Wanted(running.plan, output, identities[output.node], running.kind)
        if is_done(wanted, allow_non_finite=running.options.allow_non_finite):
            running.already[output.node] = len(output.tensors)
            if running.plan.surveys and not (output.path / STATS).exists():
                running.warnings.append(not_measured(wanted))
        elif output.path.exists():
            problems.append(taken(wanted))
    if problems:
        raise OutputError(*problems)
    running.warnings += left_behind(running.plan.outputs)


def _verify_finished(running: Running) -> None:
    """Outputs that were complete before this run are as good as those of this run, or it fails."""
    running.publisher.state("checking")
    for output in running.plan.outputs:
        if output.node in running.already:
            running.warnings += verify(output.path, lambda read, total: running.tick_or_end()).warnings


def _execute(running: Running, work: Work, executor: Executor) -> None:
    """Run the executor; a signal becomes Interrupted once what is done has been committed."""
    running.publisher.state("merging")
    try:
        with Committer(running.folders if running.options.sync else ()):
            executor(work, running.control, running.tick)
    except NonFinite as error:
        kept = running.kept()
        raise explained(error, running.plan, work.source, sum(kept.values()), ", ".join(kept)) from error
    if running.control.signal is not None:
        running.publisher.state("stopped")
        for folder in running.folders:
            folder.commit()
        raise running.interrupted()


def _publish(running: Running, plan: Plan, work: Work, identities: Mapping[str, Identity]) -> None:
    """Finish every folder, then rename them all, in recipe order."""
    work.publish()
    running.publisher.state("finishing")
    running.tick()
    found = _confirmed(running, plan)
    for index, (output, folder) in enumerate(zip(plan.outputs, running.folders, strict=True)):
        folder.commit()
        if plan.surveys:
            folder.write_sidecar(STATS, to_json(work.surveys.record(index)))
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


def _confirmed(running: Running, plan: Plan) -> Confirmed:
    """The digests of all files, where they are asked for; a signal ends the reading."""
    if not running.options.verify_output:
        return Confirmed(tuple({} for _ in plan.outputs))
    read = {file.path: file for output in plan.outputs for file in inputs_of(plan, output)}
    return confirm(plan.outputs, running.folders, list(read.values()), lambda: running.tick_or_end())
