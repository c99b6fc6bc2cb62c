"""A tensor's checksum is the same however it was cut into tiles."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from mergegraph.dtypes import BY_CODE
from mergegraph.tensors.checksum import block_digests, bytes_per_block, file_checksum, tensor_checksum

BLOCK = 6


def digests(content: bytes) -> bytes:
    return block_digests(memoryview(content), BLOCK)


@pytest.mark.parametrize(
    ("content", "blocks"),
    [
        pytest.param(b"", [], id="an empty tensor has no block"),
        pytest.param(b"abc", [b"abc"], id="less than a block"),
        pytest.param(b"abcdef", [b"abcdef"], id="one whole block"),
        pytest.param(b"abcdefg", [b"abcdef", b"g"], id="a last, short block"),
    ],
)
def test_the_definition(content: bytes, blocks: list[bytes]) -> None:
    expected = xxhash.xxh3_128_hexdigest(b"".join(map(xxhash.xxh3_128_digest, blocks)))
    assert tensor_checksum([digests(content)]) == expected


@given(st.binary(max_size=100), st.integers(1, 7))
def test_tiles_of_whole_blocks_do_not_matter(content: bytes, blocks_per_tile: int) -> None:
    step = blocks_per_tile * BLOCK
    tiles = [digests(content[start : start + step]) for start in range(0, len(content), step)]
    assert tensor_checksum(tiles) == tensor_checksum([digests(content)])


def test_views_of_any_format_are_taken_by_their_bytes() -> None:
    words = memoryview(bytearray(range(24))).cast("I")
    assert block_digests(words, BLOCK) == digests(bytes(range(24)))


@pytest.mark.parametrize(
    ("code", "expected"), [("F64", 524_288), ("BF16", 131_072), ("U8", 65_536), ("F6_E2M3", 49_152)]
)
def test_a_block_is_65536_elements(code: str, expected: int) -> None:
    assert bytes_per_block(BY_CODE[code]) == expected


@pytest.mark.parametrize("nbytes", [0, 1, BLOCK, 97, 400])
def test_a_stored_tensor_has_the_same_checksum(tmp_path: Path, nbytes: int) -> None:
    content = bytes(n * 37 % 251 for n in range(nbytes))
    (tmp_path / "file").write_bytes(b"head" + content + b"tail")
    with (tmp_path / "file").open("rb") as stored:
        assert file_checksum(stored.fileno(), 4, nbytes, BLOCK) == tensor_checksum([digests(content)])


def test_short_reads_are_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytes(range(50))
    (tmp_path / "file").write_bytes(content)
    whole_read = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, views, offset: whole_read(fd, [views[0][:7]], offset))
    with (tmp_path / "file").open("rb") as stored:
        assert file_checksum(stored.fileno(), 0, 50, BLOCK) == tensor_checksum([digests(content)])


def test_a_file_that_ends_early_is_not_summed_up(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    with (tmp_path / "file").open("rb") as stored, pytest.raises(EOFError, match="1 bytes are missing at byte 3"):
        file_checksum(stored.fileno(), 1, 3, BLOCK)
