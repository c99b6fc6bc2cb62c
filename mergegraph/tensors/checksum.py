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
_READ_BYTES = 256 << 10
"""One buffer of this, used again and again: a worker that reads a tensor back has nothing else outside its arena."""


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
    whole = xxhash.xxh3_128()
    with memoryview(bytearray(min(nbytes, block_bytes * max(1, _READ_BYTES // block_bytes)))) as buffer:
        for start in range(0, nbytes, max(len(buffer), 1)):
            tile = buffer[: min(len(buffer), nbytes - start)]
            _read_into(fd, offset + start, tile)
            whole.update(block_digests(tile, block_bytes))
    return whole.hexdigest()


def _read_into(fd: int, offset: int, tile: memoryview) -> None:
    filled = 0
    while filled < len(tile):
        count = os.preadv(fd, [tile[filled:]], offset + filled)
        if not count:
            raise EOFError(f"{len(tile) - filled} bytes are missing at byte {offset + filled}")
        filled += count
