"""What a run tells on its way: text and a bar for people, one JSON object a line for programs, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mergegraph.cli.checking import show_warnings
from mergegraph.cli.progress import Bar, Pace, observe, progress_json
from mergegraph.cli.terminal import say, say_json
from mergegraph.errors import problem_json
from mergegraph.execute.events import Progress
from mergegraph.execute.memory import resident_bytes
from mergegraph.execute.run import Report
from mergegraph.plan.encode import plan_json
from mergegraph.plan.plan import Plan
from mergegraph.tensors.sources.traffic import traffic
from mergegraph.units import format_bytes, format_count, format_seconds

if TYPE_CHECKING:
    from mergegraph.execute.sharing import PartReport

_JSON_SECONDS = 0.2


class Reporter(Protocol):
    """Told of a run's stages, in this order; `tick` any number of times."""

    def planned(self, plan: Plan) -> None: ...
    def tick(self, progress: Progress) -> None: ...
    def done(self, plan: Plan, report: Report) -> None: ...


def reporter(stack: ExitStack, *, as_json: bool, quiet: bool) -> Reporter:
    """The reporter that the options ask for; what it draws on the terminal is cleaned up with `stack`."""
    if as_json:
        return JsonLines(last_only=quiet)
    if quiet:
        return Nothing()
    return Text(stack.enter_context(Bar()) if sys.stderr.isatty() else None, stack)


class Nothing:
    """Says nothing; errors are not its business."""

    def planned(self, plan: Plan) -> None: ...
    def tick(self, progress: Progress) -> None: ...
    def done(self, plan: Plan, report: Report) -> None: ...


class JsonLines:
    """The plan (without its tensors), progress at most five times a second, and the report."""

    def __init__(self, *, last_only: bool) -> None:
        self._last_only = last_only
        self._pace = Pace()
        self._said = 0.0

    def planned(self, plan: Plan) -> None:
        if self._last_only:
            return
        outputs = [
            {"node": o.node, "path": o.place, "tensors": len(o.tensors), "bytes": o.layout.file_bytes}
            for o in plan.outputs
        ]
        whole = {name: value for name, value in plan_json(plan).items() if name not in ("expressions", "problems")}
        warnings = [problem_json(problem) for problem in plan.warnings]
        say_json({"kind": "plan", **whole, "outputs": outputs, "warnings": warnings})

    def tick(self, progress: Progress) -> None:
        observe(self._pace, progress)
        if not self._last_only and time.monotonic() - self._said >= _JSON_SECONDS:
            self._said = time.monotonic()
            say_json(progress_json(progress, self._pace, resident_bytes()))

    def done(self, plan: Plan, report: Report) -> None:
        say_json(report_json(plan, report))


class Text:
    """Warnings and a bar on stderr, a summary on stdout."""

    def __init__(self, bar: Bar | None, stack: ExitStack) -> None:
        self._bar, self._stack = bar, stack

    def planned(self, plan: Plan) -> None:
        show_warnings(plan.warnings)

    def tick(self, progress: Progress) -> None:
        if self._bar is not None:
            self._bar.show(progress, resident_bytes())

    def done(self, plan: Plan, report: Report) -> None:
        self._stack.close()  # the bar is gone before the summary is written
        show_warnings(report.warnings)
        say(*summary(plan, report))


def report_json(plan: Plan, report: Report) -> dict[str, object]:
    """The report by name, with the sizes of the outputs."""
    return {
        "kind": "done",
        "outputs": [
            {"node": o.node, "path": o.place, "bytes": o.layout.file_bytes, "files": len(o.layout.files)}
            for o in plan.outputs
        ],
        "already_done": list(report.already_done),
        "tensors": report.tensors,
        "copied": report.copied,
        "computed": report.computed,
        "resumed": report.resumed,
        "seconds": report.seconds,
        "read_bytes": report.read_bytes,
        "write_bytes": report.write_bytes,
        "reserved_bytes": report.reserved_bytes,
        "budget_bytes": report.budget_bytes,
        "pool_bytes": report.pool_bytes,
        "measured_bytes": report.measured_bytes,
        "device": asdict(report.device),
        "nonfinite": dict(report.nonfinite),
        "overflowed": dict(report.overflowed),
        "node_seconds": dict(report.node_seconds),
        "verified": report.verified,
        "servers": {server: asdict(each) for server, each in traffic().items()},
        "warnings": [problem_json(problem) for problem in (*plan.warnings, *report.warnings)],
    }


