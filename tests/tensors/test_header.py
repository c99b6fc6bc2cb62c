"""What a header says, the caps on it, and what is said of a file that cannot be read."""

from __future__ import annotations

import json
import os
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file  # pyright: ignore[reportUnknownVariableType]

from mergegraph.errors import InputError
from mergegraph.tensors.header import MOST_HEADER_BYTES, parse_header
from tests.tensors.header_corpus import F32, WORD, framed


def stored(path: Path, header: str, payload: bytes = b"") -> str:
    path.write_bytes(framed(header, payload))
    return str(path)


def test_tensors_come_in_the_order_of_their_offsets_which_are_absolute(tmp_path: Path) -> None:
    arrays = {"z": np.arange(7, dtype=np.float16), "b": np.arange(15, dtype=np.float32).reshape(3, 5)}
    path = tmp_path / "m.safetensors"
    save_file(arrays, path, {"format": "pt"})
    header = parse_header(str(path))
    content = path.read_bytes()
    assert header.file_bytes == len(content)
    assert dict(header.metadata) == {"format": "pt"}
    offsets = [held.offset for held in header.tensors.values()]
    assert offsets == sorted(offsets)
    assert offsets[0] == header.data_offset
    for name, array in arrays.items():
        held = header.tensors[name]
        assert content[held.offset : held.offset + held.nbytes] == array.tobytes()
        assert (held.path, held.shape, held.element_count) == (str(path), array.shape, array.size)


def test_identity_is_that_of_the_file_and_changes_with_it(tmp_path: Path) -> None:
    path = stored(tmp_path / "m.safetensors", "{}")
    status = Path(path).stat()
    before = parse_header(path).identity
    assert before == f"file:{status.st_dev},{status.st_ino},{status.st_size},{status.st_mtime_ns}"
    os.utime(path, ns=(0, status.st_mtime_ns + 1))
    assert parse_header(path).identity != before


def test_every_wrong_tensor_is_reported_and_a_flood_of_them_counted(tmp_path: Path) -> None:
    entries = {f"t{number}": {"dtype": "X", "shape": [], "data_offsets": [0, 0]} for number in range(11)}
    with pytest.raises(InputError) as caught:
        parse_header(stored(tmp_path / "m.safetensors", json.dumps(entries)))
    assert [problem.tensor for problem in caught.value.problems[:8]] == [f"t{number}" for number in range(8)]
    assert "3 more tensors" in str(caught.value.problems[8])


def test_unknown_keys_are_a_warning_that_names_them(tmp_path: Path) -> None:
    path = stored(tmp_path / "m.safetensors", '{"a":{' + F32 + ',"scale":2}}', WORD)
    (warning,) = parse_header(path).warnings
    assert (warning.severity, warning.tensor) == ("warning", "a")
    assert "scale" in warning.why


def test_a_header_over_the_cap_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    path = stored(tmp_path / "m.safetensors", "{}" + " " * 998)
    with pytest.raises(InputError, match="a header of 1,000 bytes; at most 999 are read"):
        parse_header(path, max_header_bytes=999)
    assert parse_header(path, max_header_bytes=1000).data_offset == 1008


def test_no_cap_goes_over_the_formats_own(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", MOST_HEADER_BYTES + 1))
    os.truncate(path, MOST_HEADER_BYTES + 9)
    with pytest.raises(InputError, match="the format allows 100,000,000"):
        parse_header(str(path), max_header_bytes=10**12)


@pytest.mark.parametrize("kind", ["pipe", "folder", "missing"])
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "m.safetensors"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    started = time.monotonic()
    with pytest.raises(InputError, match=r"cannot be read: (not a regular file|No such file)"):
        parse_header(str(path))
    assert time.monotonic() - started < 5


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.safetensors"
    os.mkfifo(pipe)
    good = stored(tmp_path / "m.safetensors", "{}")
    before = len(list(Path("/dev/fd").iterdir()))
    parse_header(good)
    with pytest.raises(InputError):
        parse_header(str(pipe))
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_escapes_in_a_name_do_not_reach_the_terminal(tmp_path: Path) -> None:
    path = stored(tmp_path / "m.safetensors", '{"\\u001b[2Jx":{"dtype":"X","shape":[],"data_offsets":[0,0]}}')
    with pytest.raises(InputError) as caught:
        parse_header(path)
    assert "\x1b" not in str(caught.value)
    assert "\\x1b[2Jx" in str(caught.value)
