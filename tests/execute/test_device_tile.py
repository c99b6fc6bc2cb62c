"""A tile on a device gives what one on the processor gives: random numbers and thresholds exactly, sums nearly,
rounding exactly, and every method of the registry. On the processor as a device, and on CUDA where there is any."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from mergegraph.dtypes import BY_CODE
from mergegraph.execute import noise
from mergegraph.execute.accumulators import accumulator
from mergegraph.execute.device import noise as device_noise
from mergegraph.execute.device.reducing import Results, Rooms, reduce_tile, stretches
from mergegraph.execute.device.tile import DeviceMemory, DeviceOps, DeviceTile
from mergegraph.execute.jobs import SAMPLE_RUN, Job
from mergegraph.execute.quantile import Quantile
from mergegraph.execute.reduce import Scratch, feed_in_runs
from mergegraph.execute.rounding import round_once
from mergegraph.execute.views import TORCH_DTYPES, read_view
from mergegraph.expr import Expr, Stat, cast, linear
from mergegraph.plan.groups import gatherings, output_tensor
from mergegraph.plan.program import computation
from mergegraph.plan.staging import aligned, fetched, has_device_form, run_count, stored, tile_needs
from mergegraph.statistic import Found, Threshold
from tests.methods.bench import KERNELS, Models, expression, models_for, normal, shape_of, tiled
from tests.methods.examples import example

DEVICES = [torch.device("cpu"), *([torch.device("cuda", 0)] if torch.cuda.is_available() else [])]
RUN = 65_536

on_devices = pytest.mark.parametrize("device", DEVICES, ids=str)


def rooms(device: torch.device, elements: int = 2 * RUN) -> Rooms:
    def room(nbytes: int) -> Tensor:
        return torch.full((nbytes,), 0xAB, dtype=torch.uint8, device=device)

    return Rooms(room(8 * elements), room(8 * elements), room(elements), room(elements))


class Buffer:
    """Results of any number of tiles; the host's side is copied by `arrive`."""

    def __init__(self, device: torch.device, nbytes: int = 1 << 23) -> None:
        self.there = torch.full((nbytes,), 0xAB, dtype=torch.uint8, device=device)
        self.here = torch.zeros(nbytes, dtype=torch.uint8)
        self.results = Results(self.there, self.here)

    def arrive(self) -> None:
        self.here.copy_(self.there)


