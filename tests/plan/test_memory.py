"""How tiles fill a budget: worked by hand with primes that cannot stand in for each other, then for any plan."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergegraph.errors import DoesNotFit
from mergegraph.expr import cast, linear, read
from mergegraph.plan import memory
from mergegraph.plan.memory import (
    BLOCK_ELEMENTS,
    POOL_CEILING,
    TILE_ELEMENTS,
    WORKER_BYTES,
    Projection,
    TileShape,
    project,
    tile_shape,
)
from mergegraph.plan.program import Program, computation
from tests.plan.small_plans import planned, write_vectors

MIB = 1 << 20
BLOCK = BLOCK_ELEMENTS


def padded(count: int) -> int:
    """Up to the next multiple of 64."""
    return count + -count % 64


def test_a_tile_set_is_slots_and_two_staging_buffers() -> None:
    shape = TileShape(slots=3, slot_bits=32, raw_bits=16, out_bits=8)
    assert shape.tile_set_bytes(1009) == 3 * padded(4 * 1009) + padded(2 * 1009) + padded(1009)


def test_odd_bits_take_whole_bytes() -> None:
    """5 elements of 6 bits are 30 bits, 4 bytes, one 64-byte line."""
    assert TileShape(slots=0, slot_bits=32, raw_bits=6, out_bits=0).tile_set_bytes(5) == 64
    assert TileShape(slots=0, slot_bits=32, raw_bits=4, out_bits=0).tile_set_bytes(BLOCK) == BLOCK // 2


def program_of(slots: int, raw: int, out: int, *, double: bool = False) -> Program:
    return Program((), slots, double, raw, out)


def test_one_tile_set_serves_every_program() -> None:
    """Each maximum comes from another program."""
    programs = [program_of(7, 2, 3), program_of(5, 11, 3), program_of(5, 2, 13)]
    assert tile_shape(programs) == TileShape(7, 32, 11, 13)
    assert tile_shape([*programs, program_of(2, 2, 2, double=True)]) == TileShape(7, 64, 11, 13)


def test_the_shape_of_a_real_program() -> None:
    """Two bfloat16 models averaged: of a tile four bytes in and two out, of a piece two float32 slots."""
    reads = [read(f"file{n}", "w", "BF16", (BLOCK,), 0, 2 * BLOCK) for n in range(2)]
    average = linear([(Fraction(1, 2), each) for each in reads], "weights")
    assert tile_shape([computation([cast(average, "BF16")]).program]) == TileShape(
        0, 32, 32, 16, piece_bytes=2 * 4 * BLOCK, buffers=3
    )


SHAPE = TileShape(slots=2, slot_bits=32, raw_bits=16, out_bits=16)
BLOCK_BYTES = BLOCK * (2 * 4 + 2 + 2)

# Columns: why; budget in tile sets of one block; workers; elements of the largest tensor; then blocks and workers.
PROJECTED = [
    ("a wide budget: full tiles for everyone", 1000, 3, 10**9, (4, 3)),
    ("exactly three full tile sets", 12, 3, 10**9, (4, 3)),
    ("a byte less shrinks the tile, not the workers", 12 - 1 / BLOCK_BYTES, 3, 10**9, (3, 3)),
    ("room for seven blocks among three workers", 7, 3, 10**9, (2, 3)),
    ("one block each is the least for three", 3, 3, 10**9, (1, 3)),
    ("a byte less costs a worker, and its share goes to the others", 3 - 1 / BLOCK_BYTES, 3, 10**9, (1, 2)),
    ("one worker may take several blocks, but tiles shrink first", 2, 3, 10**9, (1, 2)),
    ("a single block", 1, 3, 10**9, (1, 1)),
    ("less than one block is still projected", 0.5, 3, 10**9, (1, 1)),
    ("small tensors take no larger tile than they fill", 1000, 3, BLOCK + 1, (2, 3)),
    ("a tensor of one block exactly", 1000, 3, BLOCK, (1, 3)),
    ("empty tensors take a block", 1000, 3, 0, (1, 3)),
]


@pytest.mark.parametrize(
    ("why", "sets", "workers", "largest", "expected"), PROJECTED, ids=[row[0] for row in PROJECTED]
)
def test_tiles_shrink_before_workers_go(
    why: str, sets: float, workers: int, largest: int, expected: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "WORKER_BYTES", 0)
    monkeypatch.setattr(memory, "TILE_ELEMENTS", 4 * BLOCK)
    projected = project(SHAPE, round(sets * BLOCK_BYTES), workers, largest)
    assert (projected.tile_elements // BLOCK, projected.workers) == expected, why
    assert projected.pool_bytes == expected[0] * expected[1] * BLOCK_BYTES


def test_each_worker_leaves_room_for_what_it_takes_beside_its_tiles() -> None:
    for workers in (1, 2, 3):
        room = workers * WORKER_BYTES
        assert project(SHAPE, workers * BLOCK_BYTES + room, workers, 10**9).workers == workers
        fewer = project(SHAPE, workers * BLOCK_BYTES + room - 1, workers, 10**9)
        assert fewer.workers == max(1, workers - 1)


def test_the_pool_stays_below_its_ceiling_whatever_the_budget() -> None:
    workers = 61
    projected = project(SHAPE, 1 << 40, workers, 10**9)
    assert projected.workers == workers
    assert POOL_CEILING - workers * BLOCK_BYTES < projected.pool_bytes <= POOL_CEILING


shapes = st.builds(
    TileShape,
    slots=st.integers(0, 40),
    slot_bits=st.sampled_from([32, 64]),
    raw_bits=st.sampled_from([0, 4, 6, 8, 16, 32, 64]),
    out_bits=st.sampled_from([0, 8, 16, 32, 64]),
)


@given(shapes, st.integers(1, 1 << 36), st.integers(1, 128), st.integers(0, 1 << 34))
def test_a_pool_fits_or_nothing_smaller_does(shape: TileShape, budget: int, workers: int, largest: int) -> None:
    projected = project(shape, budget, workers, largest)
    assert projected.tile_elements % BLOCK == 0
    assert 0 < projected.tile_elements <= TILE_ELEMENTS
    assert 1 <= projected.workers <= workers
    smallest = (projected.tile_elements, projected.workers) == (BLOCK, 1)
    assert projected.pool_bytes <= min(budget, POOL_CEILING) or smallest


@given(shapes, st.integers(1, 1 << 30), st.integers(1, 32), st.integers(0, 1 << 24))
def test_a_larger_budget_never_makes_less_of_it(shape: TileShape, budget: int, workers: int, largest: int) -> None:
    def use(projected: Projection) -> tuple[int, int]:
        return projected.workers, projected.tile_elements

    assert use(project(shape, 2 * budget, workers, largest)) >= use(project(shape, budget, workers, largest))


def test_a_plan_that_does_not_fit_can_be_shown_and_says_what_would(tmp_path: Path) -> None:
    write_vectors(tmp_path)
    nodes = "m: {op: soup, inputs: [a, b, c]}\nout: {op: save, input: m, path: out}"
    plan = planned(tmp_path, nodes, budget_bytes=MIB // 2, workers=5)
    (problem,) = plan.problems
    # Three float32 inputs and a float32 result of 65,536 elements each, two slots, a compiled pass.
    assert problem.fact == "The plan needs 2.5 MiB; the budget is 512.0 KiB."
    assert problem.fix == "--budget 3MiB"
    assert problem.node == "m"
    with pytest.raises(DoesNotFit):
        plan.validate()
    planned(tmp_path, nodes, budget_bytes=3 * MIB, workers=5).validate()
