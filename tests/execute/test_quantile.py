"""A sample makes the search for a threshold shorter, and never another threshold."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mergegraph.execute.arena import arena_for, new_storage
from mergegraph.execute.evaluate import evaluate
from mergegraph.execute.factors import byte_view
from mergegraph.execute.jobs import SAMPLE_RUN, SAMPLE_RUNS, Job, Sampling
from mergegraph.execute.quantile import Quantile
from mergegraph.execute.reduce import Scratch, feed_in_runs
from mergegraph.expr import cast, noise, read
from mergegraph.methods.largest import trimmed
from mergegraph.methods.thinning import Rescale
from mergegraph.plan.extent import extent
from mergegraph.plan.memory import tile_shape
from mergegraph.plan.program import computation
from mergegraph.statistic import CHUNK_ELEMENTS, Threshold

COUNT = 1_300_021
SCRATCH = Scratch()


def generator(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def siblings() -> Tensor:
    """The difference of two bfloat16 models: few distinct magnitudes, many elements at each."""
    base = torch.randn(COUNT, generator=generator()) * 0.02
    tuned = base + torch.randn(COUNT, generator=generator(6)) * 1e-4
    return tuned.bfloat16().float() - base.bfloat16().float()


CASES = {
    "normal numbers": lambda: torch.randn(COUNT, generator=generator()),
    "a difference of bfloat16 models": siblings,
    "all are equal": lambda: torch.full((COUNT,), 0.25),
    "all are zero": lambda: torch.zeros(COUNT),
    "sorted, so that each run of a sample is another world": lambda: torch.linspace(0, 1, COUNT),
    "large only where no sample looks": lambda: torch.arange(COUNT).remainder(COUNT // SAMPLE_RUNS).float(),
    "with infinities and NaN": lambda: torch.cat([torch.full((9,), torch.inf), torch.full((3,), torch.nan),
                                                  torch.randn(COUNT - 12, generator=generator())]),
}  # fmt: skip


def expected(tensor: Tensor, wanted: int) -> Threshold:
    bits = (tensor.view(torch.int32) & 0x7FFFFFFF).sort(descending=True).values
    at = bits[wanted - 1]
    value = float(at.view(torch.float32))
    return Threshold(value, int((bits > at).sum()), int((bits == at).sum()), wanted)


def sampled(tensor: Tensor, share: float, sample: Tensor) -> tuple[Threshold, int]:
    """The threshold, and how many passes over all elements it took after a sample of `sample`."""
    into = Quantile({"rank": "largest", "share": share})
    assert into.may_sample
    into.sample()
    stride = max(sample.numel() // SAMPLE_RUNS, 1)
    for start in range(0, sample.numel(), stride):
        feed_in_runs([(into, (sample[start : start + SAMPLE_RUN],))], 0, CHUNK_ELEMENTS, SCRATCH)
    assert into.end_pass() is None
    passes = 0
    while True:
        feed_in_runs([(into, (tensor,))], 0, CHUNK_ELEMENTS, SCRATCH)
        passes += 1
        found = into.end_pass()
        if found is not None:
            assert isinstance(found, Threshold)
            return found, passes


@pytest.mark.parametrize("share", [1e-6, 0.003, 0.2, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("case", CASES)
def test_a_sampled_threshold_is_exact(case: str, share: float) -> None:
    tensor = CASES[case]()
    wanted = max(1, int(share * COUNT))
    found, passes = sampled(tensor, share, tensor)
    assert str(found) == str(expected(tensor, wanted)), "NaN is not equal to itself"
    assert passes <= 3


@pytest.mark.parametrize("scale", [0.0, 1e-3, 1e3, float("inf")])
def test_a_sample_of_something_else_costs_passes_and_changes_nothing(scale: float) -> None:
    tensor = torch.randn(COUNT, generator=generator())
    misleading = torch.ones(COUNT) * scale
    found, passes = sampled(tensor, 0.4, misleading)
    assert found == expected(tensor, int(0.4 * COUNT))
    assert 2 <= passes <= 4


def test_one_pass_is_enough_for_numbers_that_a_sample_can_tell() -> None:
    assert sampled(CASES["a difference of bfloat16 models"](), 0.5, siblings())[1] == 1


def trim(elements: int, rescale: Rescale = "none") -> Job:
    x = read("x", "w", "F32", (elements,), 0, 4 * elements)
    root = cast(trimmed(x, 0.5, rescale, noise(1)), "F32")
    return Job(computation([root]), extent((elements,), "element"), 131_072, ((0, 0),))


def covered(job: Job, content: Tensor) -> list[int]:
    """How many elements each pass looked at."""
    arena = arena_for(
        job.computation, job.tile, new_storage(tile_shape([job.computation.program]).tile_set_bytes(job.tile))
    )
    memory = byte_view(content.view(torch.uint8))

    def source(path: str, offset: int, buffer: memoryview) -> None:
        buffer[:] = memory[offset : offset + len(buffer)]

    passes: list[int] = []
    while not job.is_over:
        taken = []
        while not job.waits:
            taken.append(job.take())
            evaluate(
                job.computation, taken[-1].start, taken[-1].elements, arena, source, lambda finished: None,
                index=taken[-1].index, cut=job.cut, statistics=job.statistics,
            )  # fmt: skip
        passes.append(sum(tile.elements for tile in taken))
        for _ in taken:
            job.done()
    return passes


def test_a_large_tensor_is_sampled_counted_and_computed() -> None:
    tensor = torch.randn(2 << 20, generator=generator())
    assert covered(trim(2 << 20), tensor) == [SAMPLE_RUNS * SAMPLE_RUN, 2 << 20, 2 << 20]


def test_a_small_tensor_is_not_sampled() -> None:
    assert covered(trim(70_000), torch.randn(70_000, generator=generator())) == [70_000] * 3


def test_nothing_is_sampled_where_a_sum_needs_every_element() -> None:
    elements = 1 << 20
    assert covered(trim(elements, "l1"), torch.randn(elements, generator=generator()))[0] == elements


def test_the_members_of_a_population_are_sampled_as_one_long_tensor() -> None:
    sizes, runs, at = [700_000, 3, 900_001, 250_000], [], 0
    sampling = Sampling.over(sum(sizes))
    assert sampling is not None
    for size in sizes:
        runs += [at + start for start in range(sampling.phase, size, sampling.stride)]
        sampling, at = sampling.after(size), at + size
    assert runs == list(range(0, at, at // SAMPLE_RUNS))
