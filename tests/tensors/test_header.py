"""The safetensors header parser, row by row and by mutation, against the safetensors library's verdict."""

from __future__ import annotations

import json
import os
import re
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file  # pyright: ignore[reportUnknownVariableType]

from mergegraph.errors import InputError
from mergegraph.tensors.header import MOST_HEADER_BYTES, parse_header

F32 = '"dtype":"F32","shape":[1],"data_offsets":[0,4]'
WORD = b"\x01\x02\x03\x04"


def stored(path: Path, header: str | bytes, payload: bytes = b"") -> str:
    text = header.encode() if isinstance(header, str) else header
    path.write_bytes(struct.pack("<Q", len(text)) + text + payload)
    return str(path)


def tensor(dtype: str, shape: str, begin: str | int, end: str | int, name: str = "a") -> str:
    return f'{{"{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]}}}}'


def of_library(path: str) -> dict[str, tuple[str, tuple[int, ...]]] | None:
    """What safetensors reads: dtype and shape by name; None when it refuses the file."""
    try:
        opened: Any = safe_open(path, "np")
        with opened as file:
            slices: dict[str, Any] = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
    except SafetensorError:
        return None


def of_parser(path: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (held.dtype.code, held.shape) for name, held in parse_header(path).tensors.items()}


def verdict(path: str) -> tuple[dict[str, tuple[str, tuple[int, ...]]] | None, str]:
    """What the parser reads, or None and what it says."""
    try:
        return of_parser(path), ""
    except InputError as error:
        return None, str(error)


ACCEPTED = [
    # header, bytes of data, reason
    ("{}", 0, "no tensors at all"),
    (" \n\t\r{} \r\n", 0, "whitespace on both sides, as the library's padding"),
    ('{"__metadata__":null}', 0, "metadata may be null"),
    ('{"__metadata__":{"format":"pt","":"é"}}', 0, "metadata of texts"),
    (tensor("F32", "[]", 0, 4), 4, "a scalar has rank 0"),
    (tensor("F32", "[0,7]", 0, 0), 0, "no elements"),
    ('{"z":{"dtype":"F32","shape":[0],"data_offsets":[4,4]},"a":{' + F32 + "}}", 4, "an empty tensor at the end"),
    ('{"z":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{' + F32 + "}}", 4, "an empty tensor before another"),
    (
        '{"b":{"dtype":"F32","shape":[1],"data_offsets":[3,7]},"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}',
        7,
        "float32 at an odd offset, in another order than the data",
    ),
    ('{"\\u0000/../\\ud83d\\ude00":{' + F32 + "}}", 4, "any text is a name: NUL, slashes, a surrogate pair"),
    ('{"":{' + F32 + "}}", 4, "the empty name"),
    ('{"[[[{\\"{":{' + F32 + "}}", 4, "brackets and quotes inside a name are no nesting"),
    ('{"a":{"d\\u0074ype":"F32","shape":[1],"data_offsets":[0,4]}}', 4, "an escaped key is the key"),
    (tensor("F4", "[2]", 0, 1), 1, "two 4-bit elements fill a byte"),
    (tensor("F6_E2M3", "[4]", 0, 3), 3, "four 6-bit elements fill three bytes"),
    (tensor("BOOL", "[3]", 0, 3), 3, "bool takes a byte"),
    (tensor("F8_E4M3", "[5]", 0, 5), 5, "float8"),
    (tensor("C64", "[2]", 0, 16), 16, "complex"),
    (tensor("F32", str([1] * 64), 0, 4), 4, "64 dimensions are the most"),
    ('{"a":{' + F32 + ',"note":"x"}}', 4, "an unknown key beside the three"),
]


@pytest.mark.parametrize(("header", "data_bytes", "_reason"), ACCEPTED, ids=[row[2] for row in ACCEPTED])
def test_a_sound_header_is_read_as_the_library_reads_it(
    tmp_path: Path, header: str, data_bytes: int, _reason: str
) -> None:
    path = stored(tmp_path / "m.safetensors", header, bytes(data_bytes))
    assert of_parser(path) == of_library(path)


