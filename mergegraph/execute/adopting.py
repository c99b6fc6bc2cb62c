"""Shards that workers made are put together: one attempt at each file gets the file's name, and a journal says so.

What is left of a run then is to finish it: `run` finds every tensor on disk, and publishes.
"""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from mergegraph.errors import Location, OutputError, Problem, RunError, raise_errors
from mergegraph.execute.card import read_by
from mergegraph.execute.engine import engine_and_torch
from mergegraph.execute.identity import Identity, identified, shard_key
from mergegraph.execute.standing import Wanted, is_done
from mergegraph.plan.plan import Output, Plan
from mergegraph.plan.shards import Shard, shards_of
from mergegraph.tensors.attempts import Attempt, Key, attempts_in
from mergegraph.tensors.checksum import bytes_per_block, file_checksum
from mergegraph.tensors.disk import sync_path
from mergegraph.tensors.journal import Journal
from mergegraph.tensors.kept import JOURNAL, working_path
from mergegraph.tensors.layout import FileLayout, Layout
from mergegraph.tensors.lock import FolderLock
from mergegraph.tensors.partial import ATTEMPTS, LOCK, failing_as_output, journal_header
from mergegraph.tensors.readback import Advance, in_threads
from mergegraph.units import format_count

_SHOWN = 8


@dataclass(frozen=True)
class Standing:
    """What is there of an output: nothing to do, or attempts at each file, or none at some. `others`: the keys of
    attempts that are of another plan, other inputs or another engine."""

    output: Output
    is_done: bool
    attempts: Mapping[int, Sequence[Attempt]]
    others: tuple[Key, ...]
    key: Key

    @property
    def missing(self) -> tuple[int, ...]:
        """Files without a complete attempt."""
        return () if self.is_done else tuple(
            [index for index in range(len(self.output.layout.files)) if index not in self.attempts]
        )  # fmt: skip


def partial_of(output: Output) -> Path:
    return output.path.with_name(f"{output.path.name}.partial")


def standings(plan: Plan, kind: str = "cpu", *, overwrite: bool = False) -> list[Standing]:
    """How far the workers have come with each output. `overwrite`: what stands complete is to be made anew."""
    return [_standing(plan, output, kind, overwrite=overwrite) for output in plan.outputs]


def kind_of_attempts(plan: Plan) -> str:
    """The kind of device that attempts at a plan's outputs were made on. OutputError where there are several."""
    begin = f"{engine_and_torch()} on "
    engines = {str(attempt.key.get("engine")) for output in plan.outputs for attempt in attempts_in(partial_of(output))}
    kinds = sorted([engine.removeprefix(begin) for engine in engines if engine.startswith(begin)])
    if len(kinds) > 1:
        folders = ", ".join([str(partial_of(output)) for output in plan.outputs])
        why = "devices of two kinds may differ in the last bit, so an output is made on one"
        fact = f"The shards were made on several kinds of device: {', '.join(kinds)}."
        raise OutputError(Problem(fact, why=why, fix=f"begin again on one of them: rm -r {folders}"))
    return kinds[0] if kinds else "cpu"


def missing_shards(found: Sequence[Standing]) -> tuple[Shard, ...]:
    """The shards that nobody has completed."""
    return tuple([Shard(index, file) for index, each in enumerate(found) for file in each.missing])


def _standing(plan: Plan, output: Output, kind: str, *, overwrite: bool) -> Standing:
    key = shard_key(plan, output, kind)
    wanted = Wanted(plan, output, identified(plan, output, kind), kind)
    if not overwrite and is_done(wanted, allow_non_finite=True):
        return Standing(output, True, {}, (), key)
    partial, layout = partial_of(output), output.layout
    there = attempts_in(partial)
    position = {file.name: index for index, file in enumerate(layout.files)}
    ours: dict[int, list[Attempt]] = {}
    for attempt in there:
        index = position.get(attempt.file)
        if index is not None and attempt.key == key and _data(partial, layout, index, attempt):
            ours.setdefault(index, []).append(attempt)
    others = tuple([attempt.key for attempt in there if attempt.key != key])
    return Standing(output, False, ours, others, key)


def _data(partial: Path, layout: Layout, index: int, attempt: Attempt) -> Path | None:
    """Where the bytes of an attempt lie: under its own name, or under the file's, where a finisher was stopped."""
    places = (attempt.data, working_path(partial, layout, index))
    return next((path for path in places if path.is_file() and not path.is_symlink()), None)


