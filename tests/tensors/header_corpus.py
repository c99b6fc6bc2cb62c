"""Files that a header parser has to judge, each built here: sound ones, damaged ones, and those that we alone refuse.

What the safetensors library says of each is asked of it, not written down; `expected` is checked against it.

Sources of cases that are not ours: the tests and the `attacks` folder of safetensors (Apache License 2.0,
https://github.com/huggingface/safetensors), whose names stand in the reasons, and the texts `n_*` of Nicolas Seriot's
JSONTestSuite (MIT License, https://github.com/nst/JSONTestSuite), here as the value of a key beside dtype and shape.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

Expected = Literal["accepted", "refused", "stricter"]

F32 = '"dtype":"F32","shape":[1],"data_offsets":[0,4]'
WORD = b"\x01\x02\x03\x04"


@dataclass(frozen=True)
class Row:
    """A file and why it is here. `says` is in our message where `expected` is a refusal."""

    reason: str
    content: bytes
    expected: Expected
    says: str = ""


def framed(header: str | bytes, payload: bytes = b"") -> bytes:
    """A file: the header's length, the header, the data."""
    text = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(text)) + text + payload


def tensor(dtype: str, shape: str, begin: str | int, end: str | int, name: str = "a") -> str:
    return f'{{"{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]}}}}'


def beside(text: str | bytes) -> bytes:
    """A sound tensor with `text` as the value of a further key."""
    value = text.encode() if isinstance(text, str) else text
    return framed(b'{"a":{' + F32.encode() + b',"x":' + value + b"}}", WORD)


_ACCEPTED: list[tuple[str, str, int]] = [
    # reason, header, bytes of data
    ("no tensors at all", "{}", 0),
    ("test_whitespace_padded_header: whitespace on both sides", " \n\t\r{} \r\n", 0),
    ("whitespace between all parts",
     ' { "a" : { "dtype" : "F32" , "shape" : [ 1 ] ,\n"data_offsets" : [ 0 , 4 ] } } ', 4),
    ("padded with spaces to a multiple of 8", tensor("F32", "[1]", 0, 4) + " " * 7, 4),
    ("metadata may be null", '{"__metadata__":null}', 0),
    ("metadata may be empty", '{"__metadata__":{}}', 0),
    ("metadata of texts", '{"__metadata__":{"format":"pt","":"é"}}', 0),
    ("metadata after the tensors", '{"a":{' + F32 + '},"__metadata__":{"format":"pt"}}', 4),
    ("JSON inside a text of metadata", '{"__metadata__":{"x":"{\\"a\\":[[1.5,-2]]}"}}', 0),
    ("a scalar has rank 0", tensor("F32", "[]", 0, 4), 4),
    ("no elements", tensor("F32", "[0,7]", 0, 0), 0),
    ("test_zero_sized_tensor", '{"test":{"dtype":"I32","shape":[2,0],"data_offsets":[0, 0]}}', 0),
    ("two tensors without elements", '{"b":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},'
     '"a":{"dtype":"I8","shape":[3,0],"data_offsets":[0,0]}}', 0),
    ("an empty tensor at the end", '{"z":{"dtype":"F32","shape":[0],"data_offsets":[4,4]},"a":{' + F32 + "}}", 4),
    ("an empty tensor before another", '{"z":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{' + F32 + "}}", 4),
    ("float32 at an odd offset, in another order than the data",
     '{"b":{"dtype":"F32","shape":[1],"data_offsets":[3,7]},"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}', 7),
    ("three tensors in the reverse order", '{"c":{"dtype":"U8","shape":[1],"data_offsets":[6,7]},'
     '"b":{"dtype":"I16","shape":[1],"data_offsets":[4,6]},"a":{' + F32 + "}}", 7),
    ("any text is a name: NUL, slashes, a surrogate pair", '{"\\u0000/../\\ud83d\\ude00":{' + F32 + "}}", 4),
    ("the empty name", '{"":{' + F32 + "}}", 4),
    ("a name outside ASCII", '{"層.重み😀":{' + F32 + "}}", 4),
    ("a name of escapes", '{"\\"\\\\\\/\\b\\f\\n\\r\\t":{' + F32 + "}}", 4),
    ("a name like a number", '{"0":{' + F32 + "}}", 4),
    ("names that differ in composition only", '{"\u00e9":{' + F32 + '},"e\u0301":{"dtype":"U8","shape":[0],'
     '"data_offsets":[4,4]}}', 4),
    ("names that differ in case only", '{"a":{' + F32 + '},"A":{"dtype":"U8","shape":[0],"data_offsets":[4,4]}}', 4),
    ("a name of 64 KiB", '{"' + "n" * 65_536 + '":{' + F32 + "}}", 4),
    ("brackets and quotes inside a name are no nesting", '{"[[[{\\"{":{' + F32 + "}}", 4),
    ("a name that ends in a backslash",
     '{"a\\\\":{' + F32 + '},"[[":{"dtype":"U8","shape":[0],"data_offsets":[4,4]}}', 4),
    ("a minus inside a name", '{"a-1":{' + F32 + "}}", 4),
    ("an escaped key is the key", '{"a":{"d\\u0074ype":"F32","shape":[1],"data_offsets":[0,4]}}', 4),
    ("an escaped dtype is the dtype", '{"a":{"dtype":"F\\u00332","shape":[1],"data_offsets":[0,4]}}', 4),
    ("the keys in another order", '{"a":{"data_offsets":[0,4],"shape":[1],"dtype":"F32"}}', 4),
    ("a name that is a key", '{"dtype":{' + F32 + "}}", 4),
    ("64 dimensions are the most", tensor("F32", str([1] * 64), 0, 4), 4),
    ("an unknown key beside the three", '{"a":{' + F32 + ',"note":"x"}}', 4),
    ("an unknown key with a large number", '{"a":{' + F32 + ',"note":[18446744073709551616,0]}}', 4),
    ("an unknown key with true and null", '{"a":{' + F32 + ',"x":true,"y":null}}', 4),
    ("an unknown key with a surrogate pair", '{"a":{' + F32 + ',"x":"\\ud83d\\ude00"}}', 4),
]  # fmt: skip