REFUSED: list[tuple[str, str | bytes, bytes, str]] = [
    # reason, header, data, what the message says
    ("no text", "", b"", "Expecting value"),
    ("a list", "[]", b"", "not a JSON object"),
    ("a number", "1", b"", "not a JSON object"),
    ("text after the object", "{}x", b"", "Extra data"),
    ("padded with NUL", "{}\0\0", b"", "Extra data"),
    ("cut short", '{"a":', b"", "do not match"),
    ("trailing comma", '{"a":{' + F32 + "},}", WORD, "line 1, column"),
    ("single quotes", "{'a':{}}", b"", "property name"),
    ("a comment", "{/* x */}", b"", "property name"),
    ("byte order mark", "\ufeff{}", b"", "BOM"),
    ("UTF-16", "{}".encode("utf-16-le"), b"", "property name"),
    ("not UTF-8", b'{"\xff":{' + F32.encode() + b"}}", WORD, "byte 2 is not UTF-8"),
    ("a surrogate in UTF-8", b'{"\xed\xa0\x80":{' + F32.encode() + b"}}", WORD, "not UTF-8"),
    ("half a surrogate pair, escaped", '{"\\ud800":{' + F32 + "}}", WORD, "half of a surrogate"),
    ("a raw control character", '{"a\n":{' + F32 + "}}", WORD, "control character"),
    ("metadata holds a number", '{"__metadata__":{"a":1}}', b"", "__metadata__"),
    ("metadata is a text", '{"__metadata__":"a"}', b"", "__metadata__"),
    ("metadata holds half a surrogate pair", '{"__metadata__":{"a":"\\ud800"}}', b"", "__metadata__"),
    ("metadata twice", '{"__metadata__":{"a":"1"},"__metadata__":{"b":"2"}}', b"", '"__metadata__" is there twice'),
    ("a tensor is null", '{"a":null}', b"", "no dtype, shape and data_offsets"),
    ("no dtype", '{"a":{"shape":[1],"data_offsets":[0,4]}}', WORD, "no dtype"),
    ("no shape", '{"a":{"dtype":"F32","data_offsets":[0,4]}}', WORD, "no dtype, shape"),
    ("no offsets", '{"a":{"dtype":"F32","shape":[1]}}', WORD, "data_offsets"),
    ("an unknown dtype", tensor("F33", "[1]", 0, 4), WORD, '"F33" is unknown'),
    ("a dtype in lower case", tensor("f32", "[1]", 0, 4), WORD, '"f32" is unknown'),
    ("a dtype that is a number", '{"a":{"dtype":7,"shape":[1],"data_offsets":[0,4]}}', WORD, '"7" is unknown'),
    ("the dtype twice", '{"a":{' + F32 + ',"dtype":"F32"}}', WORD, '"dtype" is there twice'),
    ("a shape of null", tensor("F32", "null", 0, 4), WORD, "shape is not a list"),
    ("a shape of true", tensor("F32", "[true]", 0, 4), WORD, "not a whole number"),
    ("a shape of text", tensor("F32", '["1"]', 0, 4), WORD, "not a whole number"),
    ("a shape of 1.0", tensor("F32", "[1.0]", 0, 4), WORD, "1.0 is not a whole number"),
    ("a shape of 1e0", tensor("F32", "[1e0]", 0, 4), WORD, "1e0 is not a whole number"),
    ("a shape of NaN", tensor("F32", "[NaN]", 0, 4), WORD, "NaN is not a whole number"),
    ("a negative dimension", tensor("F32", "[-1]", 0, 4), WORD, "negative number"),
    ("minus zero", tensor("F32", "[1]", "-0", 4), WORD, "negative number"),
    ("a leading zero", tensor("F32", "[01]", 0, 4), WORD, "line 1, column"),
    ("5,000 digits", tensor("F32", "[" + "9" * 5000 + "]", 0, 4), WORD, "digits"),
    ("a dimension of 2^64", tensor("F32", f"[{2**64}]", 0, 4), WORD, "below 2^63"),
    ("elements overflow before a zero", tensor("F32", f"[{2**63 - 1},4,0]", 0, 0), b"", "2^63 elements"),
    ("elements overflow", tensor("F32", f"[{2**40},{2**40}]", 0, 4), WORD, "2^63 elements"),
    ("three offsets", tensor("F32", "[1]", 0, "4,4"), WORD, "not a begin and an end"),
    ("one offset", '{"a":{"dtype":"F32","shape":[1],"data_offsets":[4]}}', WORD, "not a begin and an end"),
    ("offsets the wrong way round", tensor("F32", "[1]", 4, 0), WORD, "not a begin and an end"),
    ("more bytes than the shape", tensor("F32", "[1]", 0, 8), WORD * 2, "takes 4 bytes, its data_offsets give 8"),
    ("fewer bytes than the shape", tensor("F32", "[2]", 0, 4), WORD, "takes 8 bytes, its data_offsets give 4"),
    ("4-bit elements that end inside a byte", tensor("F4", "[3]", 0, 2), b"00", "whole byte"),
    ("a hole at the start", tensor("F32", "[1]", 4, 8), WORD * 2, "the data begins at"),
    (
        "a hole between two",
        '{"a":{' + F32 + '},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}',
        WORD * 3,
        "a ends at",
    ),
    ("two overlap", '{"a":{' + F32 + '},"b":{"dtype":"U8","shape":[3],"data_offsets":[2,5]}}', b"00000", "a ends at"),
    ("two are the same range", '{"a":{' + F32 + '},"b":{' + F32 + "}}", WORD, "ends at"),
    (
        "an empty tensor inside another",
        '{"z":{"dtype":"F32","shape":[0],"data_offsets":[2,2]},"a":{' + F32 + "}}",
        WORD,
        "it begins at byte",
    ),
    ("the data is short", tensor("F32", "[1]", 0, 4), b"000", "is truncated: its header asks for"),
    ("bytes after the data", tensor("F32", "[1]", 0, 4), WORD + b"0", "its header describes"),
    ("bytes without a tensor", "{}", b"0", "its header describes"),
    ("nested 200 deep", '{"a":' + "[" * 200 + "]" * 200 + "}", b"", "list of lists"),
    ("nested 100,000 deep", '{"a":' * 100_000 + "1" + "}" * 100_000, b"", "nested more than 3 deep"),
]

