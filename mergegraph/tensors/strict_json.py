"""JSON out of files that nobody vouches for: one meaning a text, or none.

Python's own reader takes duplicate keys (the last wins), NaN, lone surrogates and a byte order mark; two
programs can then disagree about what a file says. Here each of these is a ValueError that says what it is.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, NoReturn


def decode(raw: bytes) -> str:
    """Strict UTF-8. ValueError names the first wrong byte."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8 text") from error


def parse(raw: bytes, *, floats: bool) -> Any:
    """The value of a JSON text without duplicate keys or constants such as NaN. ValueError says why not."""
    text = decode(raw)
    try:
        return json.loads(
            text,
            object_pairs_hook=_unique_keys,
            parse_float=float if floats else _refuse_number,
            parse_constant=_refuse_number,
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at line {error.lineno}, column {error.colno}") from error
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def is_text(value: object) -> bool:
    """Whether `value` is a string that UTF-8 can hold: an escaped lone surrogate is not."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
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
