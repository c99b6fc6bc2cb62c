"""Reading byte ranges: whole or an error, from the planned file only, by many threads."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mergegraph.errors import RunError
from mergegraph.tensors import reader as reader_module
from mergegraph.tensors.local_file import LocalFile
from mergegraph.tensors.reader import FileReader

CONTENT = bytes(range(251)) * 41


def identity_of(path: Path) -> str:
    status = path.stat()
    return f"file:{status.st_dev},{status.st_ino},{status.st_size},{status.st_mtime_ns}"


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(CONTENT)
    return path


def reader_of(*paths: Path) -> FileReader:
    return FileReader({str(path): identity_of(path) for path in paths})


def read(reader: FileReader, path: Path, offset: int, byte_count: int) -> bytes:
    buffer = bytearray(byte_count)
    reader.read_into(str(path), offset, memoryview(buffer))
    return bytes(buffer)


@pytest.mark.parametrize(
    ("offset", "byte_count"),
    [
        (0, 1),
        (0, len(CONTENT)),  # the whole file
        (13, 257),  # neither end aligned
        (len(CONTENT) - 7, 7),  # up to the last byte
        (100, 0),  # a tensor without elements
        (len(CONTENT), 0),  # the same, at the end of the file
    ],
)
def test_a_range_is_read_whole(stored: Path, offset: int, byte_count: int) -> None:
    with reader_of(stored) as reader:
        assert read(reader, stored, offset, byte_count) == CONTENT[offset : offset + byte_count]


def test_only_the_given_part_of_a_buffer_is_written(stored: Path) -> None:
    buffer = bytearray(b"\xff" * 20)
    with reader_of(stored) as reader:
        reader.read_into(str(stored), 3, memoryview(buffer)[5:9])
    assert bytes(buffer) == b"\xff" * 5 + CONTENT[3:7] + b"\xff" * 11


def test_a_buffer_of_wider_elements_is_filled_in_bytes(stored: Path) -> None:
    buffer = bytearray(16)
    with reader_of(stored) as reader:
        reader.read_into(str(stored), 8, memoryview(buffer).cast("I"))
    assert bytes(buffer) == CONTENT[8:24]


def test_short_replies_of_the_system_are_continued(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Linux moves at most 2 GiB - 4 KiB a call; here it moves 97 bytes.
    whole = os.preadv

    def stingy(descriptor: int, views: list[memoryview], offset: int) -> int:
        return whole(descriptor, [views[0][:97]], offset)

    monkeypatch.setattr(os, "preadv", stingy)
    with reader_of(stored) as reader:
        assert read(reader, stored, 5, 1000) == CONTENT[5:1005]


def test_a_file_truncated_during_the_run_names_both_numbers(stored: Path) -> None:
    with reader_of(stored) as reader:
        read(reader, stored, 0, 10)
        os.truncate(stored, 150)
        with pytest.raises(RunError) as caught:
            read(reader, stored, 100, 1000)
    text = str(caught.value)
    assert "1,000 bytes were expected at byte 100, 50 were there" in text
    assert str(stored) in text
    assert caught.value.problems[0].fix


def test_a_file_that_changed_since_the_plan_is_refused(stored: Path) -> None:
    with reader_of(stored) as reader:
        status = stored.stat()
        stored.write_bytes(CONTENT[::-1])
        os.utime(stored, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
        with pytest.raises(RunError, match="has changed since it was planned") as caught:
            read(reader, stored, 0, 1)
    assert caught.value.problems[0].fix


def test_a_file_replaced_by_an_equal_one_is_refused(stored: Path, tmp_path: Path) -> None:
    status = stored.stat()
    with reader_of(stored) as reader:
        copy = tmp_path / "copy"
        copy.write_bytes(CONTENT)
        os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
        copy.rename(stored)
        with pytest.raises(RunError, match="has changed since it was planned"):
            read(reader, stored, 0, 1)


def test_a_file_that_is_gone_or_a_pipe_is_refused_without_waiting(stored: Path) -> None:
    with reader_of(stored) as reader:
        stored.unlink()
        with pytest.raises(RunError, match="No such file"):
            read(reader, stored, 0, 1)
        os.mkfifo(stored)
        with pytest.raises(RunError, match="not a regular file"):
            read(reader, stored, 0, 1)


def test_an_error_of_the_disk_names_the_file(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "preadv", broken)
    with reader_of(stored) as reader, pytest.raises(RunError, match=r"model\.safetensors cannot be read: Input/output"):
        read(reader, stored, 0, 1)


def test_too_many_open_files_says_how_to_allow_more(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: str) -> LocalFile:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), path)

    monkeypatch.setattr(reader_module, "open_local", full)
    with reader_of(stored) as reader, pytest.raises(RunError, match="ulimit -n"):
        read(reader, stored, 0, 1)


def test_threads_share_one_open_file_and_all_read_right(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = reader_module.open_local

    def counted(path: str) -> LocalFile:
        opened.append(path)
        return real(path)

    monkeypatch.setattr(reader_module, "open_local", counted)
    ranges = [(offset, 17 + offset % 101) for offset in range(0, len(CONTENT) - 200, 53)]
    with reader_of(stored) as reader, ThreadPoolExecutor(8) as pool:
        reads = [pool.submit(read, reader, stored, offset, count) for offset, count in ranges]
        parts = [done.result() for done in reads]
    assert parts == [CONTENT[offset : offset + count] for offset, count in ranges]
    assert opened == [str(stored)]


def test_closing_gives_every_descriptor_back(stored: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"abc")
    before = len(list(Path("/dev/fd").iterdir()))
    reader = FileReader({str(stored): identity_of(stored), str(other): "file:0,0,0,0"})
    read(reader, stored, 0, 1)
    with pytest.raises(RunError, match="has changed"):
        read(reader, other, 0, 1)
    assert len(list(Path("/dev/fd").iterdir())) == before + 1
    reader.close()
    reader.close()
    assert len(list(Path("/dev/fd").iterdir())) == before
    with pytest.raises(AssertionError, match="closed reader"):
        read(reader, stored, 0, 1)


def test_a_range_beyond_four_gigabytes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.safetensors"
    far = 2**32 + 12_345
    with path.open("wb") as file:
        file.seek(far)
        file.write(b"far away")
    with reader_of(path) as reader:
        assert read(reader, path, far - 2, 10) == b"\0\0far away"


def test_a_file_that_was_written_into_after_it_was_opened_is_noticed(stored: Path) -> None:
    with reader_of(stored) as reader:
        read(reader, stored, 0, 5)
        reader.require_unchanged()
        with stored.open("r+b") as file:
            file.write(b"\xff")
        os.utime(stored, ns=(1, 1))
        with pytest.raises(RunError, match="has changed since it was planned"):
            reader.require_unchanged()


def test_a_file_that_another_took_the_place_of_is_read_to_its_end(stored: Path) -> None:
    """The open file is still the planned one."""
    with reader_of(stored) as reader:
        read(reader, stored, 0, 5)
        stored.with_name("new").write_bytes(bytes(len(CONTENT)))
        stored.with_name("new").replace(stored)
        assert read(reader, stored, 0, len(CONTENT)) == CONTENT
        reader.require_unchanged()