STRICTER: list[tuple[str, str | bytes, bytes, str]] = [
    # reason, header, data, what the message says; the library accepts each of these
    ("a name twice", '{"a":{' + F32 + '},"a":{' + F32 + "}}", WORD, '"a" is there twice'),
    ("a name twice, once escaped", '{"a":{' + F32 + '},"\\u0061":{' + F32 + "}}", WORD, '"a" is there twice'),
    (
        "a name twice with two dtypes",
        '{"a":{' + F32 + '},"a":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}}',
        WORD,
        "there twice",
    ),
    ("a key of metadata twice", '{"__metadata__":{"a":"1","a":"2"}}', b"", '"a" is there twice'),
    ("a tensor as a list", '{"a":["F32",[1],[0,4]]}', WORD, "list of lists"),
    ("65 dimensions", tensor("F32", str([1] * 65), 0, 4), WORD, "more than 64"),
    ("a name of 70 kB", '{"' + "n" * 70_000 + '":{' + F32 + "}}", WORD, "longer than 65536 bytes"),
    ("a dimension of 2^63", tensor("F32", f"[{2**63},0]", 0, 0), b"", "below 2^63"),
    ("elements of 2^63 before a zero", tensor("F32", f"[{2**62},2,0]", 0, 0), b"", "2^63 elements"),
    ("elements of 2^63 after a zero", tensor("F32", f"[0,{2**63}]", 0, 0), b"", "below 2^63"),
    ("a dtype as an object", '{"a":{"dtype":{"F32":null},"shape":[1],"data_offsets":[0,4]}}', WORD, "dtype"),
    ("an unknown key with a float", '{"a":{' + F32 + ',"x":1.5}}', WORD, "1.5 is not a whole number"),
    ("an unknown key with a negative number", '{"a":{' + F32 + ',"x":-1}}', WORD, "negative number"),
    ("an unknown key with lists in a list", '{"a":{' + F32 + ',"x":[[]]}}', WORD, "list of lists"),
    ("an unknown key nested deep", '{"a":{' + F32 + ',"x":{"y":{}}}}', WORD, "nested more than 3"),
    ("an unknown key twice", '{"a":{' + F32 + ',"x":1,"x":2}}', WORD, '"x" is there twice'),
]


@pytest.mark.parametrize(("reason", "header", "payload", "said"), REFUSED, ids=[row[0] for row in REFUSED])
def test_a_damaged_header_is_refused_as_the_library_refuses_it(
    tmp_path: Path, reason: str, header: str | bytes, payload: bytes, said: str
) -> None:
    path = stored(tmp_path / "m.safetensors", header, payload)
    with pytest.raises(InputError, match=re.escape(said)):
        parse_header(path)
    assert of_library(path) is None, reason


