"""The memory that the groups and gatherings of a plan need, and what to say when it is too much."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mergegraph.errors import Problem
from mergegraph.expr import Apply, Expr, Joined, Product
from mergegraph.methods.registry import kernels
from mergegraph.plan.extent import Extent
from mergegraph.plan.groups import Gathering, Group, Grouped
from mergegraph.plan.memory import (
    BLOCK_ELEMENTS,
    COUNTING_BYTES,
    HISTOGRAM_BYTES,
    PLACES_BYTES,
    STRIDES_KEPT,
    Projection,
    histogram_bytes,
    measure_bytes,
    project,
    record_bytes,
    sample_stride,
    text_bytes,
    tile_shape,
    with_special,
)
from mergegraph.plan.rooms import room_bytes, split_bytes
from mergegraph.plan.steps import Call, Program, Reduce, Split
from mergegraph.units import format_bytes, format_count
from mergegraph.walking import walk

Sized = tuple[Program, Extent]


def projection(groups: Sequence[Group], gathered: Sequence[Gathering], budget_bytes: int, workers: int) -> Projection:
    """The tile and worker count for these inside the budget."""
    sized = [(group.computation.program, group.extent) for group in groups]
    sized += [(work.program, extent) for each in gathered for work, extent in each.members]
    plain = [(program, extent) for program, extent in sized if program.granularity == "element"]
    special = {(program, extent) for program, extent in sized if program.granularity != "element"}
    programs = {program for program, _ in sized}
    measured = {group.computation.program for group in groups if group.measured}
    shared = _shared_bytes(programs, gathered, workers) + text_bytes(programs, measured)
    shared += _statistics_bytes(groups, workers)
    projected = project(
        tile_shape({program for program, _ in plain}),
        budget_bytes,
        workers,
        max((extent.elements for program, extent in sized if program.granularity != "matrix"), default=1),
        shared,
    )
    needed, affordable = 0, (budget_bytes - shared) // projected.workers
    for tile in range(projected.tile_elements, 0, -BLOCK_ELEMENTS):
        projected = replace(projected, tile_elements=tile)
        needed = max((set_bytes(program, extent, tile) for program, extent in special), default=0)
        if needed <= affordable:
            break
    return with_special(projected, needed)


def set_bytes(program: Program, extent: Extent, tile_elements: int) -> int:
    """A worker's tile set for a tensor whose kernels need rows or matrices, with what those allocate themselves."""
    tile = extent.tile(tile_elements)
    return tile_shape([program]).tile_set_bytes(tile) + workspace_bytes(program, extent)


def workspace_bytes(program: Program, extent: Extent) -> int:
    """What the kernels of a program allocate themselves."""
    if not extent.columns:
        return 0
    width = 8 if program.double else 4
    rows = extent.unit // extent.columns
    calls = [step for step in program.steps if isinstance(step, Call)]
    elements = [kernels()[call.kernel].workspace(rows, extent.columns, len(call.sources)) for call in calls]
    directions = kernels()["low_rank"].workspace
    split = [split_bytes(step, directions(*step.shape, 1) * width) for step in program.steps if isinstance(step, Split)]
    return max([max(elements, default=0) * width, *split])


def _shared_bytes(programs: Iterable[Program], gathered: Sequence[Gathering], workers: int) -> int:
    """Histograms: of the jobs that run side by side, and of the populations."""
    each = max((histogram_bytes(program) for program in programs), default=0)
    populations = max((histogram_bytes_of(one) for one in gathered), default=0)
    return each * (workers + 1) + populations


def _statistics_bytes(groups: Sequence[Group], workers: int) -> int:
    """What statistics are counted in, a group for each worker and one more, what that takes beside it, which elements
    are counted, and the records of all tensors."""
    measured = [(group, _rows(group)) for group in groups if group.measured]
    if not measured:
        return 0
    counted_in = [
        sum([measure_bytes(each, group.extent.elements, double=group.computation.program.double) for each in rows])
        for group, rows in measured
    ]
    strides = {sample_stride(group.extent.elements) for group, _ in measured} - {1}
    places = PLACES_BYTES * min(len(strides), STRIDES_KEPT)
    records = sum([record_bytes(each) for _, rows in measured for each in rows])
    return max(counted_in) * (workers + 1) + COUNTING_BYTES * workers + places + records


def _rows(group: Group) -> list[int]:
    """How many rows each look has at a group's tensors."""
    program = group.computation.program
    return [len(x.sources) for x in program.passes[-1] if isinstance(x, Reduce) and x.stat >= program.given]


def histogram_bytes_of(gathering: Gathering) -> int:
    """A population's histogram is one, however many members it has."""
    return HISTOGRAM_BYTES if gathering.stat.kind == "abs_quantile" else 0


def too_large(outputs: Sequence[Grouped], groups: Sequence[Group], projection: Projection) -> Problem:
    """Names what needs most: a tensor whose kernels need it whole, else the plan as such."""
    needed = projection.pool_bytes
    fact = f"The plan needs {format_bytes(needed)}; the budget is {format_bytes(projection.budget_bytes)}."
    fix = f"--budget {-(-needed // 2**20)}MiB"
    if not outputs:
        return Problem(fact, why="one worker with the smallest tile holds that much", fix=fix)
    if not projection.special_bytes:
        worst = max(outputs, key=lambda output: len(output.tensors))
        why = f"one worker with the smallest tile ({projection.tile_elements:,} elements) holds that much"
        return Problem(fact, at=worst.at, node=worst.computed_by, why=why, fix=fix)
    special = [group for group in groups if group.extent.columns]
    group = max(special, key=lambda g: set_bytes(g.computation.program, g.extent, projection.tile_elements))
    output = outputs[group.members[0][0]]
    tensor = output.tensors[group.members[0][1]]
    ops = sorted({name for expr in walk(tensor.root) if (name := _needs_more_than_elements(expr))})
    program = group.computation.program
    whole = "matrices" if program.granularity == "matrix" else "rows"
    work = workspace_bytes(program, group.extent) + room_bytes(program)
    tile = format_bytes(group.extent.tile(projection.tile_elements) * (8 if program.double else 4))
    return Problem(
        fact,
        at=output.at,
        node=output.computed_by,
        tensor=f"{tensor.name} {list(tensor.shape)} {tensor.dtype.torch_name or tensor.dtype.code}",
        why=f"{' and '.join(ops)} works on whole {whole}: {format_count(program.slots, 'buffer')} of {tile}"
        + (f", and {format_bytes(work)} to work in" if work else ""),
        fix=f'{fix}, or leave this tensor out: `except: {{match: "{tensor.name}"}}`',
    )


def _needs_more_than_elements(expr: Expr) -> str:
    """The operation that an expression comes from, where it works on whole rows or matrices; else empty."""
    match expr:
        case Apply(kernel=kernel):
            return kernel if kernels()[kernel].granularity != "element" else ""
        case Product():
            return "lora"
        case Joined():
            return "save"
        case _:
            return ""
