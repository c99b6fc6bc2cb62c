"""Reading a file again: the same checksums as when it was written, in little memory, by threads that end together."""

from __future__ import annotations

import hashlib
import os
import threading
import time
import tracemalloc
from pathlib import Path

import pytest
import xxhash

from mergegraph.dtypes import BY_CODE
from mergegraph.tensors import readback
from mergegraph.tensors.checksum import bytes_per_block, file_checksum
from mergegraph.tensors.readback import BUFFER_BYTES, Advance, Extent, in_threads, read_back, sha256_of

HEADER = 24


def write_random(path: Path, nbytes: int) -> bytes:
    content = os.urandom(nbytes)
    path.write_bytes(content)
    return content


@pytest.mark.parametrize("code", ["F64", "F32", "BF16", "F8_E4M3", "F6_E2M3", "F4"])
def test_checksums_are_those_of_the_tensors_and_sha256_of_the_file(code: str, tmp_path: Path) -> None:
    block = bytes_per_block(BY_CODE[code])
    sizes = {"empty": 0, "small": 24, "one": block, "more": 3 * block + 48, "large": 17 * block + 96}
    content = write_random(tmp_path / "file", HEADER + sum(sizes.values()))
    extents, offset = list[Extent](), HEADER
    for name, nbytes in sizes.items():
        extents.append(Extent(name, offset, nbytes, block))
        offset += nbytes
    found = read_back(str(tmp_path / "file"), HEADER, extents, lambda count: None, with_sha256=True, from_disk=True)
    with (tmp_path / "file").open("rb") as file:
        expected = {each.name: file_checksum(file.fileno(), each.offset, each.nbytes, block) for each in extents}
    assert found.checksums == expected
    assert found.header == xxhash.xxh3_128_hexdigest(content[:HEADER])
    assert found.sha256 == sha256_of(str(tmp_path / "file"), lambda count: None) == hashlib.sha256(content).hexdigest()


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    nbytes = 9 * BUFFER_BYTES
    with (tmp_path / "file").open("wb") as file:
        file.truncate(nbytes)
    tracemalloc.start()
    try:
        read_back(str(tmp_path / "file"), 0, [Extent("w", 0, nbytes, 1 << 17)], lambda _: None, with_sha256=True)
        assert tracemalloc.get_traced_memory()[1] < 1.5 * BUFFER_BYTES
    finally:
        tracemalloc.stop()


def test_a_file_that_is_too_short_costs_only_the_tensors_that_are_gone(tmp_path: Path) -> None:
    write_random(tmp_path / "file", 100)
    extents = [Extent("there", 0, 60, 64), Extent("half", 60, 60, 64), Extent("gone", 120, 8, 64)]
    found = read_back(str(tmp_path / "file"), 0, extents, lambda count: None, with_sha256=True)
    assert (set(found.checksums), set(found.unread), found.sha256) == ({"there"}, {"half", "gone"}, "")


def test_a_bad_sector_costs_only_its_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_random(tmp_path / "file", 90)
    preadv = os.preadv

    def failing(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        if offset == 30:
            raise OSError(5, "Input/output error")
        return preadv(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", failing)
    extents = [Extent(name, 30 * place, 30, 64) for place, name in enumerate("abc")]
    found = read_back(str(tmp_path / "file"), 0, extents, lambda count: None, with_sha256=True)
    assert set(found.checksums) == {"a", "c"}
    assert found.unread == {"b": "Input/output error"}


def test_the_disk_is_asked_and_not_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that are not written out cannot be dropped, so the sync comes first."""
    write_random(tmp_path / "file", 90)
    asked: list[object] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: asked.append("sync"))
    monkeypatch.setattr(os, "posix_fadvise", lambda descriptor, offset, length, advice: asked.append(advice))
    sha256_of(str(tmp_path / "file"), lambda count: None, from_disk=True)
    assert asked == ["sync", os.POSIX_FADV_DONTNEED, os.POSIX_FADV_SEQUENTIAL]


def test_results_come_in_order_with_every_byte_counted() -> None:
    def job(place: int, advance: Advance) -> int:
        time.sleep(0.02 * (3 - place % 3))
        advance(place)
        return place

    told: list[int] = []
    jobs = [lambda advance, place=place: job(place, advance) for place in range(7)]
    assert in_threads(jobs, told.append) == list(range(7))
    assert told[-1] == sum(range(7))
    assert in_threads([], told.append) == []


@pytest.mark.parametrize("failing", ["job", "tick"])
def test_one_failure_ends_all(failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readback, "_TICK_SECONDS", 0.01)
    ended = list[int]()
    begun = threading.Barrier(3)

    def endless(advance: Advance) -> None:
        try:
            begun.wait(5)
            for _ in range(5_000):
                advance(1)
                time.sleep(0.001)
        finally:
            ended.append(1)

    def breaking(advance: Advance) -> None:
        begun.wait(5)
        if failing == "job":
            raise ValueError("broken")
        endless_wait(advance)

    def endless_wait(advance: Advance) -> None:
        for _ in range(5_000):
            advance(1)
            time.sleep(0.001)

    def tick(read: int) -> None:
        if failing == "tick" and read:
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        in_threads([endless, breaking, endless], tick)
    assert ended == [1, 1]
