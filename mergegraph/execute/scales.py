"""Float8 matrices with one stored number for each block: multiplied in place when they are read."""

from __future__ import annotations

import torch
from torch import Tensor

from mergegraph.dtypes import BY_CODE
from mergegraph.execute.views import Source
from mergegraph.expr import Read
from mergegraph.views import BlockScale


def scale_blocks(tile: Tensor, read: Read, start: int, source: Source) -> None:
    """Multiply the 1-D `tile`, elements from `start` of the matrix that `read` shows, by the scales of its blocks.

    Each element is multiplied by one number, whatever the tile, so no bit depends on where a tile begins.
    """
    if read.scale is None:
        return
    columns, done = read.shape[1], 0
    block_row, factors = -1, torch.empty(0)
    while done < tile.numel():
        row, column = divmod(start + done, columns)
        if row // read.scale.block[0] != block_row:
            block_row = row // read.scale.block[0]
            factors = _factors(read.scale, block_row, columns, source).to(tile.dtype)
        last_row = min((block_row + 1) * read.scale.block[0], read.shape[0])
        if column:
            taken = min(columns - column, tile.numel() - done)
            tile[done : done + taken].mul_(factors[column : column + taken])
        elif tile.numel() - done < columns:
            taken = tile.numel() - done
            tile[done:].mul_(factors[:taken])
        else:
            rows = min(last_row - row, (tile.numel() - done) // columns)
            taken = rows * columns
            tile[done : done + taken].view(rows, columns).mul_(factors)
        done += taken


def _factors(scale: BlockScale, block_row: int, columns: int, source: Source) -> Tensor:
    """The factor of each column in a row of blocks."""
    dtype = BY_CODE[scale.dtype]
    raw = bytearray(scale.shape[1] * dtype.itemsize)
    source(scale.path, scale.offset + block_row * len(raw), memoryview(raw))
    stored: torch.dtype = getattr(torch, dtype.torch_name)
    return torch.frombuffer(raw, dtype=stored).to(torch.float64).repeat_interleave(scale.block[1])[:columns]
