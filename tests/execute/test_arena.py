"""One worker's memory: its buffers do not overlap, fill exactly what was projected, and serve every dtype."""

from __future__ import annotations

import pytest
import torch

from mergegraph.execute.arena import Arena
from mergegraph.execute.rounding import round_once
from mergegraph.plan.memory import TileShape


@pytest.mark.parametrize(
    ("shape", "elements"),
    [
        (TileShape(slots=3, slot_bits=32, raw_bits=16, out_bits=8), 7),
        (TileShape(slots=5, slot_bits=32, raw_bits=64, out_bits=16), 101),  # staged wider than computed
        (TileShape(slots=2, slot_bits=64, raw_bits=8, out_bits=32), 1_009),
        (TileShape(slots=7, slot_bits=64, raw_bits=16, out_bits=64), 13),
        (TileShape(slots=1, slot_bits=32, raw_bits=0, out_bits=0), 17),  # nothing staged
        (TileShape(slots=0, slot_bits=32, raw_bits=64, out_bits=0), 31),  # only copies
        (TileShape(slots=2, slot_bits=32, raw_bits=4, out_bits=32), 37),  # packed elements: half a byte each
    ],
)
def test_buffers_do_not_overlap(shape: TileShape, elements: int) -> None:
    arena = Arena(shape, elements)
    buffers = {
        f"slot {index}": arena.slot_bytes(index, elements * shape.slot_bits // 8) for index in range(shape.slots)
    }
    buffers["raw"] = arena.raw_bytes(-(-elements * shape.raw_bits // 8))
    buffers["out"] = memoryview(arena.out(-(-elements * shape.out_bits // 8), torch.uint8).numpy())
    for number, buffer in enumerate(buffers.values(), 1):
        buffer[:] = bytes([number]) * len(buffer)
    for number, (name, buffer) in enumerate(buffers.items(), 1):
        assert set(buffer) <= {number}, name
    assert sum(map(len, buffers.values())) <= shape.tile_set_bytes(elements)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float8_e4m3fn, torch.bool])
def test_typed_views_are_the_same_memory(dtype: torch.dtype) -> None:
    arena = Arena(TileShape(slots=3, slot_bits=64, raw_bits=64, out_bits=64), 101)
    for view, raw in (
        (arena.slot(2, 89, dtype), arena.slot_bytes(2, 89 * dtype.itemsize)),
        (arena.raw(89, dtype), arena.raw_bytes(89 * dtype.itemsize)),
        (arena.out(89, dtype), memoryview(arena.out(89 * dtype.itemsize, torch.uint8).numpy())),
    ):
        raw[:] = bytes(len(raw))
        view.fill_(1)
        assert view.shape == (89,)
        assert bytes(raw) == torch.ones(89).to(dtype).view(torch.uint8).numpy().tobytes()


def test_views_reserve_nothing_more() -> None:
    arena = Arena(TileShape(slots=2, slot_bits=32, raw_bits=16, out_bits=16), 1_009)
    first, again = arena.slot(1, 1_009, torch.float32), arena.slot(1, 503, torch.float32)
    assert first.data_ptr() == again.data_ptr()
    assert first.untyped_storage().data_ptr() == arena.out(1, torch.bfloat16).untyped_storage().data_ptr()


def test_rounding_leaves_the_values_alone() -> None:
    """Two saves may need one value in two dtypes."""
    value = torch.tensor([1e300, 1 + 2**-8 + 2**-40, -1e6], dtype=torch.float64)
    kept = value.clone()
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn):
        round_once(value, torch.empty(3, dtype=dtype))
        assert value.equal(kept)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float8_e5m2])
def test_rounding_counts_over_every_piece(dtype: torch.dtype) -> None:
    """Careful rounding works in pieces of 8,192 elements; 20,011 are two and a rest."""
    value = torch.zeros(20_011, dtype=torch.float64)
    value[[3, 8_191, 8_192, 16_384, 20_010]] = 1e300
    rounded = torch.empty(20_011, dtype=dtype)
    assert round_once(value, rounded) == (0, 5)
    assert rounded.double().count_nonzero() == 5
