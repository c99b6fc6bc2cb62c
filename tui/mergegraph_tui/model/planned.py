"""What the plan dialog says before a run: the order of work, what a tile holds at each step, bytes, disk, what is there.

From a Plan, its graph and a look at the output paths; reads journals, changes nothing. Whether a partial folder will be
gone on with is decided by the run, which also knows torch and the processor: here it is told as far as a plan can.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mergegraph.expr import Read
from mergegraph.graph import Graph
from mergegraph.plan.encode import output_digests
from mergegraph.plan.groups import Group
from mergegraph.plan.plan import Output, Plan
from mergegraph.plan.steps import (
    Accumulate,
    Call,
    Copy,
    Fetch,
    Join,
    Multiply,
    Reduce,
    Scaled,
    Split,
    Step,
    Store,
    Zero,
)
from mergegraph.runs.following import find, partial_of
from mergegraph.tensors.disk import allocated_bytes, free_bytes
from mergegraph.tensors.journal import JournalContents, read_journal
from mergegraph.tensors.kept import JOURNAL, recorded


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node in the order of work."""

    name: str
    op: str
    inputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step of one tile, and the bytes of the slots that hold something while it is performed. `pass_number` counts
    from 1."""

    pass_number: int
    text: str
    held_bytes: int
    is_peak: bool = False


@dataclass(frozen=True, slots=True)
class Steps:
    """What the largest tensor of the plan goes through; every tensor of its formula goes the same way."""

    tensor: str
    elements: int
    tile_elements: int
    rows: tuple[StepRow, ...]


@dataclass(frozen=True, slots=True)
class Nothing:
    """There is nothing at the output's path: the run begins from the beginning."""


@dataclass(frozen=True, slots=True)
class Resumes:
    """An earlier run was stopped: `tensors` of `expected` are on disk, `bytes_kept` of them."""

    tensors: int
    expected: int
    bytes_kept: int


@dataclass(frozen=True, slots=True)
class OtherPartial:
    """A partial folder of something else is in the way; the run refuses unless it may overwrite. `why`: what differs."""

    why: str


@dataclass(frozen=True, slots=True)
class Exists:
    """Something stands at the final name: the same result is left as it is, anything else is refused unless it may be
    overwritten."""


@dataclass(frozen=True, slots=True)
class BeingWritten:
    """A run lives that writes it, in process `pid`."""

    pid: int


Standing = Nothing | Resumes | OtherPartial | Exists | BeingWritten


@dataclass(frozen=True, slots=True)
class PlannedOutput:
    """One output. `disk_free_bytes` counts what its own partial folder holds as free."""

    node: str
    path: Path
    tensors: int
    copied: int
    files: int
    write_bytes: int
    disk_free_bytes: int
    standing: Standing

    @property
    def fits(self) -> bool:
        return self.write_bytes <= self.disk_free_bytes


@dataclass(frozen=True, slots=True)
class Planned:
    """The dialog's content. `pool_bytes` is all that tiles will take: `workers` times `tile_set_bytes`, and what they
    share; it is taken at once, so it is the peak."""

    nodes: tuple[NodeRow, ...]
    steps: Steps | None
    workers: int
    tile_set_bytes: int
    pool_bytes: int
    budget_bytes: int
    read_bytes: int
    write_bytes: int
    passes: int
    unread: tuple[str, ...]
    outputs: tuple[PlannedOutput, ...]

    @property
    def fits_budget(self) -> bool:
        return self.pool_bytes <= self.budget_bytes

    @property
    def resumed_tensors(self) -> int:
        return sum(o.standing.tensors for o in self.outputs if isinstance(o.standing, Resumes))


def planned(plan: Plan, graph: Graph) -> Planned:
    """Everything the dialog shows."""
    memory = plan.projection
    return Planned(
        nodes=node_order(graph),
        steps=steps_of(plan),
        workers=memory.workers,
        tile_set_bytes=memory.tile_set_bytes,
        pool_bytes=memory.pool_bytes,
        budget_bytes=memory.budget_bytes,
        read_bytes=plan.read_bytes,
        write_bytes=plan.write_bytes,
        passes=plan.passes,
        unread=plan.unread,
        outputs=tuple([_output(plan, output) for output in plan.outputs]),
    )


def node_order(graph: Graph) -> tuple[NodeRow, ...]:
    """The nodes as they were written, inputs before users; an expression is one node."""
    rows: dict[str, tuple[str, list[str]]] = {}
    for node in graph.nodes.values():
        written = node.written_as
        op, inputs = rows.get(written, ("", []))
        outer = [graph.nodes[name].written_as for name in node.inputs]
        inputs += [name for name in outer if name != written and name not in inputs]
        rows[written] = ("expression" if node.source.within or op else node.method.op, inputs)
    return tuple([NodeRow(name, op, tuple(inputs)) for name, (op, inputs) in rows.items()])


def steps_of(plan: Plan) -> Steps | None:
    """The steps of the largest group and what a tile of it holds at each; None where nothing is written."""
    if not plan.groups:
        return None
    group = max(plan.groups, key=lambda each: each.element_count)
    output, tensor = group.members[0]
    largest = plan.outputs[output].tensors[tensor]
    elements = min(group.extent.tile(plan.projection.tile_elements), group.element_count)
    rows = tuple(_rows(plan, group, elements))
    peak = max((row.held_bytes for row in rows), default=0)
    first = next((n for n, row in enumerate(rows) if row.held_bytes == peak), 0)
    marked = [StepRow(r.pass_number, r.text, r.held_bytes, n == first and peak > 0) for n, r in enumerate(rows)]
    return Steps(largest.name, group.element_count, elements, tuple(marked))