def summary(plan: Plan, report: Report) -> Iterator[str]:
    """What stands where, how long it took, what it held; then what was odd."""
    for output in plan.outputs:
        size = f"{format_bytes(output.layout.file_bytes)} in {format_count(len(output.layout.files), 'file')}"
        complete = ", complete before this run" if output.node in report.already_done else ""
        yield f"{output.node} -> {output.destination or _short(output.path)}  {size}{complete}"
    if len(report.already_done) == len(plan.outputs):
        yield "  nothing to do" + (", and every byte is as it was written" if report.verified else "")
        return
    resumed = (
        f"; {report.resumed:,} more {'was' if report.resumed == 1 else 'were'} found done" if report.resumed else ""
    )
    written = format_count(report.computed + report.copied, "tensor")
    yield f"  {written}: {report.computed:,} computed, {report.copied:,} copied{resumed}"
    time, memory = cost_lines(report)
    yield time
    yield f"{memory}; tiles {format_bytes(report.pool_bytes)}"
    yield from traffic_lines()
    if report.verified:
        yield "  read back from disk: every byte is as it was computed"
    if report.device.name != "cpu":
        yield from _device_summary(report)
    if report.nonfinite:
        yield f"  {_counted(report.nonfinite, 'not finite')}"
    if report.overflowed:
        yield f"  {_counted(report.overflowed, 'overflowed')}"
    warnings = len(plan.warnings) + len(report.warnings)
    if warnings:
        yield f"  {format_count(warnings, 'warning')}, above"


def cost_lines(report: Report | PartReport) -> tuple[str, str]:
    """What was made cost this time, and this memory."""
    megabytes = report.write_bytes / max(report.seconds, 1e-9) / 1e6
    pace = f", {megabytes:,.0f} MB/s written" if megabytes >= 1 else ""
    return (
        f"  {format_seconds(report.seconds)}{pace}; read {format_bytes(report.read_bytes)}",
        f"  memory {format_bytes(report.measured_bytes)} measured, of {format_bytes(report.reserved_bytes)} reserved + "
        f"{format_bytes(report.budget_bytes)} budget",
    )


def traffic_lines() -> Iterator[str]:
    """What came from each server, headers of models and what was compared included."""
    for server, each in sorted(traffic().items()):
        again = f", {each.repeated:,} tried again" if each.repeated else ""
        yield f"  {format_bytes(each.body_bytes)} from {server} in {format_count(each.requests, 'request')}{again}"


def _device_summary(report: Report) -> Iterator[str]:
    """Which tensors were computed where, and what that took there."""
    device = report.device
    there, here = device.tensors, report.computed - device.tensors
    rest = f", {here:,} on the CPU (they have no form for a device)" if here else ""
    yield f"  {format_count(there, 'tensor')} computed on {device.name}{rest}"
    yield (
        f"  device memory {format_bytes(device.measured_bytes)} measured, of "
        f"{format_bytes(device.budget_bytes)} budget; tiles {format_bytes(device.pool_bytes)}"
    )


def _counted(by_tensor: Mapping[str, int], what: str) -> str:
    """`3 values overflowed in lm_head.weight`, or `in 2 tensors, first a.weight`."""
    names = list(by_tensor)
    where = names[0] if len(names) == 1 else f"{len(names):,} tensors, first {names[0]}"
    return f"{format_count(sum(by_tensor.values()), 'value')} {what} in {where}"


def _short(path: Path) -> str:
    """Relative to the current folder where it lies below it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
