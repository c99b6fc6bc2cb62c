"""The checksum of a tensor's bytes: xxh3_128 over the concatenated xxh3_128 of its 65,536-element blocks.

Blocks make it the same for every tile size and order of writing, because tiles are whole blocks. It guards
against faults of disks and programs, not against people: that is sha256's work.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import xxhash

from mergegraph.dtypes import DType

BLOCK_ELEMENTS = 65_536
_BLOCKS_PER_READ = 16


def bytes_per_block(dtype: DType) -> int:
    """Bytes of one block; whole for every dtype, packed ones too."""
    return BLOCK_ELEMENTS * dtype.bits // 8


def block_digests(buffer: memoryview, block_bytes: int) -> bytes:
    """The 16-byte digests of the blocks of one tile, concatenated. Only a tensor's last block may be shorter."""
    if not buffer.nbytes:
        return b""
    octets = buffer.cast("B")
    return b"".join(
        xxhash.xxh3_128_digest(octets[start : start + block_bytes]) for start in range(0, len(octets), block_bytes)
    )


def tensor_checksum(digests: Iterable[bytes]) -> str:
    """32 hex digits, from the block digests of a tensor's tiles in index order."""
    whole = xxhash.xxh3_128()
    for digest in digests:
        whole.update(digest)
    return whole.hexdigest()


def file_checksum(fd: int, offset: int, nbytes: int, block_bytes: int) -> str:
    """The checksum of a tensor that lies at `offset` of an open file. EOFError when the file is shorter."""
    step = block_bytes * _BLOCKS_PER_READ
    tiles = (_read(fd, offset + start, min(step, nbytes - start)) for start in range(0, nbytes, step))
    return tensor_checksum(block_digests(memoryview(tile), block_bytes) for tile in tiles)


def _read(fd: int, offset: int, nbytes: int) -> bytearray:
    tile = bytearray(nbytes)
    filled = 0
    with memoryview(tile) as view:
        while filled < nbytes:
            count = os.preadv(fd, [view[filled:]], offset + filled)
            if not count:
                raise EOFError(f"{nbytes - filled} bytes are missing at byte {offset + filled}")
            filled += count
    return tile
