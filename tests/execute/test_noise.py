"""Random numbers belong to elements: the same for any tile, even over the unit interval, unrelated between keys."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mergegraph.execute.noise import BLOCK_ELEMENTS, block_key, fill_uniform

COUNT = 2 * BLOCK_ELEMENTS + 1234


def uniform(key: int, start: int = 0, count: int = COUNT, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    out = torch.empty(count, dtype=dtype)
    fill_uniform(out, key, start, torch.empty_like(out))
    return out


WHOLE = uniform(42)


@given(st.integers(0, COUNT - 1), st.integers(1, 9000))
def test_a_part_is_a_part_of_the_whole(start: int, count: int) -> None:
    count = min(count, COUNT - start)
    assert torch.equal(uniform(42, start, count), WHOLE[start : start + count])


def test_float64_tiles_get_the_same_numbers() -> None:
    assert torch.equal(uniform(42, dtype=torch.float64), WHOLE.double())


def test_numbers_lie_in_the_unit_interval_and_are_multiples_of_2_to_the_minus_24() -> None:
    assert 0 <= float(WHOLE.min()) < 1e-4
    assert 1 - 1e-4 < float(WHOLE.max()) < 1
    assert torch.equal((WHOLE.double() * 2**24).round(), WHOLE.double() * 2**24)


@pytest.mark.parametrize("key", [0, 1, 2**63, 2**64 - 1])
def test_numbers_are_spread_evenly(key: int) -> None:
    """Chi-squared over 256 bins: below 360 with probability 0.99999."""
    counts = torch.histc(uniform(key), bins=256, min=0, max=1).double()
    expected = COUNT / 256
    assert float(((counts - expected) ** 2 / expected).sum()) < 360


@pytest.mark.parametrize(("one", "other"), [(42, 43), (0, 1), (42, 42 << 32), (5, 5 ^ (1 << 63))])
def test_keys_are_unrelated(one: int, other: int) -> None:
    a, b = uniform(one).double() - 0.5, uniform(other).double() - 0.5
    assert abs(float((a * b).mean())) * 12 < 5 / COUNT**0.5


@pytest.mark.parametrize("lag", [1, 2, 7, 256, 4096, BLOCK_ELEMENTS])
def test_neighbours_are_unrelated(lag: int) -> None:
    x = WHOLE.double() - 0.5
    assert abs(float((x[:-lag] * x[lag:]).mean())) * 12 < 5 / (COUNT - lag) ** 0.5


def test_blocks_have_keys_of_their_own() -> None:
    """The first outputs of splitmix64 from seed 0, as its reference implementation gives them."""
    assert [block_key(0, block) for block in range(2)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]
    assert len({block_key(key, block) for key in range(50) for block in range(50)}) == 2500
