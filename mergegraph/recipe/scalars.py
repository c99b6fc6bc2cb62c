"""What a plain YAML word means, by the YAML 1.2 core schema: `no` and `on` are text, `1e-3` and `0o17` are numbers.

Also writes a number back as the plain decimal that means it.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TypeAlias

Scalar: TypeAlias = "bool | int | float | str | None"
Value: TypeAlias = "Scalar | list[Value] | dict[str, Value]"

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS = {word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")}
INTEGER = re.compile(r"[-+]?[0-9]{1,1000}|0o[0-7]{1,1000}|0x[0-9a-fA-F]{1,1000}", re.ASCII)
FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_NAMED_FLOAT = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(?:nan|NaN|NAN)")


def resolve(text: str) -> Scalar:
    """The value of a plain (unquoted) scalar. `.inf` and `.nan` are floats here; no field of a recipe takes them."""
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if INTEGER.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if FLOAT.fullmatch(text):
        return float(text)
    if _NAMED_FLOAT.fullmatch(text):
        return float(text.lower().replace(".", ""))
    return text


def as_text(value: Value) -> str:
    """`value` as typed in a path or an expression: 1e-3 → `0.001`, True → `true`, a list with commas."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value == value and abs(value) != float("inf"):
        return plain_decimal(Decimal(repr(value)))
    if isinstance(value, list):
        return ",".join(map(as_text, value))
    if isinstance(value, dict):
        return ",".join(f"{key}={as_text(item)}" for key, item in value.items())
    return str(value)


def plain_decimal(number: Decimal) -> str:
    """`number` without an exponent and without trailing zeros: 1E-3 → `0.001`, 2.50 → `2.5`, 4.0 → `4`."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