_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64,
    "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip

_REFUSED: list[tuple[str, str | bytes, bytes, str]] = [
    # reason, header, data, what the message says
    ("no text", "", b"", "Expecting value"),
    ("test_invalid_header_not_json", "{", b"", "do not match"),
    ("test_invalid_header_non_utf8", b"\xff", b"", "not UTF-8"),
    ("spaces alone", "        ", b"", "Expecting value"),
    ("a list", "[]", b"", "not a JSON object"),
    ("a number", "1", b"", "not a JSON object"),
    ("null", "null", b"", "not a JSON object"),
    ("a text", '"{}"', b"", "not a JSON object"),
    ("text after the object", "{}x", b"", "Extra data"),
    ("two objects", "{}{}", b"", "Extra data"),
    ("padded with NUL", "{}\0\0", b"", "Extra data"),
    ("preceded by NUL", "\0{}", b"", "Expecting value"),
    ("a space that JSON does not know", "\u00a0{}", b"", "Expecting value"),
    ("a form feed", "{}\f", b"", "Extra data"),
    ("cut short", '{"a":', b"", "do not match"),
    ("trailing comma", '{"a":{' + F32 + "},}", WORD, "line 1, column"),
    ("single quotes", "{'a':{}}", b"", "property name"),
    ("a comment", "{/* x */}", b"", "property name"),
    ("byte order mark", "\ufeff{}", b"", "BOM"),
    ("UTF-16", "{}".encode("utf-16-le"), b"", "property name"),
    ("UTF-32", "{}".encode("utf-32-le"), b"", "property name"),
    ("not UTF-8", b'{"\xff":{' + F32.encode() + b"}}", WORD, "byte 2 is not UTF-8"),
    ("an overlong encoding", b'{"\xc0\xaf":{' + F32.encode() + b"}}", WORD, "byte 2 is not UTF-8"),
    ("a surrogate in UTF-8", b'{"\xed\xa0\x80":{' + F32.encode() + b"}}", WORD, "not UTF-8"),
    ("beyond the last code point", b'{"\xf4\x90\x80\x80":{' + F32.encode() + b"}}", WORD, "not UTF-8"),
    ("half a surrogate pair, escaped", '{"\\ud800":{' + F32 + "}}", WORD, "half of a surrogate"),
    ("the other half of a pair", '{"\\udc00":{' + F32 + "}}", WORD, "half of a surrogate"),
    ("the halves of a pair the wrong way round", '{"\\udc00\\ud800":{' + F32 + "}}", WORD, "half of a surrogate"),
    ("half a surrogate pair in an unknown key", '{"a":{' + F32 + ',"\\ud800":1}}', WORD, "half of a surrogate"),
    ("half a surrogate pair in a text that is not used", '{"a":{' + F32 + ',"x":["\\uDfff"]}}', WORD, "half of a surr"),
    ("a raw control character", '{"a\n":{' + F32 + "}}", WORD, "control character"),
    ("a raw NUL in a name", '{"a\0":{' + F32 + "}}", WORD, "control character"),
    ("metadata holds a number", '{"__metadata__":{"a":1}}', b"", "__metadata__"),
    ("metadata holds null", '{"__metadata__":{"a":null}}', b"", "__metadata__"),
    ("metadata holds an object", '{"__metadata__":{"a":{}}}', b"", "__metadata__"),
    ("metadata is a text", '{"__metadata__":"a"}', b"", "__metadata__"),
    ("metadata is a list", '{"__metadata__":[]}', b"", "__metadata__"),
    ("metadata is a tensor", '{"__metadata__":{' + F32 + "}}", WORD, "__metadata__"),
    ("metadata holds half a surrogate pair", '{"__metadata__":{"a":"\\ud800"}}', b"", "half of a surrogate"),
    ("metadata twice", '{"__metadata__":{"a":"1"},"__metadata__":{"b":"2"}}', b"", '"__metadata__" is there twice'),
    ("a tensor is null", '{"a":null}', b"", "no dtype, shape and data_offsets"),
    ("a tensor is a text", '{"a":"F32"}', b"", "no dtype, shape and data_offsets"),
    ("a tensor is an empty object", '{"a":{}}', b"", "no dtype, shape and data_offsets"),
    ("no dtype", '{"a":{"shape":[1],"data_offsets":[0,4]}}', WORD, "no dtype"),
    ("no shape", '{"a":{"dtype":"F32","data_offsets":[0,4]}}', WORD, "no dtype, shape"),
    ("no offsets", '{"a":{"dtype":"F32","shape":[1]}}', WORD, "data_offsets"),
    ("a key in upper case", '{"a":{"DTYPE":"F32","shape":[1],"data_offsets":[0,4]}}', WORD, "no dtype"),
    ("an unknown dtype", tensor("F33", "[1]", 0, 4), WORD, '"F33" is unknown'),
    ("a dtype in lower case", tensor("f32", "[1]", 0, 4), WORD, '"f32" is unknown'),
    ("a dtype with a space", tensor("F32 ", "[1]", 0, 4), WORD, '"F32 " is unknown'),
    ("an empty dtype", tensor("", "[1]", 0, 4), WORD, '"" is unknown'),
    ("torch's name of a dtype", tensor("float32", "[1]", 0, 4), WORD, '"float32" is unknown'),
    ("a dtype that is a number", '{"a":{"dtype":7,"shape":[1],"data_offsets":[0,4]}}', WORD, "dtype is not a text"),
    ("a dtype of null", '{"a":{"dtype":null,"shape":[1],"data_offsets":[0,4]}}', WORD, "dtype is not a text"),
    ("the dtype twice", '{"a":{' + F32 + ',"dtype":"F32"}}', WORD, '"dtype" is there twice'),
    ("the shape twice", '{"a":{' + F32 + ',"shape":[1]}}', WORD, '"shape" is there twice'),
    ("the offsets twice", '{"a":{' + F32 + ',"data_offsets":[0,4]}}', WORD, '"data_offsets" is there twice'),
    ("a shape of null", tensor("F32", "null", 0, 4), WORD, "shape is not a list"),
    ("a shape of one number", tensor("F32", "1", 0, 4), WORD, "shape is not a list"),
    ("a shape of an object", tensor("F32", "{}", 0, 4), WORD, "shape is not a list"),
    ("a shape of true", tensor("F32", "[true]", 0, 4), WORD, "not a whole number"),
    ("a shape of [null]", tensor("F32", "[null]", 0, 4), WORD, "not a whole number"),
    ("a shape of text", tensor("F32", '["1"]', 0, 4), WORD, "not a whole number"),
    ("a shape of 1.0", tensor("F32", "[1.0]", 0, 4), WORD, "1.0 is not a whole number"),
    ("a shape of 1e0", tensor("F32", "[1e0]", 0, 4), WORD, "1e0 is not a whole number"),
    ("a shape of NaN", tensor("F32", "[NaN]", 0, 4), WORD, "NaN is not a whole number"),
    ("a negative dimension", tensor("F32", "[-1]", 0, 4), WORD, "negative number"),
    ("two negative dimensions", tensor("F32", "[-1,-1]", 0, 4), WORD, "negative number"),
    ("minus zero", tensor("F32", "[1]", "-0", 4), WORD, "negative number"),
    ("a leading zero", tensor("F32", "[01]", 0, 4), WORD, "line 1, column"),
    ("a shape within a shape", tensor("F32", "[[1]]", 0, 4), WORD, "list of lists"),
    ("5,000 digits", tensor("F32", "[" + "9" * 5000 + "]", 0, 4), WORD, "digits"),
    ("an unknown key with 5,000 digits", '{"a":{' + F32 + ',"x":' + "9" * 5000 + "}}", WORD, "digits"),
    ("a dimension of 2^64", tensor("F32", f"[{2**64}]", 0, 4), WORD, "below 2^63"),
    ("test_validation_overflow: elements", tensor("I32", "[2,18446744073709551614]", 0, 16), bytes(16), "below 2^63"),
    ("test_validation_overflow: bytes", tensor("I32", "[2,9223372036854775807]", 0, 16), bytes(16), "2^63 elements"),
    ("elements overflow before a zero", tensor("F32", f"[{2**63 - 1},4,0]", 0, 0), b"", "2^63 elements"),
    ("elements overflow", tensor("F32", f"[{2**40},{2**40}]", 0, 4), WORD, "2^63 elements"),
    ("bits overflow", tensor("F32", f"[{2**60}]", 0, 4), WORD, "takes"),
    ("offsets that overflow", tensor("F32", "[1]", 2**64 - 4, 2**64), WORD, "below 2^63"),
    ("offsets far beyond the file", tensor("F32", "[1]", 2**62, 2**62 + 4), WORD, "the data begins at"),
    ("no offsets in the list", '{"a":{"dtype":"F32","shape":[1],"data_offsets":[]}}', WORD, "not a begin and an end"),
    ("three offsets", tensor("F32", "[1]", 0, "4,4"), WORD, "not a begin and an end"),
    ("one offset", '{"a":{"dtype":"F32","shape":[1],"data_offsets":[4]}}', WORD, "not a begin and an end"),
    ("offsets as an object", '{"a":{"dtype":"F32","shape":[1],"data_offsets":{}}}', WORD, "is not a list"),
    ("offsets as texts", tensor("F32", "[1]", '"0"', '"4"'), WORD, "not a whole number"),
    ("a fraction in the offsets", tensor("F32", "[1]", 0, "4.0"), WORD, "not a whole number"),
    ("offsets the wrong way round", tensor("F32", "[1]", 4, 0), WORD, "not a begin and an end"),
    ("more bytes than the shape", tensor("F32", "[1]", 0, 8), WORD * 2, "takes 4 bytes, its data_offsets give 8"),
    ("fewer bytes than the shape", tensor("F32", "[2]", 0, 4), WORD, "takes 8 bytes, its data_offsets give 4"),
    ("test_invalid_info", '{"test":{"dtype":"I32","shape":[2,2],"data_offsets":[0, 4]}}', WORD, "takes 16 bytes"),
    ("bytes for no elements", tensor("F32", "[0]", 0, 4), WORD, "takes 0 bytes"),
    ("no bytes for a scalar", tensor("F32", "[]", 0, 0), b"", "takes 4 bytes"),
    ("4-bit elements that end inside a byte", tensor("F4", "[3]", 0, 2), b"00", "whole byte"),
    ("6-bit elements that end inside a byte", tensor("F6_E3M2", "[2]", 0, 2), b"00", "whole byte"),
    ("a hole at the start", tensor("F32", "[1]", 4, 8), WORD * 2, "the data begins at"),
    ("a hole at the start before no elements", tensor("F32", "[0]", 4, 4), WORD, "the data begins at"),
    ("a hole between two", '{"a":{' + F32 + '},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}', WORD * 3,
     "a ends at"),
    ("two overlap", '{"a":{' + F32 + '},"b":{"dtype":"U8","shape":[3],"data_offsets":[2,5]}}', b"00000", "a ends at"),
    ("one inside another", '{"a":{' + F32 + '},"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}', WORD, "ends at"),
    ("two are the same range", '{"a":{' + F32 + '},"b":{' + F32 + "}}", WORD, "ends at"),
    ("test_json_attack: ten tensors of one range",
     "{" + ",".join(f'"weight_{n}":{{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}' for n in range(10)) + "}",
     bytes(16), "ends at"),
    ("an empty tensor inside another", '{"z":{"dtype":"F32","shape":[0],"data_offsets":[2,2]},"a":{' + F32 + "}}", WORD,
     "it begins at byte"),
    ("an empty tensor after the end", '{"z":{"dtype":"F32","shape":[0],"data_offsets":[8,8]},"a":{' + F32 + "}}",
     WORD * 2, "a ends at"),
    ("test_metadata_incomplete_buffer: a second file behind the first",
     '{"test":{"dtype":"I32","shape":[2,2],"data_offsets":[0,16]}}', bytes(16) + b"extra_bogus_data_for_polyglot_file",
     "its header describes"),
    ("test_metadata_incomplete_buffer: data that stops",
     '{"test":{"dtype":"I32","shape":[2,2],"data_offsets":[0,16]}}', bytes(15), "is truncated"),
    ("the data is short", tensor("F32", "[1]", 0, 4), b"000", "is truncated: its header asks for"),
    ("no data", tensor("F32", "[1]", 0, 4), b"", "is truncated: its header asks for"),
    ("bytes after the data", tensor("F32", "[1]", 0, 4), WORD + b"0", "its header describes"),
    ("bytes without a tensor", "{}", b"0", "its header describes"),
    ("bytes after a tensor without elements", tensor("F32", "[0]", 0, 0), b"0", "its header describes"),
    ("nested 200 deep", '{"a":' + "[" * 200 + "]" * 200 + "}", b"", "list of lists"),
    ("nested 100,000 deep", '{"a":' * 100_000 + "1" + "}" * 100_000, b"", "nested more than 3"),
    ("a header of 60 bytes that is no web page", '{"a":{' + F32[:-2] + ']}' + " " * 3, b"", "damaged header"),
]  # fmt: skip

