"""Random numbers that belong to elements: a hash of a key and the element's index, without any state.

Each block of 65,536 elements gets its own 64 bits, by splitmix64 from the key and the block's number; inside a
block a 32-bit integer hash of the index, with those bits mixed in at two places, gives the number.

Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014 (splitmix64); the rounds of the
32-bit hash are those of C. Wellons, "Prospecting for hash functions" (lowbias32), 2018.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

BLOCK_ELEMENTS = 65_536
_SCALE = 2.0**-24
_MASK = (1 << 64) - 1
_INDEX = np.arange(BLOCK_ELEMENTS, dtype=np.uint32)


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
        _hash(hashed[done : done + count], _INDEX[offset : offset + count], block_key(key, block))
        done += count
    torch.mul(words, _SCALE, out=out)


def block_key(key: int, block: int) -> int:
    """64 bits for one block: splitmix64 of the key and the block's number."""
    z = (key + (block + 1) * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def _hash(
    out: np.ndarray[tuple[int], np.dtype[np.uint32]], index: np.ndarray[tuple[int], np.dtype[np.uint32]], key: int
) -> None:
    """24-bit numbers from 16-bit indices; in pieces that stay in the first cache."""
    low, high = np.uint32(key & 0xFFFFFFFF), np.uint32(key >> 32)
    for start in range(0, len(out), _PIECE):
        x = out[start : start + _PIECE]
        spare = np.empty_like(x)
        np.bitwise_xor(index[start : start + _PIECE], low, out=x)
        for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
            np.right_shift(x, np.uint32(shift), out=spare)
            np.bitwise_xor(x, spare, out=x)
            np.multiply(x, np.uint32(factor), out=x)
        np.bitwise_xor(x, high, out=x)
        for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
            np.right_shift(x, np.uint32(shift), out=spare)
            np.bitwise_xor(x, spare, out=x)
            np.multiply(x, np.uint32(factor), out=x)
        np.right_shift(x, np.uint32(8), out=x)


_PIECE = 4_096
