"""Random numbers that belong to elements: a hash of a key and the element's index, without any state.

Each block of 65,536 elements gets its own 64 bits, by splitmix64 from the key and the block's number; inside a
block the 32-bit integer hash of the index, which is the same for every block, goes through two more multiplications
with those bits mixed in before each.

Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014 (splitmix64); the rounds of the
32-bit hash are those of C. Wellons, "Prospecting for hash functions" (lowbias32), 2018.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

BLOCK_ELEMENTS = 65_536
SCALE = 2.0**-24
_MASK = (1 << 64) - 1
_PIECE = 65_536
_Floats = np.ndarray[tuple[int], np.dtype[Any]]
"""float32 or float64."""
FIRST, SECOND = np.uint32(0x7FEB352D), np.uint32(0x846CA68B)
_SHIFT, _UNUSED_BITS = np.uint32(15), np.uint32(8)


def _mixed_indices() -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    """The 32-bit hash of every index in a block: what does not depend on the key is done once."""
    x = np.arange(BLOCK_ELEMENTS, dtype=np.uint32)
    for shift, factor in ((16, FIRST), (15, SECOND)):
        x = (x ^ (x >> np.uint32(shift))) * factor
    return x ^ (x >> np.uint32(16))


MIXED = _mixed_indices()


def fill_uniform(out: Tensor, key: int, start: int, scratch: Tensor) -> None:
    """`out` (1-D, float32 or float64) = the numbers in [0, 1) of elements `start …`, multiples of 2^-24.

    `scratch`: a tensor of `out`'s size and dtype whose memory is used.
    """
    words = scratch.view(torch.int32)[: out.numel()]
    hashed: np.ndarray[tuple[int], np.dtype[np.uint32]] = words.numpy().view(np.uint32)  # pyright: ignore
    done = 0
    while done < len(hashed):
        block, offset = divmod(start + done, BLOCK_ELEMENTS)
        count = min(BLOCK_ELEMENTS - offset, len(hashed) - done)
        _hash(hashed[done : done + count], MIXED[offset : offset + count], block_key(key, block))
        done += count
    # Two steps: one that multiplies whole numbers by a fraction makes a copy of the tile first.
    out.copy_(words)
    out.mul_(SCALE)


def draw_equal(out: Tensor, operand: Tensor, size: float, share: float, key: int, start: int) -> None:
    """Copy to `out` the elements of `operand` of magnitude `size` whose number of `fill_uniform` is below `share`.

    Both are 1-D and begin at element `start`; `out` is +0 where the magnitude is `size`.
    """
    if not size or not share:
        return
    into, given = out.numpy(), operand.numpy()  # pyright: ignore
    limit, done = np.uint32(drawn_below(share)), 0
    while done < given.size:
        block, offset = divmod(start + done, BLOCK_ELEMENTS)
        part = slice(done, done + min(BLOCK_ELEMENTS - offset, given.size - done))
        _draw(into[part], given[part], size, limit, block_key(key, block), offset)
        done = part.stop


def drawn_below(share: float) -> int:
    """The 24-bit number below which an element is drawn."""
    return min(int(np.ceil(share / SCALE)), 1 << 24)


def _draw(out: _Floats, given: _Floats, size: float, limit: np.uint32, key: int, offset: int) -> None:
    """`draw_equal` within a block. Goes through all of it: to pick elements out takes longer, and so does `where`, that
    of numpy and that of torch."""
    spare = np.abs(given)
    equal = spare == given.dtype.type(size)
    if not np.count_nonzero(equal):
        return
    drawn = np.empty(given.size, np.uint32)
    _hash(drawn, MIXED[offset : offset + given.size], key)
    equal &= drawn < limit
    bits = np.int64 if given.dtype == np.float64 else np.int32
    masks = np.negative(equal.view(np.int8), out=spare.view(bits), dtype=bits)
    masks &= given.view(bits)
    out.view(bits)[:] |= masks


def block_key(key: int, block: int) -> int:
    """64 bits for one block: splitmix64 of the key and the block's number."""
    z = (key + (block + 1) * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def _hash(
    out: np.ndarray[tuple[int], np.dtype[np.uint32]], mixed: np.ndarray[tuple[int], np.dtype[np.uint32]], key: int
) -> None:
    """24-bit numbers from mixed indices; in pieces that stay in the cache."""
    low, high = np.uint32(key & 0xFFFFFFFF), np.uint32(key >> 32)
    spare = np.empty(min(_PIECE, len(out)), np.uint32)
    for start in range(0, len(out), _PIECE):
        x = out[start : start + _PIECE]
        shifted = spare[: len(x)]
        np.bitwise_xor(mixed[start : start + _PIECE], low, out=x)
        np.multiply(x, FIRST, out=x)
        np.right_shift(x, _SHIFT, out=shifted)
        np.bitwise_xor(shifted, high, out=shifted)
        np.bitwise_xor(x, shifted, out=x)
        np.multiply(x, SECOND, out=x)
        np.right_shift(x, _UNUSED_BITS, out=x)
