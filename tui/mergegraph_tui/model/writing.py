"""A value as YAML on one line, quoted only where it must be, in the quotes that stood there before where they can."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from mergegraph.errors import RecipeError
from mergegraph.recipe.document import parse_value
from mergegraph.recipe.scalars import Value, as_text

_BARE = re.compile(r"[\w./~+(−-][\w./~@%^*+()!$<>=;− -]*", re.UNICODE)


def written(value: Value, quote: str = "") -> str:
    """`value` as it may stand anywhere, in a list or mapping on one line too. `quote`: the one preferred for text."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{written(key)}: {written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, str):
        return next(text for text in _spellings(value, quote) if _means(text, value))
    return _number(value)


def _number(value: Value) -> str:
    text = as_text(value)
    return text if _means(text, value) else f"{value!r}"


def _spellings(text: str, quote: str) -> list[str]:
    makers: dict[str, Callable[[str], str]] = {"": _plain, "'": _single, '"': json.dumps}
    double = json.dumps(text, ensure_ascii=False)
    first = {"": [_plain(text)], "'": [_single(text)], '"': [double]}.get(quote, [])
    return [*first, _plain(text), double, makers['"'](text)]


def _plain(text: str) -> str:
    return text if _BARE.fullmatch(text) and text == text.strip() else json.dumps(text)


def _single(text: str) -> str:
    return "'" + text.replace("'", "''") + "'" if text.isprintable() else json.dumps(text)


def _means(text: str, value: Value) -> bool:
    try:
        return parse_value(f"[{text}]", "") == [value]
    except RecipeError:
        return False