def adopt(
    plan: Plan,
    *,
    kind: str = "cpu",
    overwrite: bool = False,
    allow_non_finite: bool = False,
    reads_back: bool = True,
    typed: str = "",
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Problem, ...]:
    """Give every output that is not complete its files and a journal. OutputError for all shards that are missing, of
    another result, or not as they were written; nothing is renamed then. Returns warnings.

    `reads_back`: compare every checksum with the bytes on disk. `typed`: the recipe and its options, to be told how
    to run a part. `tick`: is told the bytes that were read, of all.
    """
    found = standings(plan, kind, overwrite=overwrite)
    raise_errors(_unready(plan, found, typed), OutputError)
    if not allow_non_finite:
        raise_errors([problem for each in found for problem in _not_finite(each)], RunError)
    waiting = [each for each in found if not each.is_done]
    total = sum([file.file_bytes for each in waiting for file in each.output.layout.files])
    with ExitStack() as stack:
        for each in waiting:
            with failing_as_output(partial_of(each.output), each.output.layout):
                stack.callback(FolderLock.take(partial_of(each.output) / LOCK).release)
        chosen = _checked(waiting, lambda done: tick(done, total), reads_back=reads_back)
        for each, attempts in zip(waiting, chosen, strict=True):
            with failing_as_output(partial_of(each.output), each.output.layout):
                _put_together(plan, each.output, attempts, identified(plan, each.output, kind), kind)
    unneeded = [
        _unneeded(each.output) for each in found if each.is_done and (partial_of(each.output) / ATTEMPTS).exists()
    ]
    return (*unneeded, *[warning for each in waiting for warning in _mixed(each)])


def _checked(waiting: Sequence[Standing], read: Callable[[int], None], *, reads_back: bool) -> list[dict[int, Attempt]]:
    """For each output an attempt at each file that is as its record says, several files at once. OutputError naming
    every file without one."""
    files = [(each, index) for each in waiting for index in sorted(each.attempts)]
    found = in_threads([_checking(each, index, reads_back) for each, index in files], read)
    raise_errors([problem for problem in found if isinstance(problem, Problem)], OutputError)
    chosen: dict[str, dict[int, Attempt]] = {each.output.node: {} for each in waiting}
    for (each, index), attempt in zip(files, found, strict=True):
        if isinstance(attempt, Attempt):
            chosen[each.output.node][index] = attempt
    return list(chosen.values())


def _checking(each: Standing, index: int, reads_back: bool) -> Callable[[Advance], Attempt | Problem]:
    """What finds the first attempt at a file that is as its record says, or tells how the first of all differs."""
    output, attempts = each.output, each.attempts[index]

    def check(advance: Advance) -> Attempt | Problem:
        broken = [_first_difference(output, index, attempt, reads_back=reads_back) for attempt in attempts]
        advance(output.layout.files[index].file_bytes)
        intact = [attempt for attempt, difference in zip(attempts, broken, strict=True) if not difference]
        if intact:
            return intact[0]
        path = _data(partial_of(output), output.layout, index, attempts[0])
        return _damaged(path or attempts[0].data, attempts[0], broken[0], output.at)

    return check


def _first_difference(output: Output, index: int, attempt: Attempt, *, reads_back: bool) -> str:
    path = _data(partial_of(output), output.layout, index, attempt)
    if path is None:
        return "it is gone"
    return _broken(path, output.layout, output.layout.files[index], attempt, reads_back=reads_back)


def _broken(path: Path, layout: Layout, file: FileLayout, attempt: Attempt, *, reads_back: bool) -> str:
    """In what a file differs from its record; empty where it does not. Tensors are compared where it `reads_back`."""
    with path.open("rb") as stored:
        held = os.fstat(stored.fileno()).st_size
        if held != file.file_bytes:
            return f"it has {held:,} of {file.file_bytes:,} bytes"
        if stored.read(len(file.header)) != file.header:
            return "its header is another"
        said = {str(record["tensor"]): record["checksum"] for record in attempt.tensors}
        if said.keys() != file.offsets.keys():
            return "its record is of other tensors"
        for name, offset in file.offsets.items() if reads_back else ():
            spec = layout.specs[name]
            if file_checksum(stored.fileno(), offset, spec.nbytes, bytes_per_block(spec.dtype)) != said.get(name):
                return f"{name} has another checksum"
    return ""


def _put_together(plan: Plan, output: Output, attempts: Mapping[int, Attempt], identity: Identity, kind: str) -> None:
    """Names first, then the journal: who is stopped between the two finds the files by their records again."""
    partial, layout = partial_of(output), output.layout
    for index, attempt in attempts.items():
        if attempt.data.exists():
            attempt.data.replace(working_path(partial, layout, index))
    sync_path(partial)
    header = journal_header(
        layout,
        result_id=identity.result_id,
        engine=f"{engine_and_torch()} on {kind}",
        plan_sha256=identity.plan_sha256,
        inputs={file.path: file.identity for file in read_by(plan, output)},
    )
    records = [record for _, attempt in sorted(attempts.items()) for record in attempt.tensors]
    Journal.create(partial / JOURNAL, header, records).close()
    sync_path(partial)


