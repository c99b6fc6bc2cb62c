"""Do two model folders have the same vocabulary? Equal files are not parsed; token by token where they differ."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

_ROWS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs, in words. `is_certain`: the tokens were compared, and not only the bytes of a file."""

    text: str
    is_certain: bool


def vocabulary_difference(ours: Path, theirs: Path) -> Difference | None:
    """How the vocabularies of two folders differ, with the first rows; None where they agree or one has none."""
    for name in ("tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model"):
        one, other = ours / name, theirs / name
        if not (one.is_file() and other.is_file()):
            continue
        if one.read_bytes() == other.read_bytes():
            return None
        if name.endswith(".model"):
            return Difference(f"{name} differs", is_certain=False)
        return _compared(_tokens(one), _tokens(other))
    return None


def _compared(ours: dict[str, int], theirs: dict[str, int]) -> Difference | None:
    differing = _difference(ours, theirs) if ours and theirs else ""
    return Difference(differing, is_certain=True) if differing else None


def _difference(ours: dict[str, int], theirs: dict[str, int]) -> str:
    if ours == theirs:
        return ""
    by_row = {row: token for token, row in ours.items()}, {row: token for token, row in theirs.items()}
    rows = [row for row in sorted(by_row[0] | by_row[1]) if by_row[0].get(row) != by_row[1].get(row)]
    shown = "; ".join(
        f"row {row} is {by_row[0].get(row, 'absent')!r} and {by_row[1].get(row, 'absent')!r}"
        for row in rows[:_ROWS_SHOWN]
    )
    sizes = f"{len(ours):,} tokens each" if len(ours) == len(theirs) else f"{len(ours):,} and {len(theirs):,} tokens"
    return f"{sizes}, {len(rows):,} rows differ: {shown}"


def _tokens(path: Path) -> dict[str, int]:
    """Token text → row, added tokens included. A file in an unknown form counts as having none."""
    try:
        text = path.read_text(encoding="utf-8")
        return _listed(text.removesuffix("\n").split("\n")) if path.suffix == ".txt" else _of_json(json.loads(text))
    except (ValueError, TypeError, LookupError, AttributeError):
        return {}


def _of_json(document: dict[str, Any]) -> dict[str, int]:
    """Of a tokenizer.json, or of a vocab.json: a plain mapping, in which "model" may be a token like any other."""
    model = document.get("model")
    if not isinstance(model, dict):
        return {token: row for token, row in document.items() if isinstance(row, int)}
    vocabulary: Any = cast("dict[str, Any]", model)["vocab"]
    tokens = dict(cast("dict[str, int]", vocabulary)) if isinstance(vocabulary, dict) else _pieces(vocabulary)
    added_tokens = cast("list[dict[str, Any]]", document.get("added_tokens") or [])
    return tokens | {str(added["content"]): int(added["id"]) for added in added_tokens}


def _pieces(vocabulary: list[list[Any]]) -> dict[str, int]:
    """Of a unigram model: `[piece, score]` by row."""
    return _listed([str(piece) for piece, *_ in vocabulary])


def _listed(tokens: list[str]) -> dict[str, int]:
    return {token: row for row, token in enumerate(tokens)}