def _rows(plan: Plan, group: Group, elements: int) -> Iterator[StepRow]:
    program = group.computation.program
    labels = {file.path: file.label for file in plan.inputs}
    for index, steps in enumerate(program.passes):
        each = program.piece(index)[1] if program.in_pieces else elements
        slot_bytes = (8 if program.double else 4) * min(each, elements)
        names: dict[int, str] = {}
        for step, used in zip(steps, _slots_in_use(steps), strict=True):
            text = _text(step, names, [_label(read, labels) for read in group.computation.reads])
            yield StepRow(index + 1, text, used * slot_bytes)


def _slots_in_use(steps: tuple[Step, ...]) -> list[int]:
    """How many slots each step of a pass needs: its own, and those that a later step looks at."""
    counts: list[int] = []
    live: set[int] = set()
    for step in reversed(steps):
        written, read, scratch = _touched(step)
        counts.append(len(live | {*written, *read, *scratch}))
        live = (live - {*written}) | {*read}
    return counts[::-1]


def _touched(step: Step) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """The slots that a step fills, looks at, and uses meanwhile."""
    match step:
        case Fetch(slot=slot) | Zero(slot=slot) | Multiply(slot=slot):
            return (slot,), (), ()
        case Scaled(slot=slot, source=source):
            return (slot,), (source,), ()
        case Accumulate(slot=slot, source=source):
            return (slot,), (slot, source), ()
        case Call(slot=slot, sources=sources, scratch=scratch):
            return (slot,), sources, scratch
        case Split(left=left, right=right, source=source):
            return (left, right), (source,), ()
        case Join(pieces=pieces):
            return (), tuple([piece.number for piece in pieces if not piece.dtype]), ()
        case Reduce(sources=sources):
            return (), sources, ()
        case Store(slot=slot):
            return (), (slot,), ()
        case Copy():
            return (), (), ()


def _text(step: Step, names: dict[int, str], reads: list[str]) -> str:
    """A step in words; `names` is what the slots hold, and is kept up to date."""
    match step:
        case Fetch(slot=slot, read=read):
            names[slot] = reads[read]
            return f"read {reads[read]}"
        case Zero(slot=slot):
            names[slot] = "0"
            return "begin with 0"
        case Scaled(slot=slot, source=source, coefficient=coefficient):
            text = f"{coefficient:g} × {names.get(source, '?')}"
            names[slot] = "the product"
            return text
        case Accumulate(slot=slot, source=source, coefficient=coefficient):
            names_source, names[slot] = names.get(source, "?"), "the sum"
            factor = "" if abs(coefficient) == 1 else f"{abs(coefficient):g} × "
            return f"{'subtract' if coefficient < 0 else 'add'} {factor}{names_source}"
        case Call(slot=slot, kernel=kernel, sources=sources):
            text = f"{kernel} of {', '.join(names.get(source, '?') for source in sources)}"
            names[slot] = kernel
            return text
        case Multiply(slot=slot, left=left):
            names[slot] = f"B A of {reads[left]}"
            return names[slot]
        case Split(left=left, right=right, source=source, rank=rank):
            text = f"factors of rank {rank} of {names.get(source, '?')}"
            names[left] = names[right] = "the factors"
            return text
        case Join(pieces=pieces, axis=axis):
            return f"put {len(pieces)} matrices {'side by side' if axis else 'one below the other'} and write them"
        case Reduce(sources=sources):
            return f"count {', '.join(names.get(source, '?') for source in sources)}"
        case Store(slot=slot):
            return f"write {names.get(slot, '?')}"
        case Copy(read=read):
            return f"copy {reads[read]} byte for byte"


def _label(read: Read, labels: Mapping[str, str]) -> str:
    return labels.get(read.path, Path(read.path).name)


def _output(plan: Plan, output: Output) -> PlannedOutput:
    partial = partial_of(output.path)
    return PlannedOutput(
        node=output.node,
        path=output.path,
        tensors=len(output.tensors),
        copied=sum(tensor.is_copy for tensor in output.tensors),
        files=len(output.layout.files),
        write_bytes=output.layout.file_bytes,
        disk_free_bytes=free_bytes(partial) + allocated_bytes(partial),
        standing=standing(plan, output),
    )


def standing(plan: Plan, output: Output) -> Standing:
    """What is there, of the output and of the runs that write it."""
    run = find(output.path)
    if run is not None and run.is_alive():
        return BeingWritten(run.pid)
    if os.path.lexists(output.path):
        return Exists()
    partial = partial_of(output.path)
    try:
        journal = read_journal(partial / JOURNAL)
    except OSError:
        return OtherPartial("it has no journal") if _has_something(partial) else Nothing()
    return _kept(plan, output, partial, journal)


def _kept(plan: Plan, output: Output, partial: Path, journal: JournalContents) -> Standing:
    if journal.header is None:
        return Nothing()
    computed, _ = output_digests(plan, output)
    wanted = {"plan": computed, "layout": output.layout.digest()}
    differing = [name for name, digest in wanted.items() if journal.header.get(name) != digest]
    if differing:
        return OtherPartial(f"it is of another {differing[0]}")
    specs = output.layout.specs
    names = {str(record["tensor"]) for record in recorded(partial)} & specs.keys()
    return Resumes(len(names), len(specs), sum(specs[name].nbytes for name in names))


def _has_something(partial: Path) -> bool:
    """Whether somebody's files are there; a lock alone is what a killed run leaves."""
    try:
        return any(not entry.name.endswith((".tmp", "lock")) for entry in partial.iterdir())
    except OSError:
        return False
