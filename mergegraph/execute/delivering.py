"""Outputs that go to an object store: made in a folder of this machine as any other, then put there, then removed here.

So a run that was stopped goes on from its journal, and nothing stands in the bucket that is not finished. Looks at the
bucket before anything is computed: the same result is not made again, another one is not replaced unasked.
"""

from __future__ import annotations

from dataclasses import replace

from mergegraph.errors import InputError, OutputError, Problem
from mergegraph.execute.control import Control
from mergegraph.execute.devices import ON_CPU
from mergegraph.execute.events import Publisher
from mergegraph.execute.identity import identified
from mergegraph.execute.memory import peak_bytes, resident_bytes
from mergegraph.execute.run import run
from mergegraph.execute.running import Options, Report
from mergegraph.plan.plan import Output, Plan
from mergegraph.tensors.completed import PROVENANCE
from mergegraph.tensors.disk import delete
from mergegraph.tensors.sources.source import Names
from mergegraph.tensors.sources.uploads import UPLOADING, deliver, result_id_at, standing_at, upload_id_at


def run_and_deliver(plan: Plan, options: Options, publisher: Publisher | None, control: Control | None) -> Report:
    """`run`, for a plan some of whose outputs go elsewhere. Raises what `run` raises."""
    plan.validate()
    kind = options.devices.kind if options.devices else "cpu"
    standing = delivered(plan, kind, overwrite=options.overwrite)
    remaining = plan.without(standing)
    publisher = publisher or Publisher()
    report = run(remaining, options, publisher, control) if remaining.outputs else _nothing(plan)
    for output in remaining.outputs:
        if output.destination:
            publisher.state("finishing")
            deliver(output.path, output.destination, overwrite=options.overwrite, tick=options.on_tick)
            delete(output.path)
    publisher.state("done")
    return replace(
        report,
        outputs={output.node: output.place for output in plan.outputs},
        tensors=sum(len(output.tensors) for output in plan.outputs),
        already_done=(*standing, *report.already_done),
    )


def delivered(plan: Plan, kind: str, *, overwrite: bool) -> tuple[str, ...]:
    """The outputs that are in their buckets, none where they are to be made anew. OutputError where something else is
    in the place of one."""
    return tuple(
        [
            output.node
            for output in plan.outputs
            if output.destination and _is_there(plan, output, kind, overwrite=overwrite)
        ]
    )


def _is_there(plan: Plan, output: Output, kind: str, *, overwrite: bool) -> bool:
    """Whether the result is in the bucket. OutputError when something else is."""
    try:
        names = standing_at(output.destination)
        if overwrite or not names:
            return False
        wanted = identified(plan, output, kind).result_id
        if PROVENANCE in names and result_id_at(output.destination, names) == wanted:
            return True
        why = _strange(output, names, wanted)
        if not why:
            return False
    except InputError as error:
        raise OutputError(*[problem.located(output.at, output.node) for problem in error.problems]) from error
    raise OutputError(
        Problem(
            f"The output exists: {output.destination}", at=output.at, node=output.node, why=why,
            fix="--overwrite, or another path with -o",
        )
    )  # fmt: skip


def _strange(output: Output, names: Names, wanted: str) -> str:
    """Why what is there is no stopped upload of the result that is `wanted`; empty where it is one."""
    if PROVENANCE in names:
        return "another result, or one that was made elsewhere"
    if UPLOADING not in names:
        return f"no upload of this output has left what lies there: {', '.join(sorted(names)[:4])}"
    if upload_id_at(output.destination, names) != wanted:
        return "an upload of another result was begun there and not finished"
    strangers = sorted(names.keys() - _own_names(output) - {UPLOADING})
    return f"{', '.join(strangers[:4])} lies there, which is not of this output" if strangers else ""


def _own_names(output: Output) -> set[str]:
    """What an upload that was stopped may have left: files of the layout, and whatever lies beside weights."""
    names = {file.name for file in output.layout.files} | {output.layout.index_name, "config.json", "README.md"}
    names |= {name for name, _ in (*output.sidecars.copies, *output.sidecars.written)}
    return names | {"chat_template.jinja", "stats.json", "mergegraph.run.json", "mergegraph.intoto.json"}


def _nothing(plan: Plan) -> Report:
    """Of a run that found all of it done."""
    return Report(
        outputs={}, tensors=0, resumed=0, computed=0, copied=0, already_done=(), read_bytes=0, write_bytes=0,
        reserved_bytes=resident_bytes(), budget_bytes=plan.projection.budget_bytes,
        pool_bytes=plan.projection.pool_bytes, measured_bytes=peak_bytes(), seconds=0.0, nonfinite={}, overflowed={},
        node_seconds={}, device=ON_CPU,
    )  # fmt: skip
