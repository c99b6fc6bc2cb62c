"""The header parser's verdict beside the safetensors library's, on a corpus of files and on mutated headers.

They are equal, or the parser refuses by one of the rules that `docs/files.md` lists.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import reduce
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mergegraph.tensors import header as header_module
from tests.tensors.header_corpus import CORPUS, Expected, Row, framed
from tests.tensors.stricter import RULES, documented_rule
from tests.tensors.verdicts import of_library, of_parser

PAGE = Path(__file__).parents[2] / "docs" / "files.md"


@pytest.mark.parametrize("row", CORPUS, ids=lambda row: row.reason)
def test_the_verdict_is_the_librarys_or_goes_by_a_documented_rule(tmp_path: Path, row: Row) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(row.content)
    assert verdict(str(path)) == row.expected
    _, problems = of_parser(str(path))
    assert row.says in "\n".join(map(str, problems))
    assert all(problem.fix for problem in problems)


def test_the_corpus_has_at_least_120_different_files_of_every_kind() -> None:
    assert len({row.content for row in CORPUS}) == len({row.reason for row in CORPUS}) == len(CORPUS)
    assert len(CORPUS) >= 350
    counts = Counter(row.expected for row in CORPUS)
    assert min(counts[kind] for kind in ("accepted", "refused", "stricter")) >= 20


def test_each_rule_is_in_the_docs_and_has_a_file_in_the_corpus(tmp_path: Path) -> None:
    listed = re.findall(r"^\| \*\*(.+?)\*\* \|", PAGE.read_text(), re.MULTILINE)
    assert listed == list(RULES)
    assert header_module.__doc__
    assert "docs/files.md" in header_module.__doc__
    used: set[str | None] = {"a header above the cap"}
    for number, row in enumerate(row for row in CORPUS if row.expected == "stricter"):
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(row.content)
        used.add(documented_rule(of_parser(str(path))[1]))
    assert used == set(RULES)


def verdict(path: str) -> Expected | str:
    """Which of the corpus's classes the file is in; else what is wrong."""
    wanted = of_library(path)
    read, problems = of_parser(path)
    if read is not None:
        return "accepted" if read == wanted else f"read as {read}, by the library as {wanted}"
    if wanted is None:
        return "refused"
    return "stricter" if documented_rule(problems) else f"refused without a rule: {problems[0]}"


def sound(text: str, data_bytes: int) -> tuple[bytes, int]:
    return text.encode(), data_bytes


SOUND = {
    "usual": sound(
        '{"__metadata__":{"format":"pt","note":"x"},"a.weight":{"dtype":"F32","shape":[3,1],"data_offsets":[0,12]},'
        '"b":{"dtype":"BF16","shape":[5],"data_offsets":[12,22]},"c":{"dtype":"U8","shape":[0],"data_offsets":[22,22]},'
        '"d":{"dtype":"F4","shape":[2,7],"data_offsets":[22,29]}}',
        29,
    ),
    "spaced": sound(
        ' { "b" : { "shape" : [ 2 , 1 ] , "data_offsets" : [ 3 , 7 ] , "dtype" : "F16" , "x" : [ 1 ] } ,\n'
        '"a\\u0041\\\\" : { "dtype" : "I8" , "shape" : [ 3 ] , "data_offsets" : [ 0 , 3 ] },"__metadata__" : null }  ',
        7,
    ),
    "small": sound(
        '{"s":{"dtype":"C64","shape":[],"data_offsets":[0,8]},"t":{"dtype":"F6_E2M3","shape":[4],'
        '"data_offsets":[8,11]},"u":{"dtype":"BOOL","shape":[0,9],"data_offsets":[11,11]},"v":{"dtype":"F8_E8M0",'
        '"shape":[1,1,2],"data_offsets":[11,13]}}',
        13,
    ),
    "unusual names": sound(
        '{"層/\\ud83d\\ude00":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},"":{"dtype":"U16","shape":[2],'
        '"data_offsets":[8,12]},"[{\\"":{"dtype":"F32","shape":[1],"data_offsets":[12,16]},"__metadata__":{"[-1.5]":"{}"}}',
        16,
    ),
}
PIECES = [
    *(bytes([byte]) for byte in b'{}[]",:0127 \\-.e\n\0\xff'),
    b"null", b"true", b"NaN", b'"a.weight"', b'"dtype"', b'"shape"', b'"F32"', b'"F16"', b'"F4"', b"\\u0061",
    b"\\ud800", b"\\udc00", b"[0,12]", b"[]", b'"x":1,', b'"x":"\\ud800",', b"22", b"12", b"1.0", b"1E2",
    b"18446744073709551616", b"9223372036854775808", b"4611686018427387904,2,", b",0", b"0,", b'"__metadata__":{},',
    b'"q":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},', b"\xc3\xa9", b"\xed\xa0\x80", b"\xef\xbb\xbf",
]  # fmt: skip
NUMBERS = [
    b"0", b"1", b"2", b"3", b"12", b"-1", b"-0", b"01", b"1.0", b"1e2", b"true", b"null", b"[]", b"1,1",
    b"18446744073709551616", b"9223372036854775808", b"4611686018427387904", b",".join([b"1"] * 65),
]  # fmt: skip
MEMBERS = [
    b'"x":1,', b'"x":-1,', b'"x":1.5,', b'"x":[[]],', b'"x":[1,2],', b'"x":{"y":[{}]},', b'"x":"\\udc00",', b'"x":"y",',
    b'"dtype":"U8",', b'"d\\u0074ype":"U8",', b'"q":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},', b'"":"",',
]  # fmt: skip
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|\d+|.', re.DOTALL)
EXAMPLES_EACH = 5_000


