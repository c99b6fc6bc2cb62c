"""Headers made to exhaust memory: what reading one takes, measured in a process of its own, and the caps."""

from __future__ import annotations

import os
import string
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import islice, product
from pathlib import Path

import pytest

from mergegraph.errors import InputError
from mergegraph.tensors.header import (
    DEFAULT_HEADER_BYTES,
    MEMORY_PER_HEADER_BYTE,
    header_cap,
    parse_header,
)
from tests.tensors.header_corpus import framed

# Without the cycle collector, as in planning.
_MEASURE = """
import gc, sys
from mergegraph.errors import InputError
from mergegraph.tensors.header import parse_header

def peak_kib():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])

gc.disable()
before = peak_kib()
try:
    said = f"read {len(parse_header(sys.argv[1]).tensors)} tensors"
except InputError as error:
    said = str(error.problems[0])
print((peak_kib() - before) * 1024, said)
"""
_GROWN = 1_400_000
"""A dictionary of more than two thirds of 2^21 keys has room for 2^22."""
_WIDE = "\U0001f600"
"""One such letter makes Python hold every letter of a text in 4 bytes."""


def keys() -> Iterator[str]:
    return map("".join, product(string.ascii_letters, repeat=5))


def filled(before: str, parts: Iterator[str], after: str) -> str:
    """As many of `parts` as a header of the default cap holds."""
    room = DEFAULT_HEADER_BYTES - len(before.encode()) - len(after)
    taken: list[str] = []
    for part in parts:
        room -= len(part) + 1
        if room < 0:
            break
        taken.append(part)
    return before + ",".join(taken) + after


def repeated(before: str, part: str, after: str) -> str:
    return before + part * ((DEFAULT_HEADER_BYTES - len(before.encode()) - len(after)) // len(part)) + after


def tensors(dtype: str, name: str) -> Iterator[str]:
    for number, key in enumerate(keys()):
        yield f'"{name}{key}":{{"dtype":"{dtype}","shape":[1],"data_offsets":[{number},{number + 1}]}}'


BOMBS: list[tuple[str, Callable[[], str], str]] = [
    # what the header is, the header, what is said of it
    ("lists in a list", lambda: repeated('{"a":[', "[],", "[]]}"), "list of lists"),
    ("objects in a list", lambda: repeated('{"a":[', "{},", "{}]}"), "list of lists or of objects"),
    ("lists side by side", lambda: repeated("{", "[]", "}"), "it packs"),
    ("quotes", lambda: repeated("{", '"', "}"), "it packs"),
    ("short texts in a list", lambda: repeated('{"a":{"x":[', '"aa",', '""]}}'), "it packs"),
    ("empty objects under short keys", lambda: filled("{", (f'"{key}":{{}}' for key in keys()), "}"), "it packs"),
    ("short texts of metadata",
     lambda: filled('{"__metadata__":{', (f'"{key}":""' for key in keys()), "}}"), "it packs"),
    ("a shape of twelve million dimensions", lambda: repeated('{"a":{"shape":[', "1,", '1],"dtype":"U8","data_offsets"'
     ":[0,1]}}"), "more than 64"),
    ("one name", lambda: repeated('{"', "a", '":1}'), "longer than 65536 bytes"),
    ("one name of escaped backslashes", lambda: repeated('{"', "\\\\", '":1}'), "longer than 65536 bytes"),
    ("one name of escapes", lambda: repeated('{"', "\\u0061", '":1}'), "longer than 65536 bytes"),
    ("numbers under the shortest keys that are let through, as many as make a dictionary grow",
     lambda: filled(f'{{"__metadata__":{{"{_WIDE}":"",', (f'"{key}":10000000' for key in islice(keys(), _GROWN)), "}}"),
     "not an object of texts"),
    ("objects as short as are let through",
     lambda: filled(f'{{"{_WIDE}":1,', (f'"{key}1234567890":{{}}' for key in keys()), "}"), "no dtype, shape"),
    ("lists as short as are let through",
     lambda: filled(f'{{"{_WIDE}":1,', (f'"{key}1234567":[257]' for key in keys()), "}"), "no dtype, shape"),
    ("tensors that are wrong", lambda: filled("{", tensors("U9", ""), "}"), '"U9" is unknown'),
    ("small tensors", lambda: filled(f'{{"__metadata__":{{"{_WIDE}":""}},', tensors("U8", ""), "}"), "read 3"),
    ("tensors with names of the usual length", lambda: filled("{", tensors("U8", "model.layers.0.mlp.up_proj."), "}"),
     "read 2"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("_reason", "header", "says"), BOMBS, ids=[row[0] for row in BOMBS])
def test_a_header_at_the_cap_takes_at_most_25_times_its_bytes(
    tmp_path: Path, _reason: str, header: Callable[[], str], says: str
) -> None:
    text = header().encode()
    assert 20_000_000 < len(text) <= DEFAULT_HEADER_BYTES
    path = tmp_path / "m.safetensors"
    path.write_bytes(framed(text))
    os.truncate(path, 8 + len(text) + text.count(b'"U8"'))
    child = subprocess.run([sys.executable, "-c", _MEASURE, path], capture_output=True, text=True, check=True)
    peak_bytes, _, said = child.stdout.partition(" ")
    assert says in said
    assert int(peak_bytes) < MEMORY_PER_HEADER_BYTE * len(text), f"{int(peak_bytes) / len(text):.1f} times"


@pytest.mark.parametrize(
    ("wanted", "budget", "cap", "_reason"),
    [
        (25_000_000, None, 25_000_000, "no budget: what is asked for"),
        (25_000_000, 2 << 30, 25_000_000, "a budget with room for more"),
        (100_000_000, 2 << 30, (2 << 30) // 25, "more than the budget has room for"),
        (25_000_000, 100_000_000, 4_000_000, "a smaller budget"),
        (25_000_000, 1024, 1_000_000, "no budget is too small for a usual model"),
    ],
)
def test_the_cap_follows_the_budget(wanted: int, budget: int | None, cap: int, _reason: str) -> None:
    assert header_cap(wanted, budget) == cap


def test_a_header_over_the_cap_says_which_options_would_read_it(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(framed("{}" + " " * 30_000_000))
    with pytest.raises(InputError, match="a header of 30,000,002 bytes; at most 25,000,000 are read") as caught:
        parse_header(str(path))
    assert "--max-header-mb 31, with a --budget of 775MB or more" in str(caught.value)
    assert parse_header(str(path), 31_000_000).data_offset == 30_000_010