@on_devices
@pytest.mark.parametrize("key", [0, 42, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
@pytest.mark.parametrize(
    ("start", "count"),
    [(0, 5), (0, 3 * RUN + 17), (RUN, RUN), (RUN - 3, 7), (12_345, 2 * RUN), (7 * RUN + 1, 10)],
)
def test_random_numbers_are_those_of_the_processor(key: int, start: int, count: int, device: torch.device) -> None:
    for dtype in (torch.float32, torch.float64):
        wanted, out = torch.empty(count, dtype=dtype), torch.empty(count, dtype=dtype, device=device)
        noise.fill_uniform(wanted, key, start, torch.empty_like(wanted))
        device_noise.fill_uniform(out, key, start, torch.empty_like(out))
        assert torch.equal(out.cpu(), wanted)


@on_devices
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_same_equals_are_drawn(share: float, dtype: torch.dtype, device: torch.device) -> None:
    count, start = 3 * RUN + 17, 5
    operand = torch.randint(-3, 4, (count,), generator=torch.Generator().manual_seed(1)).to(dtype)
    wanted, there = torch.zeros_like(operand), torch.zeros(count, dtype=dtype, device=device)
    noise.draw_equal(wanted, operand, 2.0, share, 99, start)
    given = rooms(device)
    device_noise.draw_equal(there, operand.to(device), 2.0, share, 99, start, (given.wide, given.narrow, given.flags))
    assert torch.equal(there.cpu(), wanted)


@pytest.mark.parametrize("leaf", [RUN, RUN + 71, 3 * RUN, 5 * RUN + 13, 41_003 * 2])
@pytest.mark.parametrize("count", [0, 1, RUN, 2 * RUN + 5, 17 * RUN + 3])
def test_stretches_are_the_runs_in_order(count: int, leaf: int) -> None:
    """The same runs as `feed_in_runs` has, none past a leaf."""
    seen: list[tuple[int, int]] = []
    for first, rows, length in stretches(count, leaf, 4):
        for row in range(rows):
            for inside in range(0, length, RUN):
                seen.append((first + row * length + inside, min(RUN, length - inside)))
    wanted = [
        (begin + inside, min(RUN, leaf - inside, count - begin - inside))
        for begin in range(0, count, leaf)
        for inside in range(0, min(leaf, count - begin), RUN)
    ]
    assert seen == wanted
    assert len(seen) == run_count(count, leaf)


@on_devices
@pytest.mark.parametrize("kind", ["dot", "abs_sum", "sum", "count"])
@pytest.mark.parametrize("leaf", [RUN, RUN + 71, 9 * RUN])
def test_sums_are_those_of_the_processor_whatever_the_pieces(kind: str, leaf: int, device: torch.device) -> None:
    one, other = (normal(seed, torch.float32, (10 * RUN + 1234,)) for seed in (1, 2))
    tiles = (one, other) if kind == "dot" else (one,)
    into = accumulator(kind, ())
    feed_in_runs([(into, tiles)], 0, leaf, Scratch())
    wanted = into.end_pass()
    found: list[Found | None] = []
    for runs in (9, 11, 40):
        there, buffer = accumulator(kind, ()), Buffer(device)
        moved = tuple(tile.to(device) for tile in tiles)
        deliver = reduce_tile((there, moved), 0, leaf, buffer.results, rooms(device, runs * RUN))
        buffer.arrive()
        deliver(Scratch())
        found.append(there.end_pass())
    assert found[0] == found[1] == found[2], "no bit depends on the pieces"
    assert found[0] == pytest.approx(wanted, rel=1e-12, abs=1e-12 * one.numel())


def spread(dtype: torch.dtype) -> Tensor:
    return normal(3, dtype, (330_007,))


def mostly_equal(dtype: torch.dtype) -> Tensor:
    """As deltas of bfloat16 models are: many zeros, few values."""
    drawn = torch.randint(-40, 41, (330_007,), generator=torch.Generator().manual_seed(5))
    return (drawn.clamp(-7, 7) * (drawn.abs() > 12) * 2.0**-9).to(dtype)


def poisoned(dtype: torch.dtype) -> Tensor:
    values = spread(dtype)
    values[::1000], values[5], values[6] = math.nan, math.inf, -0.0
    return values


@on_devices
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("values", [spread, mostly_equal, poisoned])
@pytest.mark.parametrize("rank", [{"rank": "largest", "share": 0.3}, {"rank": "largest_nonzero", "share": 0.5},
                                  {"rank": "ascending", "q": 0.999}])  # fmt: skip
@pytest.mark.parametrize("sampled", [True, False], ids=["sampled", "counted"])
def test_thresholds_are_those_of_the_processor(
    sampled: bool, rank: dict[str, object], values: object, dtype: torch.dtype, device: torch.device
) -> None:
    whole = values(dtype)  # type: ignore[operator]
    tiles = [(first, whole[first : first + 5 * RUN]) for first in range(0, whole.numel(), 5 * RUN)]
    samples = [(first, whole[first : first + SAMPLE_RUN]) for first in range(7, whole.numel(), whole.numel() // 32)]
    found: list[Threshold] = []
    for place in (None, device):
        into, passes, result = Quantile(rank), [samples] if sampled else [], None  # type: ignore[arg-type]
        if sampled:
            into.sample()
        while result is None:
            _feed(into, passes.pop() if passes else tiles, place)
            result = into.end_pass()
        assert isinstance(result, Threshold)
        found.append(result)
    assert str(found[1]) == str(found[0]), "as text, since NaN is not equal to itself"


def _feed(into: Quantile, tiles: Sequence[tuple[int, Tensor]], device: torch.device | None) -> None:
    if device is None:
        for first, tile in tiles:
            feed_in_runs([(into, (tile,))], first, RUN, Scratch())
        return
    buffer = Buffer(device, 1 << 26)
    given = rooms(device)
    delivered = [reduce_tile((into, (tile.to(device),)), first, RUN, buffer.results, given) for first, tile in tiles]
    buffer.arrive()
    for deliver in delivered:
        deliver(Scratch())


def test_a_large_tile_travels_as_counts_and_a_small_one_as_it_is() -> None:
    for elements, taken in ((10_000, 40_000), (1_000_000, (32_768 + 4096) * 4 + 64)):
        buffer = Buffer(torch.device("cpu"))
        into = Quantile({"rank": "largest", "share": 0.3})
        reduce_tile((into, (normal(1, torch.float32, (elements,)),)), 0, RUN, buffer.results, rooms(DEVICES[0]))
        there, _ = buffer.results.take(1, torch.uint8)
        assert there.data_ptr() - buffer.there.data_ptr() == aligned(taken)


def edges(dtype: torch.dtype) -> Tensor:
    """What overflows, what is halfway between two numbers, what is not finite, and zeros of both signs."""
    numbers = [0.0, -0.0, 1.0, -1.5, 448.0, 449.0, -500.0, 57_344.0, 6.1e4, 65_504.0, 65_519.0, 65_520.0, 1e9, 3.38e38,
               3.4e38, -3.4e38, math.inf, -math.inf, math.nan, 1 + 2**-9, 1 + 2**-8, 1 + 2**-9 + 2**-40,
               2**-14 + 2**-30, 1e-45, 1e-8]  # fmt: skip
    beyond = [1e300, -1e39, 1e-310] if dtype == torch.float64 else []
    return torch.cat([torch.tensor([*numbers, *beyond], dtype=dtype), normal(4, dtype, (70_001,)) * 100])


@on_devices
@pytest.mark.parametrize("code", ["F64", "F32", "BF16", "F16", "F8_E4M3", "F8_E5M2"])
@pytest.mark.parametrize("stored", ["F32", "F64"])
def test_rounding_and_its_counts_are_those_of_the_processor(stored: str, code: str, device: torch.device) -> None:
    values = edges(TORCH_DTYPES[stored])
    models = Models([values], stored)
    root = cast(linear([(Fraction(1), models.reads[0])], "weights"), code)
    wanted = torch.empty(values.numel(), dtype=TORCH_DTYPES[code])
    said = round_once(values.clone(), wanted)
    content, counted = on_device(root, models, tuple(values.shape), device)
    found = torch.frombuffer(bytearray(content), dtype=TORCH_DTYPES[code])
    no_number = wanted.float().isnan()  # whose bits are each device's own
    assert found.float().isnan().equal(no_number)
    assert bits(found)[~no_number].equal(bits(wanted)[~no_number])
    assert counted == said
    assert said[0] == int(values.isfinite().logical_not().sum())


def bits(values: Tensor) -> Tensor:
    return values.view({1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[values.element_size()])


def on_device(
    root: Expr, models: Models, shape: tuple[int, ...], device: torch.device, tile: int = 1 << 30
) -> tuple[bytes, tuple[int, int]]:
    """(an output tensor computed on a device, in tiles of about `tile`; values not finite, values that overflowed)."""
    output = output_tensor("w", BY_CODE[root.dtype], shape, root)  # type: ignore[union-attr]
    shared: dict[Stat, Found] = {}
    for gathering in gatherings([[output]]):
        into, found = accumulator(gathering.stat.kind, gathering.stat.parameters), None
        while found is None:
            for work, cut in gathering.members:
                _perform(Job(work, cut, cut.tile(tile), fed=(into,)), models, device)
            found = into.end_pass()
        shared[gathering.stat] = found
    work = computation([root])
    members = Job(work, output.cut, output.cut.tile(tile), ((0, 0),), tuple(shared[x] for x in work.shared))
    return _perform(members, models, device)


def _perform(job: Job, models: Models, device: torch.device) -> tuple[bytes, tuple[int, int]]:
    parts: list[bytes] = []
    nonfinite = overflowed = 0
    work = job.computation
    assert has_device_form(work)
    while not job.is_over:
        pending = []
        while not job.waits:
            pending.append(job.take())
        for taken in pending:
            needs = tile_needs(work.program, taken.index, taken.elements, job.cut.leaf)
            buffer = Buffer(device, needs.results)
            raw = {n: _raw(models, work.reads[n], taken, bits, device)
                   for n, bits in fetched(work.program, taken.index).items()}  # fmt: skip
            outs = {root: torch.full((taken.elements * bits // 8,), 0xAB, dtype=torch.uint8, device=device)
                    for root, bits in stored(work.program, taken.index).items()}  # fmt: skip
            width = 8 if work.program.double else 4
            slots = torch.full((work.program.slots * aligned(taken.elements * width),), 0xAB, dtype=torch.uint8,
                               device=device)  # fmt: skip
            memory = DeviceMemory(slots, rooms(device), DeviceOps(device))
            tile = DeviceTile(work, taken.start, taken.elements, job.cut, job.statistics, memory, raw, outs,
                              buffer.results)  # fmt: skip
            tile.perform(taken.index)
            buffer.arrive()
            for deliver in tile.delivered:
                deliver(Scratch())
            for counted in tile.counted:
                nonfinite += counted.nonfinite(taken.elements)
                overflowed += counted.overflowed()
            parts += [out.cpu().numpy().tobytes() for out in outs.values()]
        for _ in pending:
            job.done()
    return b"".join(parts), (nonfinite, overflowed)


def _raw(models: Models, read: object, taken: object, bits: int, device: torch.device) -> Tensor:
    content = bytearray(taken.elements * bits // 8)  # type: ignore[attr-defined]
    read_view(read, taken.start * bits // 8, memoryview(content), models.source)  # type: ignore[arg-type,attr-defined]
    return torch.frombuffer(content, dtype=torch.uint8).to(device) if content else torch.empty(0, dtype=torch.uint8)


@on_devices
@pytest.mark.parametrize("op", KERNELS)
@pytest.mark.parametrize("code", ["F32", "F64", "BF16"])
def test_every_method_gives_what_it_gives_on_the_processor(op: str, code: str, device: torch.device) -> None:
    """The last bit of a sum may differ, and so may that of a result. On CUDA products may be fused with sums, and
    eigenvectors are found by another library."""
    models, shape = models_for(op, code), shape_of(op)
    expr = expression(example(op)[1], models.reads)
    wanted = torch.frombuffer(bytearray(tiled(expr, models, 1 << 30, shape, code)), dtype=TORCH_DTYPES[code]).double()
    content, _ = on_device(cast(expr, code), models, shape, device)
    found = torch.frombuffer(bytearray(content), dtype=TORCH_DTYPES[code]).double()
    if device.type == "cuda":
        limit = {"F32": 1e-5, "F64": 1e-9, "BF16": 1e-3}[code]
        assert float((found - wanted).norm() / wanted.norm()) <= limit
        return
    step = 8 * {"F32": 2**-23, "F64": 2**-50, "BF16": 2**-8}[code]
    # The elements lie about 1: where terms of that size nearly cancel out, a last bit of theirs is left.
    torch.testing.assert_close(found, wanted, rtol=step, atol=step * 0.1)