@pytest.mark.parametrize(("reason", "header", "payload", "said"), STRICTER, ids=[row[0] for row in STRICTER])
def test_what_two_readers_may_read_differently_is_refused(
    tmp_path: Path, reason: str, header: str | bytes, payload: bytes, said: str
) -> None:
    path = stored(tmp_path / "m.safetensors", header, payload)
    with pytest.raises(InputError, match=re.escape(said)):
        parse_header(path)
    assert of_library(path) is not None, f"the library refuses it too; move the row to REFUSED: {reason}"


# Why the parser may refuse what the library accepts; the rows of STRICTER are examples.
DOCUMENTED = re.compile(
    r"is there twice|list of lists|more than 64 numbers|longer than 65536 bytes|2\^63|dtype .* is unknown"
    r"|not a whole number|negative number|nested more than 3"
)

SOUND = (
    b'{"__metadata__":{"format":"pt","note":"x"},"a.weight":{"dtype":"F32","shape":[3,1],"data_offsets":[0,12]},'
    b'"b":{"dtype":"BF16","shape":[5],"data_offsets":[12,22]},"c":{"dtype":"U8","shape":[0],"data_offsets":[22,22]},'
    b'"d":{"dtype":"F4","shape":[2,7],"data_offsets":[22,29]}}'
)
PIECES = [
    *(bytes([byte]) for byte in b'{}[]",:0127 \\-.e\n\0\xff'),
    b"null", b"true", b"NaN", b'"a.weight"', b'"dtype"', b'"F32"', b'"F16"', b"\\u0061", b"\\ud800", b"[0,12]",
    b'"x":1,', b"22", b"12", b"1.0", b"18446744073709551616", b"9223372036854775808", b",0", b'"__metadata__":{},',
    b'{"dtype":"U8","shape":[0],"data_offsets":[22,22]}',
]  # fmt: skip

mutation = st.tuples(st.integers(0, len(SOUND)), st.integers(0, 12), st.sampled_from([b"", *PIECES]))


@given(mutations=st.lists(mutation, min_size=1, max_size=3), data_bytes=st.sampled_from([29, 29, 29, 28, 30, 12]))
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
def test_a_mutated_header_gets_the_librarys_verdict_or_a_documented_stricter_one(
    tmp_path_factory: pytest.TempPathFactory, mutations: list[tuple[int, int, bytes]], data_bytes: int
) -> None:
    header = SOUND
    for at, removed, inserted in mutations:
        header = header[:at] + inserted + header[at + removed :]
    path = stored(tmp_path_factory.getbasetemp() / "mutated.safetensors", header, bytes(data_bytes))
    wanted = of_library(path)
    read, message = verdict(path)
    if read is None:
        assert wanted is None or DOCUMENTED.search(message), message
    else:
        assert read == wanted


FOREIGN = [
    (b"PK\x03\x04\x14\x00\x08\x08" + bytes(64), "pickled file", "a zip, as torch.save writes it"),
    (b"PK\x03\x04\x00\x00\x00\x00" + bytes(64), "pickled file", "a zip whose length field passes the format's limit"),
    (b"\x80\x02}q\x00." + bytes(64), "pickled file", "pickle protocol 2, as old torch.save writes it"),
    (b"GGUF\x03\x00\x00\x00" + bytes(64), "GGUF file", "a llama.cpp model"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs pointer", "a clone without lfs"),
    (b"\n<!DOCTYPE html><html></html>", "web page", "a login page saved under the model's name"),
    (b"", "it has 0 bytes", "an empty file"),
    (b"\x02\0\0", "it has 3 bytes", "shorter than the length field"),
    (struct.pack("<Q", 99_999_999) + b"  ", "ends at byte 100,000,007, the file has 10", "the header does not fit"),
    (struct.pack("<Q", 2**63) + b"{}", "the format allows", "a length no machine has"),
    (struct.pack("<Q", 30) + b'{"a":', "is truncated: its header asks for 38 bytes", "a header that stops"),
]


@pytest.mark.parametrize(("content", "said", "_reason"), FOREIGN, ids=[row[2] for row in FOREIGN])
def test_a_file_of_another_kind_is_named_for_what_it_is(
    tmp_path: Path, content: bytes, said: str, _reason: str
) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        parse_header(str(path))
    fix = caught.value.problems[0].fix
    assert fix
    assert (fix == f"mergegraph convert {path} -o {tmp_path}/m-safetensors") == (said == "pickled file")
    assert of_library(str(path)) is None


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
