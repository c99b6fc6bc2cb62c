"""The random numbers of `execute.noise` made on a device: the same, bit for bit, without a number from the host.

torch has no unsigned 32-bit arithmetic: signed numbers wrap around in the same way, and a logical shift is an
arithmetic one with the sign's copies masked away.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from mergegraph.execute.noise import BLOCK_ELEMENTS, FIRST, MIXED, SCALE, SECOND, drawn_below

_FIRST, _SECOND = (int(np.uint32(factor).astype(np.int32)) for factor in (FIRST, SECOND))
_GOLDEN, _MIX_1, _MIX_2 = (
    number - (1 << 64) if number >= 1 << 63 else number
    for number in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


def fill_uniform(out: Tensor, key: int, start: int, scratch: Tensor) -> None:
    """As `execute.noise.fill_uniform`. `scratch`: as large as `out`; `out` is used on the way too."""
    words = scratch.view(torch.int32)[: out.numel()]
    fill_words(words, out.view(torch.int32)[: out.numel()], key, start)
    torch.mul(words, SCALE, out=out)


def fill_words(words: Tensor, spare: Tensor, key: int, start: int) -> None:
    """`words` (int32) = the 24-bit numbers of elements `start …`. `spare`: another such tensor."""
    count, done = words.numel(), 0
    while done < count:
        block, offset = divmod(start + done, BLOCK_ELEMENTS)
        left = count - done
        whole = left // BLOCK_ELEMENTS if not offset else 0
        taken = whole * BLOCK_ELEMENTS or min(left, BLOCK_ELEMENTS - offset)
        part = slice(done, done + taken)
        _hash(words[part], spare[part], key, block, offset)
        done += taken


def draw_equal(
    out: Tensor, operand: Tensor, size: float, share: float, key: int, start: int, rooms: tuple[Tensor, Tensor, Tensor]
) -> None:
    """As `execute.noise.draw_equal`. `rooms`: two times eight bytes for each element, and a flag; any number of
    elements, which are gone through in pieces of so many."""
    if not size or not share:
        return
    limit, (wide, narrow, flags) = drawn_below(share), rooms
    step = flags.numel()
    for first in range(0, operand.numel(), step):
        given, into = operand[first : first + step], out[first : first + step]
        count = given.numel()
        words, spare = (room.view(torch.int32)[:count] for room in (wide, narrow))
        fill_words(words, spare, key, start + first)
        drawn, equal = words.lt_(limit), narrow.view(given.dtype)[:count]
        torch.abs(given, out=equal)
        chosen = flags.view(torch.bool)[:count]
        torch.eq(equal, size, out=chosen)
        chosen.logical_and_(drawn)
        torch.where(chosen, given, into, out=into)


def _hash(words: Tensor, spare: Tensor, key: int, block: int, offset: int) -> None:
    """The rounds of `execute.noise` on one part of a block, or on whole blocks."""
    blocks = max(1, words.numel() // BLOCK_ELEMENTS)
    x, shifted = words.view(blocks, -1), spare.view(blocks, -1)
    keys = _block_keys(key, block, blocks, words.device)
    low, high = keys.to(torch.int32), (keys >> 32).to(torch.int32)
    mixed = _mixed(words.device)[offset : offset + x.shape[1]]
    torch.bitwise_xor(mixed, low, out=x)
    x.mul_(_FIRST)
    torch.bitwise_right_shift(x, 15, out=shifted)
    shifted.bitwise_and_((1 << 17) - 1).bitwise_xor_(high)
    x.bitwise_xor_(shifted).mul_(_SECOND)
    x.bitwise_right_shift_(8).bitwise_and_((1 << 24) - 1)


def _block_keys(key: int, first: int, count: int, device: torch.device) -> Tensor:
    """`execute.noise.block_key` of blocks in a row, as a column of int64."""
    z = torch.arange(first + 1, first + 1 + count, dtype=torch.int64, device=device)
    z = z.mul_(_GOLDEN).add_(key - (1 << 64) if key >= 1 << 63 else key)
    z = (z ^ ((z >> 30) & ((1 << 34) - 1))).mul_(_MIX_1)
    z = (z ^ ((z >> 27) & ((1 << 37) - 1))).mul_(_MIX_2)
    return (z ^ ((z >> 31) & ((1 << 33) - 1))).unsqueeze(1)


@cache
def _mixed(device: torch.device) -> Tensor:
    """What does not depend on the key, 256 KiB on each device."""
    return torch.from_numpy(MIXED.view(np.int32).copy()).to(device)  # pyright: ignore[reportUnknownMemberType]
