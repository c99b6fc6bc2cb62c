"""Every number of a tensor's record against plain float64 torch, and the same whatever cut the tiles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from mergegraph.execute.measured import Measured
from mergegraph.execute.measuring import Measure
from mergegraph.execute.reduce import Scratch
from mergegraph.execute.sampling import chosen_of
from mergegraph.plan.memory import LEAST_SAMPLE, sample_stride
from mergegraph.stats.record import TensorRecord

RUN = 65_536


def tensors(elements: int, k: int = 2, dtype: torch.dtype = torch.float32, seed: int = 5) -> list[Tensor]:
    """A base, k changes of it with exact zeros among them, and a merge."""
    numbers = torch.Generator().manual_seed(seed)
    base = torch.randn(elements, generator=numbers).to(torch.bfloat16)
    tuned = [
        (base.float() + 0.01 * (i + 1) * torch.randn(elements, generator=numbers)).to(torch.bfloat16) for i in range(k)
    ]
    wide = base.to(dtype)
    changes = [each.to(dtype) - wide for each in tuned]
    result = wide.clone()
    for share, change in zip((0.6, 0.7, 0.3, 0.9), changes, strict=False):
        result.add_(change, alpha=share)
    return [wide, *changes, result]


def measured(of: Measured, fed: list[Tensor], tile: int = 1 << 20, leaf: int = RUN) -> TensorRecord:
    measure = Measure(of)
    starts = list(range(0, max(fed[0].numel(), 1), tile))
    for start in reversed(starts):
        measure.feed_tile(start, tuple([each[start : start + tile] for each in fed]), leaf, Scratch())
    return measure.record()


def described(elements: int, k: int = 2, **changes: object) -> Measured:
    made = Measured("w", "bfloat16", (elements,), k, True, torch.bfloat16)
    return replace(made, **changes)  # type: ignore[arg-type]


CASES = [
    (1, 2, torch.float32, "one element"),
    (1_000, 1, torch.float32, "one source"),
    (70_001, 3, torch.float32, "a run and a bit"),
    (70_001, 2, torch.float64, "float64"),
    (300_007, 4, torch.float32, "several tiles"),
]


@pytest.mark.parametrize(("elements", "k", "dtype"), [case[:3] for case in CASES], ids=[case[3] for case in CASES])
def test_every_sum_is_that_of_plain_float64(elements: int, k: int, dtype: torch.dtype) -> None:
    fed = tensors(elements, k, dtype)
    before = [each.clone() for each in fed]
    found = measured(described(elements, k, is_sampled=False, is_double=dtype == torch.float64), fed, 2 * RUN)
    assert all(map(torch.equal, fed, before)), "what is stored next was written to"
    base, *changes, result = fed
    merged = result - base
    every = torch.stack([base, *changes, merged]).double()
    norms = every.norm(dim=1)
    upper = torch.triu_indices(k + 2, k + 2)
    gram = torch.zeros(k + 2, k + 2, dtype=torch.float64)
    gram[tuple(upper)] = torch.tensor(found.gram, dtype=torch.float64)
    error = (gram - torch.triu(every @ every.t())).abs() / norms.outer(norms).clamp_min(1e-300)
    assert float(error.max()) < (1e-12 if dtype == torch.float64 else 1e-5)
    assert found.counted == elements
    for change, exact in zip(found.changes, every[1:], strict=True):
        sums = (change.total, change.absolute, change.third, change.fourth)
        plain = [float(x.sum()) for x in (exact, exact.abs(), exact**3, exact**4)]
        assert sums == pytest.approx(plain, rel=1e-9, abs=1e-12)
        assert change.largest == float(exact.abs().max())
        assert (change.zeros, change.nonfinite) == (int((exact == 0).sum()), 0)
        _, exponents = np.frexp(exact.numpy())
        for exponent, (count, energy) in change.exponents.items():
            here = torch.from_numpy(exponents == exponent + 1) & (exact != 0)
            assert count == int(here.sum())
            assert energy == pytest.approx(float((exact[here] ** 2).sum()), rel=1e-6)
        assert sum(count for count, _ in change.exponents.values()) + change.zeros == elements
    sources = every[1 : k + 1]
    for (i, j), pair in (found.pairs or {}).items():
        product = sources[i] * sources[j]
        assert (pair.both, pair.opposite) == (int((product != 0).sum()), int((product < 0).sum()))
    if k > 1:
        assert found.together is not None
        assert found.together.absolute_of_sum == pytest.approx(float(sources.sum(0).abs().sum()), rel=1e-9)
        size = sources.abs()
        first = np.argmax(size.numpy(), axis=0)
        there = (size.amax(0) > 0).numpy()
        assert found.together.winners == tuple(int(((first == i) & there).sum()) for i in range(k))
    assert found.outcome is not None
    rounded, stayed = result.to(torch.bfloat16), base.to(torch.bfloat16)
    error = ((rounded.double() - result.double()) ** 2).sum()
    assert found.outcome.cast_error == pytest.approx(float(error), rel=1e-9)
    assert found.outcome.rounded_away == int(((rounded == stayed) & (merged != 0)).sum())
    low, high = sources.amin(0).clamp(max=0), sources.amax(0).clamp(min=0)
    slack = 2.0**-20 * base.abs()
    surely = ((every[-1] < low - slack) | (every[-1] > high + slack)).sum()
    perhaps = ((every[-1] < low) | (every[-1] > high)).sum()
    assert int(surely) <= found.outcome.outside <= int(perhaps)


@pytest.mark.parametrize("sampling", [True, False])
@pytest.mark.parametrize("runs", [9, 37], ids=["a run by itself", "runs together"])
def test_no_number_depends_on_the_tile(sampling: bool, runs: int) -> None:
    elements = runs * RUN + 4_321
    fed = tensors(elements)
    records = [measured(described(elements, is_sampled=sampling), fed, tile) for tile in (RUN, 3 * RUN, 16 * RUN)]
    assert records[0] == records[1] == records[2]


@pytest.mark.parametrize("leaves", [7, 33])
def test_rows_that_end_anywhere_are_cut_alike(leaves: int) -> None:
    leaf = 65_541
    fed = tensors(leaves * leaf)
    records = [measured(described(leaves * leaf), fed, tile, leaf) for tile in (leaf, 3 * leaf, 7 * leaf)]
    assert records[0] == records[1] == records[2]


@pytest.mark.parametrize(
    ("elements", "wanted", "why"),
    [
        (2 * LEAST_SAMPLE - 1, 1, "all of a small tensor"),
        (2 * LEAST_SAMPLE, 2, "half"),
        (16 * LEAST_SAMPLE, 16, "a sixteenth"),
        (1 << 30, 512, "never fewer than one in 512"),
    ],
)
def test_a_large_tensor_is_sampled(elements: int, wanted: int, why: str) -> None:
    assert sample_stride(elements) == wanted, why


def test_a_sample_tells_what_all_elements_tell() -> None:
    elements = 1 << 21
    fed = tensors(elements)
    sample, every = [measured(described(elements, is_sampled=each), fed) for each in (True, False)]
    assert LEAST_SAMPLE <= sample.counted < every.counted == elements
    assert sample.gram == every.gram
    assert sample.changes[0].zeros == pytest.approx(every.changes[0].zeros, rel=0.05)
    assert sample.changes[0].fourth == pytest.approx(every.changes[0].fourth, rel=0.1)
    assert sample.pairs is not None
    assert every.pairs is not None
    assert sample.pairs[0, 1].opposite == pytest.approx(every.pairs[0, 1].opposite, rel=0.02)
    assert (sample.outcome, every.outcome) != (None, None)
    assert sample.outcome is not None
    assert every.outcome is not None
    assert every.outcome.rounded_away > elements / 100, "there is something to scale up"
    assert sample.outcome.rounded_away == pytest.approx(every.outcome.rounded_away, rel=0.2)
    assert sample.outcome.cast_error == pytest.approx(every.outcome.cast_error, rel=0.1)


def clustered(rows: int, columns: int, how: str) -> list[Tensor]:
    """A base, two changes that live where `how` says and nowhere else, and their sum."""
    numbers = torch.Generator().manual_seed(3)
    place = torch.arange(columns) if "column" in how else torch.arange(rows)[:, None]
    count = columns if "column" in how else rows
    where = {"half": place >= count // 2, "quarter": place >= count // 4 * 3, "head": place % 128 >= 16,
             "one in 32": place % 32 == 31}[how.split(" of ")[0]]  # fmt: skip
    base = torch.randn(rows, columns, generator=numbers)
    one, other = [torch.randn(rows, columns, generator=numbers) * where for _ in range(2)]
    return [each.reshape(-1) for each in (base, one, 0.1 * other, base + one + 0.1 * other)]


CLUSTERED = [
    (1024, 4096, "half of columns", "an attention output whose last heads moved"),
    (16, 4096, "half of columns", "few rows"),
    (16, 4096, "quarter of columns", "fewer columns still"),
    (2048, 2048, "half of rows", "an embedding whose rare tokens moved"),
    (4096, 512, "head of rows", "all but the first rows of each head"),
    (2048, 1024, "one in 32 of columns", "a column here and there"),
    (2049, 1023, "one in 32 of rows", "rows that no run ends with"),
]


@pytest.mark.parametrize(("rows", "columns", "how", "why"), CLUSTERED, ids=[case[3] for case in CLUSTERED])
def test_a_sample_has_every_row_and_column_by_its_share(rows: int, columns: int, how: str, why: str) -> None:
    fed, shape = clustered(rows, columns, how), (rows, columns)
    found = measured(described(rows * columns, shape=shape), fed)
    moved = int((fed[1] != 0).sum())
    scatter = (moved * rows * columns / found.counted) ** 0.5
    assert found.counted < rows * columns
    assert rows * columns - found.changes[0].zeros == pytest.approx(moved, abs=4.5 * scatter), why
    assert found.changes[0].largest > 0
    energy = sum(energy for _, energy in found.changes[0].exponents.values())
    assert energy == pytest.approx(found.gram[4], rel=4.5 * (3 / (found.counted * moved / rows / columns)) ** 0.5), why
    assert found.together is not None
    assert sum(found.together.winners) == pytest.approx(moved, abs=4.5 * scatter)


def test_every_place_of_a_stratum_is_chosen_alike() -> None:
    """A row of ones in each place of strata: their shares of the sample are even."""
    stride, elements = 512, 16 << 20
    counts = []
    for first in (0, 100, 256, 511):
        row = torch.zeros(elements)
        row[first::stride] = 1.0
        found = measured(Measured("w", "float32", (elements,), 1, False, None), [row])
        counts.append(elements - found.changes[0].zeros)
    assert sample_stride(elements) == stride
    chance = elements / stride
    assert all(abs(count - chance) < 4.5 * (chance * stride) ** 0.5 for count in counts), counts


@pytest.mark.parametrize("leaf", [65_536, 65_541, 98_304])
def test_what_is_counted_is_what_was_chosen(leaf: int) -> None:
    """Of rows that end anywhere too: `counted` is what sums are scaled by."""
    elements = 40 * leaf + 77
    found = measured(described(elements, k=1), [torch.ones(elements)] * 3, 16 * leaf, leaf)
    assert found.counted == pytest.approx(elements / sample_stride(elements), rel=0.01)
    assert found.changes[0].total == pytest.approx(elements, rel=1e-12)
    assert sum(count for count, _ in found.changes[0].exponents.values()) == elements
    assert [chosen_of(run, 10_000, 4) for run in range(4)] == [2_500] * 4


def test_what_is_not_finite_is_counted_and_left_out_of_sums() -> None:
    fed = tensors(70_000)
    clean = [each.clone() for each in fed]
    for row, at, value in ((1, 3, torch.nan), (2, 69_999, torch.inf), (2, 5, -torch.inf)):
        fed[row][at] = value
        clean[row][at] = 0
    fed[3][10] = clean[3][10] = torch.nan
    found = measured(described(70_000, is_sampled=False), fed, RUN)
    assert [change.nonfinite for change in found.changes] == [1, 2, 1]
    assert all(np.isfinite(found.gram))
    exact = torch.stack([clean[0], clean[1], clean[2], (clean[3] - clean[0]).nan_to_num(0)]).double()
    assert found.gram[4] == pytest.approx(float(exact[1] @ exact[1]), rel=1e-6)
    assert found.gram[5] == pytest.approx(float(exact[1] @ exact[2]), abs=1e-6 * float(exact[1] @ exact[1]))
    assert found.changes[0].zeros == int((clean[1] == 0).sum()) - 1


def test_changes_too_small_for_float32_squares_are_not_lost() -> None:
    base = torch.ones(1_000) * 1e-20
    change = torch.full((1_000,), 1e-25)
    found = measured(Measured("w", "float32", (1_000,), 1, True, None), [base, change])
    assert found.gram[2] == pytest.approx(1_000 * 1e-50, rel=1e-5)


def test_a_tensor_that_nobody_changed_is_all_zeros() -> None:
    base = torch.randn(RUN, generator=torch.Generator().manual_seed(1))
    zero = torch.zeros(RUN)
    found = measured(described(RUN), [base, zero, zero, base])
    assert found.gram[1:] == (0.0,) * 9
    assert [change.zeros for change in found.changes] == [RUN, RUN, RUN]
    assert found.together is not None
    assert found.together.winners == (0, 0)
    assert found.outcome is not None
    assert (found.outcome.outside, found.outcome.rounded_away) == (0, 0)


def test_without_a_base_the_models_are_compared_themselves() -> None:
    one, other = tensors(5_000)[0], tensors(5_000, seed=6)[0]
    made = Measured("w", "float32", (5_000,), 2, False, torch.float32)
    found = measured(made, [one, other, 0.5 * one + 0.5 * other])
    assert found.gram[:4] == (0.0,) * 4
    assert found.gram[4] == pytest.approx(float(one.double() @ one.double()), rel=1e-6)
    assert found.outcome is not None
    assert (found.outcome.outside, found.outcome.cast_error) == (0, 0.0)


def test_an_empty_tensor_has_a_record() -> None:
    found = measured(described(0), [torch.empty(0)] * 4)
    assert found.gram == (0.0,) * 10
    assert found.counted == 0


@pytest.mark.parametrize(
    ("dtype", "is_double", "limit", "sizes", "wanted", "why"),
    [
        (torch.float16, False, 0.0, (65_519.0, 65_520.0, -7e4), 2, "half a step above the largest becomes infinite"),
        (torch.float8_e4m3fn, False, 448.0, (448.0, 449.0, -1e3), 2, "what saturates"),
        (torch.bfloat16, False, 0.0, (1e38, 3.38e38, -3e38), 0, "all that float32 holds"),
        (torch.float32, True, 0.0, (3.4028235e38, 3.4028236e38, 1e39), 2, "float64 that becomes float32"),
    ],
)
def test_what_does_not_fit_the_dtype_is_counted_everywhere(
    dtype: torch.dtype, is_double: bool, limit: float, sizes: tuple[float, ...], wanted: int, why: str
) -> None:
    """In elements that the sample has not, too; what is infinite before the rounding did not overflow."""
    elements = 2 << 20
    result = torch.ones(elements, dtype=torch.float64 if is_double else torch.float32)
    result[torch.tensor([77, elements // 2 + 1, elements - 3])] = torch.tensor(sizes, dtype=result.dtype)
    result[5] = torch.inf
    made = described(elements, k=1, rounded_to=dtype, is_double=is_double, limit=limit)
    found = measured(made, [torch.zeros_like(result), torch.zeros_like(result), result])
    assert found.outcome is not None
    assert found.outcome.overflowed == wanted, why
    assert found.counted < elements


def test_changes_below_the_smallest_normal_float_have_exponents() -> None:
    """Alone, and beside ordinary ones: 2^-149 is the smallest, 2^-126 the first that is normal."""
    sizes = (2.0**-149, 3 * 2.0**-149, 2.0**-127, 2.0**-126, 0.0, -(2.0**-130), 1.5)
    change = torch.tensor(sizes).repeat(100)
    found = measured(Measured("w", "float32", (700,), 1, False, None), [change]).changes[0]
    assert {e: count for e, (count, _) in found.exponents.items()} == {
        -149: 100, -148: 100, -127: 100, -126: 100, -130: 100, 0: 100,
    }  # fmt: skip
    assert found.exponents[-148][1] == pytest.approx(100 * (3 * 2.0**-149) ** 2, rel=1e-6)
    assert found.exponents[-130][1] == pytest.approx(100 * 2.0**-260, rel=1e-6)
    assert found.zeros == 100
    alone = measured(Measured("w", "float32", (700,), 1, False, None), [torch.full((700,), 1e-40)]).changes[0]
    assert sum(energy for _, energy in alone.exponents.values()) == pytest.approx(700e-80, rel=1e-4)
