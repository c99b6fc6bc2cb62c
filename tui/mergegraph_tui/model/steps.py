"""What one tile of a plan's largest tensor goes through, in words, and the memory that holds something meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mergegraph.expr import Read
from mergegraph.plan.groups import Group
from mergegraph.plan.plan import Plan
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
    reads = [_label(read, labels) for read in group.computation.reads]
    for index, steps in enumerate(program.passes):
        each = program.piece(index)[1] if program.in_pieces else elements
        slot_bytes = (8 if program.double else 4) * min(each, elements)
        names: dict[int, str] = {}
        for step, used in zip(steps, _slots_in_use(steps), strict=True):
            yield StepRow(index + 1, _text(step, names, reads), used * slot_bytes)


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
            before = names.get(source, "?")
            names[slot] = before if coefficient == 1 else f"{coefficient:g} × {before}"
            return f"begin with {names[slot]}"
        case Accumulate(slot=slot, source=source, coefficient=coefficient):
            added, names[slot] = names.get(source, "?"), "the difference" if coefficient == -1 else "the sum"
            factor = "" if abs(coefficient) == 1 else f"{abs(coefficient):g} × "
            return f"{'subtract' if coefficient < 0 else 'add'} {factor}{added}"
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
        case Join(pieces=[_]):
            return "write a factor"
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
