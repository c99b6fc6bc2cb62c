"""A long range in pieces, several at a time: what fails is asked for again by the piece, and one connection rarely has
all of a network's speed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

PIECE_BYTES = 16 << 20
AT_ONCE = 4


def in_pieces(
    offset: int, buffer: memoryview, read: Callable[[int, memoryview], None], piece_bytes: int = PIECE_BYTES
) -> None:
    """Fill `buffer` from `offset` by calls of `read`, which fills what it is given. Raises what `read` raises first."""
    if len(buffer) <= piece_bytes:
        if len(buffer):
            read(offset, buffer)
        return
    starts = range(0, len(buffer), piece_bytes)
    pieces = [buffer[start : start + piece_bytes] for start in starts]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(read, [offset + start for start in starts], pieces):
            pass
