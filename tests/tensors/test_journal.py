"""The journal believes exactly the whole lines before the first bad one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mergegraph.tensors.journal import Journal, read_journal

HEADER = {"result_id": "r", "engine": "0.1"}
RECORDS = [{f'"é" {n}\n': n * 7919} for n in range(39)]  # with the header, 40 lines


def line_ends(content: bytes) -> list[int]:
    return [index + 1 for index, byte in enumerate(content) if byte == 0x0A]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with Journal.create(tmp_path / "journal", HEADER) as journal:
        journal.append(RECORDS[:7])
        journal.append(RECORDS[7:])
        journal.sync()
    return tmp_path / "journal"


def test_what_was_appended_is_read(path: Path) -> None:
    header, records, valid_bytes = read_journal(path)
    assert header == HEADER
    assert records == RECORDS
    assert valid_bytes == path.stat().st_size


def test_lines_are_a_checksum_a_space_and_json(tmp_path: Path) -> None:
    """The format is a contract: the number is the CRC-32 of the seven bytes of JSON."""
    with Journal.create(tmp_path / "journal", {"a": 1}):
        pass
    assert (tmp_path / "journal").read_bytes() == b'561bacaf {"a":1}\n'


def test_every_prefix_gives_its_whole_lines(path: Path) -> None:
    content = path.read_bytes()
    ends = line_ends(content)
    for length in reversed(range(len(content) + 1)):
        os.truncate(path, length)
        header, records, valid_bytes = read_journal(path)
        whole = sum(end <= length for end in ends)
        assert header == (HEADER if whole else None)
        assert records == RECORDS[: max(whole - 1, 0)]
        assert valid_bytes == (ends[whole - 1] if whole else 0)


@pytest.mark.parametrize(
    "mask", [0x01, 0x20, 0x80, 0xFF], ids=["the lowest bit", "the bit of letter case", "the highest bit", "all bits"]
)
def test_every_flipped_byte_ends_the_journal_before_its_line(path: Path, mask: int) -> None:
    content = path.read_bytes()
    ends = line_ends(content)
    line = 0
    with path.open("r+b", buffering=0) as file:
        for position, byte in enumerate(content):
            line += position >= ends[line]
            os.pwrite(file.fileno(), bytes([byte ^ mask]), position)
            header, records, valid_bytes = read_journal(path)
            assert header == (HEADER if line else None), position
            assert records == RECORDS[: max(line - 1, 0)], position
            assert valid_bytes == (ends[line - 1] if line else 0), position
            os.pwrite(file.fileno(), bytes([byte]), position)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"088b50bf [1,2]\n", id="a list is not a record"),
        pytest.param(b"00000000\n", id="a checksum of nothing"),
        pytest.param(b"\n", id="an empty line"),
        pytest.param(b"\0" * 4096, id="reserved and never written"),
    ],
)
def test_a_line_that_is_no_record_ends_the_journal(path: Path, line: bytes) -> None:
    content = path.read_bytes()
    path.write_bytes(content + line + content)
    assert read_journal(path) == (HEADER, RECORDS, len(content))


def test_reserved_space_is_not_read_and_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    begun = len(b'00000000 {"result_id":"r","engine":"0.1"}\n')
    with Journal.create(path, HEADER, reserve_bytes=10_000) as journal:
        assert path.stat().st_size == begun + 10_000
        assert read_journal(path)[:2] == (HEADER, [])
        journal.append(RECORDS)
        assert path.stat().st_size == begun + 10_000
        assert read_journal(path)[:2] == (HEADER, RECORDS)
        journal.append(RECORDS * 9)
    assert read_journal(path)[:2] == (HEADER, RECORDS * 10)


def test_a_new_journal_replaces_the_old_one_with_the_records_given(path: Path) -> None:
    with Journal.create(path, HEADER, RECORDS[:3]) as journal:
        journal.append(RECORDS[9:11])
    assert read_journal(path)[:2] == (HEADER, RECORDS[:3] + RECORDS[9:11])
    assert [entry.name for entry in path.parent.iterdir()] == ["journal"]


def test_an_append_that_failed_is_not_behind_the_next_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A torn line in the middle would hide every later record."""
    whole_write = os.pwrite

    def torn(fd: int, content: bytes, offset: int) -> int:
        whole_write(fd, bytes(content)[:11], offset)
        raise OSError(28, "No space left on device")

    with Journal.create(path, HEADER, RECORDS[:3]) as journal:
        monkeypatch.setattr(os, "pwrite", torn)
        with pytest.raises(OSError, match="No space"):
            journal.append(RECORDS[3:5])
        monkeypatch.undo()
        assert read_journal(path)[:2] == (HEADER, RECORDS[:3])
        journal.append(RECORDS[5:6])
    assert read_journal(path)[:2] == (HEADER, RECORDS[:3] + RECORDS[5:6])
