"""What a run on a device holds, in the device's memory and in pinned memory of the host. Pure arithmetic.

A ring of stages: each has raw bytes in, rounded bytes out and results (counts, sums, histograms), on the host and on
the device. The device has slots and scratch once, since it computes one tile after the other. What has no form for a
device (`has_device_form`) is computed by the host's workers in the same run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from mergegraph.dtypes import BY_CODE
from mergegraph.errors import DoesNotFit, Problem
from mergegraph.plan.extent import Extent
from mergegraph.plan.groups import Gathering, Group
from mergegraph.plan.memory import BLOCK_ELEMENTS, HISTOGRAM_BYTES, REDUCE_BYTES, Projection, TileShape
from mergegraph.plan.program import Computation
from mergegraph.plan.projecting import projection, workspace_bytes
from mergegraph.plan.steps import Copy, Fetch, Join, Multiply, Program, Reduce, Split, Store
from mergegraph.statistic import CHUNK_ELEMENTS, SPARSE_BINS
from mergegraph.units import format_bytes

TILE_ELEMENTS = 8 << 20
"""A tile on a device: 16 MiB of bfloat16, so that starting a kernel costs nothing beside moving its bytes."""
STAGES = 4
"""One is read, one on its way in, one computed, one written."""
READERS, WRITERS = 6, 4
"""Threads beside each ring."""
JOBS = 16
"""So many jobs that accumulate something run side by side."""
SPARE_BINS = 4096
"""What lies outside a window is spread over so many more, since a device adds to one address in turn."""
COUNT_BYTES = 4
RESERVE_BYTES = 96 << 20
"""For what torch and its libraries allocate beside the pool: a workspace for products, temporaries of reductions."""
_SMALLEST_STAGE = 4 << 20
"""Small tensors are batched: a stage holds at least so many bytes."""
_SCRATCH_BYTES = 8 + 8 + 1 + 1
"""Two wide numbers and two flags for each element of a tile."""
_HOST_HISTOGRAM_BYTES = HISTOGRAM_BYTES
_PAGE = 4096

Sized = tuple[Program, Extent]


@dataclass(frozen=True, slots=True)
class Needs:
    """Bytes of a stage that one tile takes, or that a stage has."""

    raw: int
    out: int
    results: int

    @property
    def total(self) -> int:
        return self.raw + self.out + self.results

    def plus(self, other: Needs) -> Needs:
        return Needs(self.raw + other.raw, self.out + other.out, self.results + other.results)

    def at_least(self, other: Needs) -> Needs:
        return Needs(max(self.raw, other.raw), max(self.out, other.out), max(self.results, other.results))

    def fits(self, inside: Needs) -> bool:
        return self.raw <= inside.raw and self.out <= inside.out and self.results <= inside.results


@dataclass(frozen=True, slots=True)
class Staging:
    """The ring of each of `devices` devices. `piece_elements`: what statistics and noise work on at a time."""

    tile_elements: int
    piece_elements: int
    stage: Needs
    slot_bytes: int
    workspace_bytes: int
    devices: int = 1
    stages: int = STAGES

    @property
    def scratch_bytes(self) -> int:
        return self.piece_elements * _SCRATCH_BYTES

    @property
    def pool_bytes(self) -> int:
        """What is allocated on each device when the run begins."""
        return self.stages * self.stage.total + self.slot_bytes + self.scratch_bytes

    @property
    def device_bytes(self) -> int:
        """Of each device, with what kernels allocate themselves."""
        return self.pool_bytes + self.workspace_bytes + RESERVE_BYTES

    @property
    def pinned_bytes(self) -> int:
        """Of the host, for all devices; whole pages."""
        return self.devices * -(-self.stages * self.stage.total // _PAGE) * _PAGE


def has_device_form(work: Computation) -> bool:
    """Whether a device computes it: element, row and matrix kernels, sums and statistics, but no copies, products of
    factors, matrices that are put together, or numbers stored for blocks."""
    hosted = (Copy, Multiply, Split, Join)
    return not any([isinstance(step, hosted) for step in work.program.steps]) and not any(
        [read.scale is not None for read in work.reads]
    )


def fetched(program: Program, index: int) -> dict[int, int]:
    """The reads of a pass and the bits of their elements, in the order in which they are needed."""
    return {step.read: BY_CODE[step.dtype].bits for step in program.passes[index] if isinstance(step, Fetch)}


def stored(program: Program, index: int) -> dict[int, int]:
    """The roots that a pass stores, and the bits of their elements."""
    return {step.root: BY_CODE[step.dtype].bits for step in program.passes[index] if isinstance(step, Store)}


def tile_needs(program: Program, index: int, elements: int, leaf: int) -> Needs:
    """Bytes of a stage that a tile of `elements` takes in pass `index`."""
    raw = sum([aligned(-(-elements * bits // 8)) for bits in fetched(program, index).values()])
    outs = stored(program, index)
    out = sum([aligned(-(-elements * bits // 8)) for bits in outs.values()])
    width = 8 if program.double else 4
    results = 64 * len(outs)
    for step in program.passes[index]:
        if isinstance(step, Reduce):
            results += _result_bytes(program, step.stat, elements, leaf, width)
    return Needs(raw, out, results)


def _result_bytes(program: Program, stat: int, elements: int, leaf: int, width: int) -> int:
    """A sum for each run; of a quantile counts, or the elements themselves where they are fewer bytes."""
    own = stat < len(program.reductions)
    if own and program.reductions[stat].kind != "abs_quantile":
        return aligned(8 * run_count(elements, leaf))
    return aligned(min(elements * width, counts_bytes(SPARSE_BINS)))


def counts_bytes(bins: int) -> int:
    """Counts of a window's bins, of those outside, and three more: nonzero, over, heavy ones."""
    return (bins + SPARE_BINS) * COUNT_BYTES + 64


