"""Methods on tensors in memory, computed as a run computes them: jobs, passes, tiles inside one arena."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from mergegraph.dtypes import BY_CODE
from mergegraph.execute.accumulators import accumulator
from mergegraph.execute.arena import arena_for, new_storage
from mergegraph.execute.evaluate import evaluate
from mergegraph.execute.factors import byte_view
from mergegraph.execute.finished import Finished
from mergegraph.execute.jobs import Job
from mergegraph.execute.views import Source
from mergegraph.expr import Apply, Expr, Read, Space, Stat, cast, noise, population, read
from mergegraph.methods.base import Method, Parameters
from mergegraph.methods.kernel import Granularity
from mergegraph.methods.registry import kernels
from mergegraph.plan.groups import gatherings, output_tensor
from mergegraph.plan.memory import tile_shape
from mergegraph.plan.program import computation
from mergegraph.schedule import resolve_schedule
from mergegraph.statistic import Found
from mergegraph.walking import walk
from tests.methods.examples import OPS, example

CODES = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}

SHAPES: dict[Granularity, tuple[int, ...]] = {"element": (4211,), "row": (61, 71), "matrix": (48, 31)}
"""Primes above 4095 or so, so that no tile of the tests divides them."""


class Models:
    """Tensors in memory that expressions read as if they were files. All have one shape and dtype."""

    def __init__(self, tensors: Sequence[Tensor], code: str) -> None:
        self.content = {
            f"model{n}": bytes(byte_view(tensor.view(torch.uint8).view(-1))) for n, tensor in enumerate(tensors)
        }
        self.reads = [
            read(f"model{n}", "w", code, tuple(tensor.shape), 0, tensor.nbytes) for n, tensor in enumerate(tensors)
        ]

    def source(self, path: str, offset: int, buffer: memoryview) -> None:
        buffer[:] = self.content[path][offset : offset + len(buffer)]


def expression(method: Method, inputs: Sequence[Read]) -> Expr:
    """The method on `inputs`, one for each edge, with the numbers of its example."""
    takes_deltas = method.gives == "delta"
    spaces: list[Space] = [
        "weights"
        if edge.path == ("base",)
        else "delta"
        if edge.accepts == "delta" or (edge.accepts == "any" and takes_deltas)
        else "weights"
        for edge in method.edges()
    ]
    schedules = {
        path: resolve_schedule(schedule, ["w"], field="", tied=False)[0] for path, schedule in method.coefficients()
    }
    parameters = Parameters({path: schedule.value("w") for path, schedule in schedules.items()})
    space = method.space(spaces)
    gathered = method.gathered(list(inputs), parameters, space)
    over = [population([(expr, inputs[0].shape)]) for expr in gathered]
    noises = [noise(1000 + n) for n in range(len(inputs))]
    return method.expand(list(inputs), parameters.with_parts(noises, over), space)


def tiled(expr: Expr, models: Models, tile: int, shape: tuple[int, ...], code: str) -> bytes:
    """The output bytes, computed in tiles of about `tile` elements: whole rows or matrices where kernels need them.

    Passes that feed statistics take whole tensors: their runs are never cut.
    """
    return computed(expr, models.source, tile, shape, code)


def computed(expr: Expr, source: Source, tile: int, shape: tuple[int, ...], code: str) -> bytes:
    root = cast(expr, code)
    output = output_tensor("w", BY_CODE[code], shape, root)
    shared: dict[Stat, Found] = {}
    for gathering in gatherings([[output]]):
        into = accumulator(gathering.stat.kind, gathering.stat.parameters)
        found = None
        while found is None:
            for work, cut in gathering.members:
                job = Job(work, cut, cut.elements or 1, shared=tuple(shared[x] for x in work.shared), fed=(into,))
                perform(job, source)
            found = into.end_pass()
        shared[gathering.stat] = found
    work = computation([root])
    cut = output.cut
    unit = max(1, tile // cut.unit) * cut.unit
    job = Job(work, cut, cut.elements or 1, members=((0, 0),), shared=tuple(shared[x] for x in work.shared))
    return perform(job, source, last_tile=unit)


def perform(job: Job, source: Source, last_tile: int | None = None) -> bytes:
    """All passes of a job; the last in tiles of `last_tile` elements."""
    parts: list[bytes] = []

    def sink(finished: Finished) -> None:
        parts.append(bytes(finished.content))

    storage = new_storage(tile_shape([job.computation.program]).tile_set_bytes(max(job.cut.elements, 1)))
    arena = arena_for(job.computation, max(job.cut.elements, 1), storage)
    while not job.is_over:
        last = job.index == len(job.computation.program.passes) - 1
        job.tile = last_tile if last and last_tile else max(job.cut.elements, 1)
        while not job.waits:
            tile = job.take()
            evaluate(
                job.computation, tile.start, tile.elements, arena, source, sink,
                index=tile.index, cut=job.cut, statistics=job.statistics,
            )  # fmt: skip
        while not job.done():
            pass
    return b"".join(parts)


def normal(seed: int, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@cache
def calls_of(op: str) -> tuple[Apply, ...]:
    """Every kernel call that the example expands to."""
    method = example(op)[1]
    inputs = [read(f"model{n}", "w", "F32", (4, 4), 0, 64) for n in range(len(method.edges()))]
    return tuple(each for each in walk(expression(method, inputs)) if isinstance(each, Apply))


def shape_of(op: str) -> tuple[int, ...]:
    """The shape of the tensors that an operation is tried on."""
    needed = {kernels()[call.kernel].granularity for call in calls_of(op)}
    return SHAPES["matrix" if "matrix" in needed else "row" if "row" in needed else "element"]


def models_for(op: str, code: str, make: Callable[[int], Tensor] | None = None) -> Models:
    """An input for each edge of the operation's example."""
    shape = shape_of(op)
    tensors = [
        make(n).to(CODES[code]) if make else normal(n, CODES[code], shape) for n in range(len(example(op)[1].edges()))
    ]
    return Models(tensors, code)


_NO_KERNELS = {"load", "save", "delta", "scale", "negate", "sum", "soup", "select", "stack", "lora"}
"""What only moves tensors, or is folded into sums."""
KERNELS = [op for op in OPS if op not in _NO_KERNELS]
"""The operations that expand to kernels: all others."""