@pytest.mark.slow
@pytest.mark.parametrize("name", SOUND)
def test_20000_mutated_headers_get_the_librarys_verdict_or_a_documented_stricter_one(tmp_path: Path, name: str) -> None:
    header, data_bytes = SOUND[name]
    path = tmp_path / "mutated.safetensors"
    path.write_bytes(framed(header, bytes(data_bytes)))
    assert verdict(str(path)) == "accepted"
    verdicts: Counter[str] = Counter()

    @given(mutated=mutations(header), more_bytes=st.sampled_from([0] * 9 + [-1, 1, 5]))
    @settings(max_examples=EXAMPLES_EACH, deadline=None, derandomize=True, database=None)
    def judge(mutated: bytes, more_bytes: int) -> None:
        path.write_bytes(framed(mutated, bytes(data_bytes + more_bytes)))
        found = verdict(str(path))
        verdicts[found] += 1
        assert found in ("accepted", "refused", "stricter"), found

    judge()
    assert len(SOUND) * EXAMPLES_EACH == 20_000
    assert verdicts.total() >= EXAMPLES_EACH
    assert min(verdicts["accepted"], verdicts["refused"], verdicts["stricter"]) > 50, verdicts


def mutations(header: bytes) -> st.SearchStrategy[bytes]:
    """`header` after one to three changes, of which those that keep it JSON are the more frequent."""
    tokens: list[bytes] = _TOKEN.findall(header)
    pieces = st.sampled_from([b"", *PIECES, *sorted(set(tokens))])
    members = [json.dumps({name: value})[1:-1].encode() + b"," for name, value in json.loads(header).items()]
    change = st.one_of(
        st.tuples(st.just("bytes"), st.integers(0, len(header)), st.integers(0, 12), pieces),
        st.tuples(st.just("tokens"), st.integers(0, len(tokens)), st.integers(0, 3), pieces),
        st.tuples(st.just("tokens"), st.integers(0, len(tokens)), st.just(0), st.sampled_from([b" ", b"\n\t"])),
        st.tuples(st.just("number"), st.integers(0, 30), st.just(1), st.sampled_from(NUMBERS)),
        st.tuples(st.just("object"), st.integers(0, 5), st.just(0), st.sampled_from([*MEMBERS, *members])),
    )
    return st.lists(change, min_size=1, max_size=3).map(lambda changes: reduce(mutated, changes, header))


def mutated(header: bytes, change: tuple[str, int, int, bytes]) -> bytes:
    """`header` with something put in place of bytes or tokens, of a number, or at the start of an object."""
    kind, at, removed, inserted = change
    if kind == "bytes":
        return header[:at] + inserted + header[at + removed :]
    parts: list[bytes] = _TOKEN.findall(header)
    if kind in ("number", "object"):
        places = [place for place, part in enumerate(parts) if (part.isdigit() if kind == "number" else part == b"{")]
        if not places:
            return header
        at = places[at % len(places)] + (kind == "object")
    return b"".join([*parts[:at], inserted, *parts[at + removed :]])


def test_a_verdict_that_differs_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison itself, with a parser that reads another shape, and with one that refuses for no listed reason."""
    path = tmp_path / "m.safetensors"
    header, data_bytes = SOUND["usual"]
    path.write_bytes(b"")
    unlisted = of_parser(str(path))
    path.write_bytes(framed(header, bytes(data_bytes)))
    read, _ = of_parser(str(path))
    assert read is not None
    monkeypatch.setattr(f"{__name__}.of_parser", lambda path: ({**read, "b": ("BF16", (5, 1))}, ()))
    assert "read as" in verdict(str(path))
    monkeypatch.setattr(f"{__name__}.of_parser", lambda path: unlisted)
    assert "refused without a rule" in verdict(str(path))
