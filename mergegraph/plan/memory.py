"""How many bytes the tiles of a run take, and the largest tile that fits the budget. Pure arithmetic.

A worker reserves its whole tile set at once: slots in the compute dtype, one staging buffer for raw bytes, one
for the rounded result. The pool is the workers' tile sets, and nothing that grows with a model is outside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mergegraph.plan.program import Program

BLOCK_ELEMENTS = 65_536
"""A tile is whole blocks, so that checksums do not depend on the tile."""
TILE_ELEMENTS = 262_144
"""1 MiB of float32: a few of them stay in the L2 cache of common processors."""
POOL_CEILING = 128 << 20
DEFAULT_BUDGET = 2 << 30


@dataclass(frozen=True, slots=True)
class TileShape:
    """What one worker holds for one tile element: slot count, and bits a slot, staged in and staged out."""

    slots: int
    slot_bits: int
    raw_bits: int
    out_bits: int

    def tile_set_bytes(self, elements: int) -> int:
        """Bytes of a worker's tile set for tiles of `elements`; every buffer is a multiple of 64 bytes."""
        buffers = [self.slot_bits] * self.slots + [self.raw_bits, self.out_bits]
        return sum(_aligned(-(-elements * bits // 8)) for bits in buffers)


@dataclass(frozen=True, slots=True)
class Projection:
    """What a run will reserve: `workers` tile sets, for tiles of `tile_elements`."""

    shape: TileShape
    tile_elements: int
    workers: int
    budget_bytes: int

    @property
    def tile_set_bytes(self) -> int:
        return self.shape.tile_set_bytes(self.tile_elements)

    @property
    def pool_bytes(self) -> int:
        return self.workers * self.tile_set_bytes


def tile_shape(programs: Iterable[Program]) -> TileShape:
    """The tile set that serves every program."""
    slots = raw = out = 0
    slot_bits = 32
    for each in programs:
        slots, raw, out = max(slots, each.slots), max(raw, each.raw_bits), max(out, each.out_bits)
        slot_bits = 64 if each.double else slot_bits
    return TileShape(slots, slot_bits, raw, out)


def project(shape: TileShape, budget_bytes: int, workers: int, largest_tensor: int) -> Projection:
    """The largest tile up to `TILE_ELEMENTS` whose pool fits; fewer workers only when one block does not.

    A projection above the budget (one worker, one block) is handed back too: `Plan.problems` says so.
    """
    ceiling = min(budget_bytes, POOL_CEILING)
    wanted = min(TILE_ELEMENTS, -(-max(largest_tensor, 1) // BLOCK_ELEMENTS) * BLOCK_ELEMENTS)
    for count in range(workers, 0, -1):
        for elements in range(wanted, 0, -BLOCK_ELEMENTS):
            if count * shape.tile_set_bytes(elements) <= ceiling:
                return Projection(shape, elements, count, budget_bytes)
    return Projection(shape, BLOCK_ELEMENTS, 1, budget_bytes)


def _aligned(count: int) -> int:
    return -(-count // 64) * 64