def run_count(elements: int, leaf: int) -> int:
    """How many runs of up to 65,536 elements a tile has; a run does not go past its leaf."""
    whole, rest = divmod(elements, leaf)
    return whole * -(-leaf // CHUNK_ELEMENTS) + -(-rest // CHUNK_ELEMENTS)


def stage_for(
    groups: Sequence[Group],
    gathered: Sequence[Gathering],
    budget_bytes: int,
    device_budget_bytes: int,
    workers: int,
    devices: int = 1,
) -> tuple[Staging, Projection]:
    """The ring with the largest tile that fits both budgets, and what the host holds: its workers' tile sets for what
    has no device form, and all that is pinned. DoesNotFit when the smallest does not fit.

    Without anything for the host's workers there are none.
    """
    host = _host_projection(groups, gathered, budget_bytes, workers, devices)
    sized = _sized(groups, gathered, has_device_form)
    tile = TILE_ELEMENTS
    while True:
        staging = _staging(sized, tile, devices)
        pinned = host.pool_bytes + staging.pinned_bytes
        fits = pinned <= budget_bytes and staging.device_bytes <= device_budget_bytes
        if fits or tile == BLOCK_ELEMENTS:
            break
        tile //= 2
    if not fits:
        raise DoesNotFit(_too_large(staging, pinned, budget_bytes, device_budget_bytes))
    return staging, replace(host, shared_bytes=host.shared_bytes + staging.pinned_bytes)


def _host_projection(
    groups: Sequence[Group], gathered: Sequence[Gathering], budget_bytes: int, workers: int, devices: int
) -> Projection:
    """Tile sets of the host's workers, and what the statistics of all jobs are collected in."""
    hosted = [group for group in groups if not has_device_form(group.computation)]
    members = [(each, tuple([m for m in each.members if not has_device_form(m[0])])) for each in gathered]
    gathered_there = [replace(each, members=left) for each, left in members if left]
    quantiles = any(r.kind == "abs_quantile" for group in groups for r in group.computation.program.reductions)
    histograms = _HOST_HISTOGRAM_BYTES * (JOBS * quantiles + len(gathered))
    histograms += REDUCE_BYTES * devices * WRITERS
    if not hosted and not gathered_there:
        return Projection(TileShape(0, 32, 0, 0), BLOCK_ELEMENTS, 0, budget_bytes, 0, histograms)
    host = projection(hosted, gathered_there, budget_bytes, workers)
    return replace(host, shared_bytes=host.shared_bytes + histograms)


def _sized(groups: Sequence[Group], gathered: Sequence[Gathering], wanted: Callable[[Computation], bool]) -> set[Sized]:
    sized = {(group.computation.program, group.extent) for group in groups if wanted(group.computation)}
    return sized | {(work.program, cut) for each in gathered for work, cut in each.members if wanted(work)}


def _staging(sized: Iterable[Sized], tile_elements: int, devices: int) -> Staging:
    floor = min(_SMALLEST_STAGE, 4 * tile_elements)
    stage, slot_bytes, workspace, largest = Needs(0, 0, 0), 0, 0, 0
    for program, cut in sized:
        elements = min(cut.tile(tile_elements), max(cut.elements, 1))
        width = 8 if program.double else 4
        for index in range(len(program.passes)):
            stage = stage.at_least(tile_needs(program, index, elements, cut.leaf))
        slot_bytes = max(slot_bytes, program.slots * aligned(elements * width))
        workspace = max(workspace, workspace_bytes(program, cut))
        largest = max(largest, elements)
    stage = stage.at_least(Needs(floor, floor, floor // 8)) if largest else stage
    piece = -(-max(min(largest, tile_elements), 1) // BLOCK_ELEMENTS) * BLOCK_ELEMENTS
    return Staging(tile_elements, piece, stage, slot_bytes, workspace, devices)


def _too_large(staging: Staging, pinned: int, budget_bytes: int, device_budget_bytes: int) -> Problem:
    if staging.device_bytes > device_budget_bytes:
        return Problem(
            f"The run needs {format_bytes(staging.device_bytes)} on the device; it has "
            f"{format_bytes(device_budget_bytes)} for it.",
            why=f"{staging.stages} stages and one set of slots, for the smallest tiles",
            fix=f"--device-budget {-(-staging.device_bytes // 2**20)}MiB, or --device cpu",
        )
    return Problem(
        f"The run needs {format_bytes(pinned)} of the host; the budget is {format_bytes(budget_bytes)}.",
        why=f"{format_bytes(staging.pinned_bytes)} of it are pinned, for what goes to the device and comes back",
        fix=f"--budget {-(-pinned // 2**20)}MiB, or --device cpu",
    )


def aligned(count: int) -> int:
    return -(-count // 64) * 64
