"""JSON out of files that nobody vouches for: one meaning a text, or none.

Python's own reader takes duplicate keys (the last wins), NaN, lone surrogates and a byte order mark; two
programs can then disagree about what a file says. Here each of these is a ValueError that says what it is.

A text can also be made to take many times its bytes in memory. One that packs in more small parts than checkpoints
do is refused before anything is built; what is left takes up to 25 times its bytes (CPython 3.11).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NoReturn, cast

# The smallest tensor with a name of 15 letters has 5 strings, 4 of them keys, 2 lists and an object in 64 bytes.
_LEAST_BYTES_PER_STRING = 12
_LEAST_BYTES_PER_KEY = 16
_LEAST_BYTES_PER_BRACKET = 20
_HARMLESS_BYTES = 100_000
_WINDOW_BYTES = 1 << 16
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def decode(raw: bytes) -> str:
    """Strict UTF-8. ValueError names the first wrong byte."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8 text") from error


def parse(raw: bytes, *, floats: bool) -> Any:
    """The value of a JSON text without duplicate keys, lone surrogates or constants such as NaN.

    ValueError says why not.
    """
    text = decode(raw)
    check_cost(raw)
    try:
        value: Any = json.loads(
            text,
            object_pairs_hook=_unique_keys,
            parse_float=float if floats else _refuse_number,
            parse_constant=_refuse_number,
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at line {error.lineno}, column {error.colno}") from error
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    if _SURROGATE.search(raw) and not all(map(_fits_utf8, _texts(value))):
        raise ValueError("it holds half of a surrogate pair")
    return value


def check_cost(raw: bytes) -> None:
    """ValueError for a text that would take more than 25 times its bytes in memory when parsed."""
    if len(raw) <= _HARMLESS_BYTES:
        return
    strings = keys = brackets = 0
    for part in outside_strings(raw):
        strings += part.count(b'"')
        keys += part.count(b":")
        brackets += part.count(b"[") + part.count(b"{")
    least_bytes = max(
        strings * _LEAST_BYTES_PER_STRING, keys * _LEAST_BYTES_PER_KEY, brackets * _LEAST_BYTES_PER_BRACKET
    )
    if least_bytes > len(raw):
        packed = f"{strings:,} texts, {keys:,} keys and {brackets:,} lists and objects"
        raise ValueError(f"it packs {packed} into {len(raw):,} bytes")


def outside_strings(raw: bytes) -> Iterator[bytes]:
    """A JSON text with a quote in place of each string, window by window: cut at every quote at once, it could take
    45 times its bytes."""
    unescaped = raw.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in raw else raw
    is_inside = False
    for start in range(0, len(unescaped), _WINDOW_BYTES):
        pieces = unescaped[start : start + _WINDOW_BYTES].split(b'"')
        yield b'"'.join(pieces[is_inside::2])
        is_inside ^= len(pieces) % 2 == 0


def _texts(value: object) -> Iterator[str]:
    """Every key and text in a parsed value."""
    pending = [value]
    while pending:
        part = pending.pop()
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict):
            entries = cast("dict[str, object]", part)
            pending += entries
            pending += entries.values()
        elif isinstance(part, list):
            pending += cast("list[object]", part)


def _fits_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        # Keys are compared decoded: "a" and "\u0061" are one name.
        repeated = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f'the key "{repeated[:80]}" is there twice')
    return entries


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"{text[:40]} is not a whole number")
