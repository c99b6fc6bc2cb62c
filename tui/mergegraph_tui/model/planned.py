"""What the plan dialog says before a run: order of work, memory at each step, bytes, disk, what is there already.

From a Plan, its graph and a look at the output paths; reads journals, changes nothing. Whether a partial folder will be
gone on with is decided by the run, which also knows torch and the processor: here it is told as far as a plan can.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mergegraph.errors import MergegraphError
from mergegraph.graph import Graph
from mergegraph.plan.encode import output_digests
from mergegraph.plan.plan import Output, Plan
from mergegraph.provenance.opening import open_output
from mergegraph.provenance.record import Provenance
from mergegraph.runs.following import find, partial_of
from mergegraph.tensors.disk import allocated_bytes, free_bytes
from mergegraph.tensors.journal import JournalContents, read_journal
from mergegraph.tensors.kept import JOURNAL, recorded
from mergegraph_tui.model.steps import Steps, steps_of


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node in the order of work."""

    name: str
    op: str
    inputs: tuple[str, ...]


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
    """A partial folder of something else is in the way; the run refuses it unless it may overwrite."""

    why: str


@dataclass(frozen=True, slots=True)
class Exists:
    """Something stands at the final name: the same result is left as it is, anything else is refused unless it may be
    overwritten. `is_same_plan`: it was made by this plan; the run also compares the inputs, torch and the processor."""

    is_same_plan: bool = False


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
        return Exists(_made_by(output.path) == output_digests(plan, output)[0])
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


def _made_by(path: Path) -> str:
    """The digest of the plan of the output that stands there; "" where nothing says one."""
    try:
        made = open_output(path).provenance
    except MergegraphError:
        return ""
    return made.plan_sha256 if isinstance(made, Provenance) else ""


def _has_something(partial: Path) -> bool:
    """Whether somebody's files are there; a lock alone is what a killed run leaves."""
    try:
        return any(not entry.name.endswith((".tmp", "lock")) for entry in partial.iterdir())
    except OSError:
        return False