def _unready(plan: Plan, found: Sequence[Standing], typed: str) -> list[Problem]:
    """What keeps outputs from being put together; the last says which parts to run."""
    problems = [_missing(each) for each in found if each.missing]
    if problems:
        problems[-1] = replace(problems[-1], fix=_parts_to_run(plan, found, typed))
    return problems


def _missing(standing: Standing) -> Problem:
    output, missing = standing.output, standing.missing
    files = output.layout.files
    names = ", ".join([files[index].name for index in missing[:_SHOWN]]) + (", …" if len(missing) > _SHOWN else "")
    why = f"not complete in {partial_of(output)}: {names}"
    if standing.others:
        why += f"\n{format_count(len(standing.others), 'other')} there cannot be used: " + _difference(standing)
    be = "is" if len(missing) == 1 else "are"
    fact = f"{len(missing)} of {format_count(len(files), 'shard')} of {output.path} {be} missing."
    return Problem(fact, at=output.at, node=output.node, why=why)


def _parts_to_run(plan: Plan, found: Sequence[Standing], typed: str) -> str:
    """The parts that hold the missing shards, counted as the others were."""
    shards = shards_of(plan)
    attempts = [attempt for each in found for made in each.attempts.values() for attempt in made]
    told = Counter(str(attempt.facts.get("part", "")) for attempt in attempts)
    counts = Counter(int(part.rpartition("/")[2]) for part in told.elements() if part.rpartition("/")[2].isdigit())
    count = counts.most_common(1)[0][0] if counts else len(shards)
    wanted = sorted({shards.index(shard) % count + 1 for shard in missing_shards(found)})
    recipe = typed or shlex.quote(plan.outputs[0].at.file)
    lines = [f"mergegraph run {recipe} --shards {number}/{count}" for number in wanted[:_SHOWN]]
    more = [f"and {len(wanted) - _SHOWN} more"] if len(wanted) > _SHOWN else []
    return "\n".join(["run these, with the options that the others had:", *lines, *more])


def _not_finite(standing: Standing) -> Iterator[Problem]:
    """A problem where the records tell of NaN or Inf."""
    partial = partial_of(standing.output)
    for attempts in standing.attempts.values():
        for attempt in attempts:
            for record in attempt.tensors:
                facts = cast("Mapping[str, object]", record.get("facts", {}))
                if count := facts.get("nonfinite"):
                    yield Problem(
                        f"{attempt.file} holds values that are not finite: {count} in {record['tensor']}.",
                        at=standing.output.at,
                        node=standing.output.computed_by,
                        tensor=str(record["tensor"]),
                        fix=f"--allow-non-finite to keep them, or mend the inputs and begin again: rm -r {partial}",
                    )
                    return


def _unneeded(output: Output) -> Problem:
    """A warning: somebody made shards of what is complete."""
    attempts = partial_of(output) / ATTEMPTS
    return Problem(
        f"{attempts} holds shards of an output that is complete.",
        at=output.at,
        node=output.node,
        why="parts were run again after it was put together",
        fix=f"rm -r {partial_of(output)}, or mergegraph finalize RECIPE --overwrite to take them in its place",
        severity="warning",
    )


def _difference(standing: Standing) -> str:
    """In what attempts differ that are not of this result, what explains most first."""
    told = {
        "engine": "another engine made them",
        "plan": "they are of another recipe or seed",
        "layout": "their files are laid out in another way",
        "inputs": "they were made from other inputs, or from ones that changed since",
    }
    other = standing.others[0]
    return next((text for name, text in told.items() if other.get(name) != standing.key[name]), "of another version")


def _damaged(path: Path, attempt: Attempt, broken: str, at: Location) -> Problem:
    return Problem(
        f"{attempt.file} is not as it was written: {broken}.",
        at=at,
        why=f"{attempt.facts.get('host', 'a worker')} wrote {path}",
        fix=f"rm {path} {path}.json\nand run that part again",
    )


def _mixed(standing: Standing) -> Iterator[Problem]:
    """A warning where processors of several kinds took part: they may differ in the last bit of a value."""
    attempts = [attempt for made in standing.attempts.values() for attempt in made]
    kinds = sorted({str(attempt.facts.get("capability", "")) for attempt in attempts})
    if len(kinds) > 1:
        yield Problem(
            f"{standing.output.path} was computed by processors of several kinds.",
            at=standing.output.at,
            why=f"{', '.join(kinds)}; sums may differ in their last bit between them, so another run on one of them "
            "may give other bytes",
            fix="use nodes of one kind where the same bytes are wanted again",
            severity="warning",
        )
