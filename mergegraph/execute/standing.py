"""What stands where a run would put an output: the same result, or why it is not."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mergegraph.errors import MergegraphError, Problem
from mergegraph.execute.card import read_by
from mergegraph.execute.engine import engine_and_torch
from mergegraph.execute.identity import Identity
from mergegraph.plan.plan import Output, Plan
from mergegraph.provenance.opening import OpenedOutput, is_output, open_output
from mergegraph.provenance.record import Provenance
from mergegraph.tensors.completed import Completed, completed, damage
from mergegraph.tensors.partial import why_kept
from mergegraph.tensors.sources.hub_names import moved_commits
from mergegraph.units import format_count


@dataclass(frozen=True, slots=True)
class Wanted:
    """The result that a run would make."""

    plan: Plan
    output: Output
    identity: Identity
    kind: str


def is_done(wanted: Wanted, *, allow_non_finite: bool) -> bool:
    """Whether the result already stands there: the same id, every file of its length, and no NaN or Inf that this run
    would have refused to write. The bytes of the files are not read."""
    there = completed(wanted.output.path)
    return (
        there is not None
        and there.result_id == wanted.identity.result_id
        and not damage(wanted.output.path, there)
        and (allow_non_finite or not there.nonfinite)
    )


def taken(wanted: Wanted) -> Problem:
    """What is to be said of a path at which something else stands."""
    output, there = wanted.output, completed(wanted.output.path)
    if there is None or there.result_id != wanted.identity.result_id:
        fact, why = f"The output exists: {output.path}", _another(wanted)
    elif broken := damage(output.path, there):
        fact, why = f"The output exists and is not as it was written: {output.path}", broken
    else:
        return _not_finite(output, there)
    if kept := why_kept(output.path):
        why, fix = f"{why}; --overwrite does not replace it: {kept}", "another path with -o, or remove it yourself"
    else:
        fix = "--overwrite, or another path with -o"
    return Problem(fact, at=output.at, node=output.node, why=why, fix=fix)


def not_measured(wanted: Wanted) -> Problem:
    """A warning: the result stands there without the statistics that were asked for."""
    output, again = wanted.output, "--overwrite, to make it again with them"
    file = output.at.file
    is_recipe = file.endswith((".yaml", ".yml"))
    return Problem(
        f"The output is complete and has no statistics: {output.path}",
        at=output.at,
        node=output.node,
        why="an earlier run made it without --stats, and nothing is read again",
        fix=f"{shlex.join(['mergegraph', 'stats', file])}, or {again}" if is_recipe else again,
        severity="warning",
    )


def _not_finite(output: Output, there: Completed) -> Problem:
    count = sum(there.nonfinite.values())
    values = "1 value that is" if count == 1 else f"{format_count(count, 'value')} that are"
    return Problem(
        f"The output exists and holds {values} not finite: {output.path}",
        at=output.at,
        node=output.node,
        tensor=next(iter(there.nonfinite)),
        why="an earlier run with --allow-non-finite made it",
        fix="--allow-non-finite to take it as it is, or --overwrite after the inputs are mended",
    )


def _another(wanted: Wanted) -> str:
    path = wanted.output.path
    if not path.is_dir():
        return "it is a file, and an output is a folder"
    if not any(path.iterdir()):
        return "it is an empty folder; a run makes its own"
    if not is_output(path):
        return "it is not an output of mergegraph"
    try:
        differences = list(_differences(wanted, open_output(path)))
    except MergegraphError as error:
        return f"its records cannot be read: {error.problems[0].fact}"
    return f"it is another result: {differences[0] if differences else 'the files that are copied along differ'}"


def _differences(wanted: Wanted, there: OpenedOutput) -> Iterator[str]:
    """What makes it another result, what explains most first."""
    made = there.provenance
    if not isinstance(made, Provenance):
        yield f"it was converted {made.converted}"
        return
    if made.plan_sha256 != wanted.identity.plan_sha256:
        yield "the recipe or its seed is another"
    yield from _other_inputs(
        {} if there.run is None else {file.path: file.identity for file in there.run.inputs}, wanted
    )
    versions = f"mergegraph {made.versions.get('mergegraph')} with torch {made.versions.get('torch')}"
    engine = f"mergegraph {engine_and_torch()}"
    if versions != engine:
        yield f"{versions} made it, this is {engine}"
    if made.device.kind != wanted.kind:
        yield f"it was computed on {made.device.kind}, this run computes on {wanted.kind}"
    if there.run is None:
        yield "which inputs it was made from is not known without its mergegraph.run.json"


def _other_inputs(before: Mapping[str, str], wanted: Wanted) -> Iterator[str]:
    now = {file.path: file.identity for file in read_by(wanted.plan, wanted.output)}
    for path in (path for path in now if before.get(path, now[path]) != now[path]):
        yield f"{path} is another file than it was made from, or was written since"
    commits = moved_commits(before, now)
    if commits:
        yield f"it was made from another commit of {commits[0]}"
    moved = [] if commits else [path for path in now if path not in before]
    if before and moved:
        yield f"it was made from files elsewhere, not from {moved[0]}"