_FRAMES: list[tuple[str, bytes, str]] = [
    # reason, content, what the message says
    ("test_header_too_small: an empty file", b"", "it has 0 bytes"),
    ("shorter than the length field", b"\x02\0\0", "it has 3 bytes"),
    ("one byte short of the length field", bytes(7), "it has 7 bytes"),
    ("test_invalid_header_length", b"<\0\0\0\0\0\0\0", "web page"),
    ("test_header_too_large", b"<\xff\xff\xff\xff\xff\xff\xff" + tensor("F32", "[1]", 0, 4).encode(), "web page"),
    ("the header does not fit", struct.pack("<Q", 99_999_999) + b"  ", "ends at byte 100,000,007, the file has 10"),
    ("a length no machine has", struct.pack("<Q", 2**63) + b"{}", "the format allows"),
    ("the largest length", struct.pack("<Q", 2**64 - 1) + b"{}", "the format allows"),
    ("a length that overflows with the field", struct.pack("<Q", 2**64 - 8) + b"{}", "the format allows"),
    ("a header that stops", struct.pack("<Q", 30) + b'{"a":', "is truncated: its header asks for 38 bytes"),
    ("a length in the other byte order", struct.pack(">Q", 2) + b"{}", "the format allows"),
    ("a length of 4 bytes", struct.pack("<I", 2) + b"{}", "it has 6 bytes"),
    ("a length one short", struct.pack("<Q", 1) + b"{}", "do not match"),
    ("a header alone", b"{}", "it has 2 bytes"),
    ("a zip, as torch.save writes it", b"PK\x03\x04\x14\x00\x08\x08" + bytes(64), "pickled file"),
    ("a zip whose length field passes the format's limit", b"PK\x03\x04\x00\x00\x00\x00" + bytes(64), "pickled file"),
    ("pickle protocol 2, as old torch.save writes it", b"\x80\x02}q\x00." + bytes(64), "pickled file"),
    ("pickle protocol 4", b"\x80\x04\x95\x0a\0\0\0\0\0\0\0}." + bytes(64), "pickled file"),
    ("a llama.cpp model", b"GGUF\x03\x00\x00\x00" + bytes(64), "GGUF file"),
    ("a clone without lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs pointer"),
    ("a login page saved under the model's name", b"\n<!DOCTYPE html><html></html>", "web page"),
]

