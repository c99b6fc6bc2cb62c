"""A stage of a ring: the tiles in it, where their bytes lie, and the pieces in which these are read and written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import Tensor

from mergegraph.execute.device import Event
from mergegraph.execute.device.tile import DeviceTile
from mergegraph.execute.jobs import Tile
from mergegraph.plan.staging import Needs, aligned, fetched, stored, tile_needs
from mergegraph.tensors.checksum import BLOCK_ELEMENTS

_PIECE_BYTES = 4 << 20
"""What a reader or a writer does at a time."""
_NOTHING = Needs(0, 0, 0)


@dataclass
class Part:
    """A tile in a stage: where its reads and roots begin, and what is known when it is computed."""

    tile: Tile
    reads: dict[int, slice]
    outs: dict[int, slice]
    computed: DeviceTile | None = None


@dataclass
class Stage:
    """Bytes on the host and on the device, in, out, and results; `tasks` are left before it goes on."""

    here: tuple[Tensor, Tensor, Tensor]
    there: tuple[Tensor, Tensor, Tensor]
    parts: list[Part] = field(default_factory=list[Part])
    used: Needs = _NOTHING
    tasks: int = 0
    back: Event | None = None

    def add(self, tile: Tile, room: Needs) -> bool:
        """Take a tile in; whether it fits beside those that are there."""
        program, cut = tile.job.computation.program, tile.job.cut
        used = self.used.plus(tile_needs(program, tile.index, tile.elements, cut.leaf))
        if not used.fits(room):
            return False
        reads = _places(fetched(program, tile.index), self.used.raw, tile.elements)
        outs = _places(stored(program, tile.index), self.used.out, tile.elements)
        self.parts.append(Part(tile, reads, outs))
        self.used = used
        return True

    def clear(self) -> None:
        self.parts, self.used, self.back = [], _NOTHING, None


def _places(bits: dict[int, int], start: int, elements: int) -> dict[int, slice]:
    places: dict[int, slice] = {}
    for number, each in bits.items():
        nbytes = -(-elements * each // 8)
        places[number] = slice(start, start + nbytes)
        start += aligned(nbytes)
    return places


Piece = tuple[Part, Stage, int, int, int]
"""Bytes from … to of a read or a root of a part."""


def read_pieces(stage: Stage) -> Iterator[Piece]:
    for part in stage.parts:
        for number, place in part.reads.items():
            for first, last in _cut(place.stop - place.start, _PIECE_BYTES):
                if last > first:
                    yield part, stage, number, first, last


def written_pieces(stage: Stage) -> Iterator[Piece]:
    """Whole blocks at a time, where a tile is whole blocks; an empty tensor is written too."""
    for part in stage.parts:
        for root, place in part.outs.items():
            nbytes = place.stop - place.start
            block = BLOCK_ELEMENTS * nbytes // max(part.tile.elements, 1) or 1
            step = _PIECE_BYTES // block * block if is_whole(part.tile) else nbytes
            for first, last in _cut(nbytes, step or block):
                yield part, stage, root, first, last


def is_whole(tile: Tile) -> bool:
    """Whether a tile is whole blocks, or all there is."""
    return tile.job.tile % BLOCK_ELEMENTS == 0 or tile.elements == tile.job.cut.elements


def _cut(nbytes: int, step: int) -> Iterator[tuple[int, int]]:
    for first in range(0, max(nbytes, 1), max(step, 1)):
        yield first, min(first + step, nbytes)


def grouped(pieces: Iterator[Piece]) -> Iterator[list[Piece]]:
    """Small pieces together."""
    group: list[Piece] = []
    nbytes = 0
    for piece in pieces:
        group.append(piece)
        nbytes += piece[4] - piece[3]
        if nbytes >= _PIECE_BYTES:
            yield group
            group, nbytes = [], 0
    if group:
        yield group
