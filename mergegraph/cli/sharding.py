"""`run --shards` and `finalize`: parts of an output, made by several machines and put together at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass

from mergegraph.cli.checking import show_warnings
from mergegraph.cli.reporters import cost_lines, reporter
from mergegraph.cli.running import execute_plan
from mergegraph.cli.terminal import say, say_json
from mergegraph.errors import problem_json
from mergegraph.execute.adopting import adopt, kind_of_attempts
from mergegraph.execute.devices import devices_for
from mergegraph.execute.events import Publisher
from mergegraph.execute.running import Options
from mergegraph.execute.sharing import PartReport, compare, make_part, part_of, refuse_standing
from mergegraph.plan.output_paths import require_shared_staging
from mergegraph.plan.plan import Plan
from mergegraph.plan.shards import shards_of
from mergegraph.plan.share import Share
from mergegraph.units import format_count


@dataclass(frozen=True)
class Sharing:
    """How a part is made. `typed`: the recipe and the options that `finalize` must have too."""

    typed: str
    share: Share
    device: str
    device_budget_bytes: int | None
    overwrite: bool
    allow_non_finite: bool
    strict_integers: bool


@dataclass(frozen=True)
class Finishing:
    """How parts are put together. `typed`: the recipe and the options that the parts must have too."""

    overwrite: bool
    allow_non_finite: bool
    reads_back: bool
    verify_output: bool
    strict_integers: bool
    typed: str = ""


def make_share(plan: Plan, sharing: Sharing, *, as_json: bool, quiet: bool) -> None:
    """Make one part and say what was made. Raises what `make_part` raises."""
    require_shared_staging(plan.outputs)
    devices = devices_for(sharing.device, sharing.device_budget_bytes)
    kind = devices.kind if devices else "cpu"
    done = () if sharing.overwrite else refuse_standing(plan, kind)
    show_warnings(compare(plan, strict_integers=sharing.strict_integers))
    chosen = [shard for shard in sharing.share.of(shards_of(plan)) if plan.outputs[shard.output].node not in done]
    part = part_of(plan, chosen, kind, {"part": str(sharing.share)})
    publisher = Publisher()
    with ExitStack() as stack:
        telling = reporter(stack, as_json=as_json, quiet=quiet)
        telling.planned(part.plan)
        options = Options(
            allow_non_finite=sharing.allow_non_finite,
            devices=devices,
            on_tick=lambda: telling.tick(publisher.progress),
        )
        report = make_part(part, options, publisher)
    if as_json:
        say_json(_report_json(plan, report))
    elif not quiet:
        say(*_summary(part.plan, sharing, report))


def put_together(plan: Plan, finishing: Finishing, *, as_json: bool, quiet: bool) -> None:
    """Adopt every shard and publish. OutputError when some are missing, or are not as they were written."""
    kind = kind_of_attempts(plan)
    if not finishing.overwrite:
        refuse_standing(plan, kind)
    warnings = adopt(
        plan,
        kind=kind,
        overwrite=finishing.overwrite,
        allow_non_finite=finishing.allow_non_finite,
        reads_back=finishing.reads_back,
        typed=finishing.typed,
    )
    show_warnings(warnings)
    execute_plan(
        plan,
        as_json=as_json,
        quiet=quiet,
        overwrite=finishing.overwrite,
        sync=True,
        allow_non_finite=finishing.allow_non_finite,
        strict_integers=finishing.strict_integers,
        verify_output=finishing.verify_output,
        device="cpu",
        device_budget_bytes=None,
        made_on=kind,
    )


def _report_json(plan: Plan, report: PartReport) -> dict[str, object]:
    return {
        "kind": "part done",
        "made": {node: list(files) for node, files in report.made.items()},
        "already": {node: list(files) for node, files in report.already.items()},
        "tensors": report.tensors,
        "seconds": report.seconds,
        "read_bytes": report.read_bytes,
        "write_bytes": report.write_bytes,
        "reserved_bytes": report.reserved_bytes,
        "budget_bytes": report.budget_bytes,
        "measured_bytes": report.measured_bytes,
        "device": asdict(report.device),
        "nonfinite": dict(report.nonfinite),
        "warnings": [problem_json(problem) for problem in plan.warnings],
    }


def _summary(part: Plan, sharing: Sharing, report: PartReport) -> Iterator[str]:
    """Which files were made, how long it took, and what comes next."""
    made = sum([len(files) for files in report.made.values()])
    already = sum([len(files) for files in report.already.values()])
    found = f"; {format_count(already, 'shard')} were complete before" if already else ""
    yield f"part {sharing.share}: {format_count(made, 'shard')}, {format_count(report.tensors, 'tensor')}{found}"
    for output in part.outputs:
        yield f"  {output.node} -> {output.path}.partial/attempts"
    yield from cost_lines(report)
    yield f"  when every part is done: mergegraph finalize {sharing.typed}"