_STRICTER: list[tuple[str, str | bytes, bytes, str]] = [
    # reason, header, data, what the message says; the library accepts each of these
    ("a name twice", '{"a":{' + F32 + '},"a":{' + F32 + "}}", WORD, '"a" is there twice'),
    ("a name twice, once escaped", '{"a":{' + F32 + '},"\\u0061":{' + F32 + "}}", WORD, '"a" is there twice'),
    ("a name twice with two dtypes", '{"a":{' + F32 + '},"a":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}}', WORD,
     "there twice"),
    ("a name twice in a header of 640 bytes, which begins as a pickle",
     ('{"a":{' + F32 + '},"a":{' + F32 + "}}").ljust(640), WORD, '"a" is there twice'),
    ("a key of metadata twice", '{"__metadata__":{"a":"1","a":"2"}}', b"", '"a" is there twice'),
    ("a tensor as a list", '{"a":["F32",[1],[0,4]]}', WORD, "list of lists"),
    ("65 dimensions", tensor("F32", str([1] * 65), 0, 4), WORD, "more than 64"),
    ("10,000 dimensions", tensor("F32", str([1] * 10_000), 0, 4), WORD, "more than 64"),
    ("a name of 70 kB", '{"' + "n" * 70_000 + '":{' + F32 + "}}", WORD, "longer than 65536 bytes"),
    ("a name of 64 KiB in two-byte letters and one",
     '{"' + "é" * 32_768 + 'n":{' + F32 + "}}", WORD, "longer than 65536"),
    ("a dimension of 2^63", tensor("F32", f"[{2**63},0]", 0, 0), b"", "below 2^63"),
    ("elements of 2^63 before a zero", tensor("F32", f"[{2**62},2,0]", 0, 0), b"", "2^63 elements"),
    ("elements of 2^63 after a zero", tensor("F32", f"[0,{2**63}]", 0, 0), b"", "below 2^63"),
    ("a dtype as an object", '{"a":{"dtype":{"F32":null},"shape":[1],"data_offsets":[0,4]}}', WORD, "dtype"),
    ("an unknown key with a float", '{"a":{' + F32 + ',"x":1.5}}', WORD, "1.5 is not a whole number"),
    ("an unknown key with an exponent", '{"a":{' + F32 + ',"x":1E2}}', WORD, "1E2 is not a whole number"),
    ("an unknown key with a negative number", '{"a":{' + F32 + ',"x":-1}}', WORD, "negative number"),
    ("an unknown key with lists in a list", '{"a":{' + F32 + ',"x":[[]]}}', WORD, "list of lists"),
    ("an unknown key with objects in a list", '{"a":{' + F32 + ',"x":[{}]}}', WORD, "list of lists"),
    ("an unknown key nested deep", '{"a":{' + F32 + ',"x":{"y":{}}}}', WORD, "nested more than 3"),
    ("an unknown key twice", '{"a":{' + F32 + ',"x":1,"x":2}}', WORD, '"x" is there twice'),
    ("metadata of 20,000 short texts", '{"__metadata__":{' + ",".join(f'"{n:x}":""' for n in range(20_000)) + "}}", b"",
     "it packs"),
    ("20,000 empty objects", '{"a":{' + F32 + "," + ",".join(f'"{n:x}":{{}}' for n in range(20_000)) + "}}", WORD,
     "it packs"),
]  # fmt: skip

_NOT_JSON: list[str | bytes] = [
    # lists
    "[1 true]", b"[a\xe5]", '["": 1]', '[""],', "[,1]", "[1,,2]", '["x",,]', '["x"]]', '["",]', '["x"', "[x", "[3[4]]",
    b"[\xff]", "[1:2]", "[,]", "[-]", '[   , ""]', '["a",\n4\n,1,', "[1,]", "[*]", '[""', "[1,\n1\n,1", "[{}", "[fals]",
    "[nul]", "[tru]", "[1}",
    # numbers
    "[++1234]", "[+1]", "[+Inf]", "[-01]", "[-1.0.]", "[-2.]", "[.-1]", "[.2e-3]", "[0.1.2]", "[0.3e+]", "[0.3e]",
    "[0.e1]", "[0E+]", "[0e]", "[1.0e+]", "[1 000.0]", "[1eE2]", "[2.e+3]", "[Inf]", "[NaN]", "[\uff11]", "[1+2]",
    "[0x1]", "[0x42]", "[Infinity]", "[0e+-1]", "[012]", "[.123]", "[1.2a-3]", "[1.8011670033376514H-308]", "[1ea]",
    # objects
    '["x", truth]', '{"x"::"b"}', '{"x":"a" 123}', "{key: 'value'}", '{"a" b}', '{:"b"}', '{"a" "b"}', '{"a":', '{"a"',
    "{1:1}", "{null:null,null:null}", '{"id":0,,,,,}', "{'a':0}", '{"id":0,}', '{"a":"b"}/**/', '{"a":"b"}#',
    '{"a":"b",,"c":"d"}', '{a: "b"}', '{"a":"a', '{"foo":"bar","a"}',
    # strings
    '["\\u00A"]', '["\\uD83', '["\\x00"]', '["\\\\\\"]', '["\\\t"]', '["\\\U0001F300"]', '["\\"]', '["\\a"]',
    '["\\uqqqq"]', b'["\\\xe5"]', '[\\u0020"asd"]', "[\\n]", '"', "['single quote']", "abc", '["\\', '["a\0a"]',
    '["new\nline"]', '["\t"]', '"\\UA66D"',
    # structure
    "<.>", "[<null>]", "[1]x", '["asdf"', "a\u00e5", "[True]", "1]", '{"x": true,', "]", b"\xef\xbb{}", "", "*",
    '{"a":/*comment*/"b"}', "[\f]", "[\u2060]", "2@", "{}}", "\u00a0",
]  # fmt: skip

CORPUS: tuple[Row, ...] = (
    *(Row(reason, framed(header, bytes(data_bytes)), "accepted") for reason, header, data_bytes in _ACCEPTED),
    *(Row(f"24 elements of {code}", framed(tensor(code, "[4,1,6]", 0, 3 * bits), bytes(3 * bits)), "accepted")
      for code, bits in _BITS.items()),
    *(Row(f"a byte too few for 8 elements of {code}", framed(tensor(code, "[8]", 0, bits - 1), bytes(bits - 1)),
          "refused", f"takes {bits} bytes") for code, bits in _BITS.items()),
    *(Row(reason, framed(header, data), "refused", says) for reason, header, data, says in _REFUSED),
    *(Row(reason, content, "refused", says) for reason, content, says in _FRAMES),
    *(Row(f"JSONTestSuite n_: {text!r}", beside(text), "refused") for text in _NOT_JSON),
    *(Row(reason, framed(header, data), "stricter", says) for reason, header, data, says in _STRICTER),
)  # fmt: skip
