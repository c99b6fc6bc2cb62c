"""Which token stands in which row: read from a model folder's tokenizer files, and compared between two of them.

Equal files are not parsed. A SentencePiece file is not parsed at all: those are compared by their bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from mergegraph.tensors.sources.door import read_bytes, read_text
from mergegraph.tensors.sources.place import Place, RemotePath, file_bytes_of
from mergegraph.units import format_count

_ROWS_SHOWN = 3
_PARSED = ("tokenizer.json", "vocab.json", "vocab.txt")
_OPAQUE = ("tokenizer.model", "spiece.model")
_ADDED = "added_tokens.json"

Tokens = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs, in words. `is_certain`: the tokens were compared, and not only the bytes of a file."""

    text: str
    is_certain: bool


def read_tokens(folder: Place) -> dict[str, int]:
    """Token text → row, added tokens included; {} for a folder without a tokenizer in a form that is known."""
    for name in _PARSED:
        if (folder / name).is_file():
            beside = _tokens(folder / _ADDED) if name != "tokenizer.json" and (folder / _ADDED).is_file() else {}
            return _tokens(folder / name) | beside
    return {}


def vocabulary_difference(ours: Place, theirs: Place) -> Difference | None:
    """How the vocabularies of two folders differ, with the first rows; None where they agree or one has none."""
    for name in _PARSED:
        one, other = ours / name, theirs / name
        if one.is_file() and other.is_file():
            if _equal(one, other) and (name == "tokenizer.json" or _equal(ours / _ADDED, theirs / _ADDED)):
                return None
            break
    tokens = read_tokens(ours), read_tokens(theirs)
    if all(tokens):
        return tokens_difference(*tokens)
    for name in _OPAQUE:
        one, other = ours / name, theirs / name
        if one.is_file() and other.is_file():
            return None if _equal(one, other) else Difference(f"{name} differs", is_certain=False)
    return None


def tokens_difference(ours: Tokens, theirs: Tokens) -> Difference | None:
    """The rows in which two vocabularies have different tokens."""
    if ours == theirs:
        return None
    by_row = {row: token for token, row in ours.items()}, {row: token for token, row in theirs.items()}
    rows = [row for row in sorted(by_row[0] | by_row[1]) if by_row[0].get(row) != by_row[1].get(row)]
    shown = "; ".join(
        f"row {row} is {by_row[0].get(row, 'absent')!r} and {by_row[1].get(row, 'absent')!r}"
        for row in rows[:_ROWS_SHOWN]
    )
    sizes = f"{len(ours):,} tokens each" if len(ours) == len(theirs) else f"{len(ours):,} and {len(theirs):,} tokens"
    return Difference(
        f"{sizes}, {format_count(len(rows), 'row')} {'differs' if len(rows) == 1 else 'differ'}: {shown}",
        is_certain=True,
    )


def _equal(one: Place, other: Place) -> bool:
    """Whether two files hold the same bytes; two that are not there do."""
    if not (one.is_file() and other.is_file()):
        return one.is_file() == other.is_file()
    if isinstance(one, RemotePath) and isinstance(other, RemotePath) and one.entry == other.entry:
        # Servers name the content; what they name alike is not fetched.
        return bool(one.entry and one.entry.content) or read_bytes(str(one)) == read_bytes(str(other))
    return file_bytes_of(one) == file_bytes_of(other) and read_bytes(str(one)) == read_bytes(str(other))


def _tokens(path: Place) -> dict[str, int]:
    """Token text → row, added tokens included. A file in an unknown form counts as having none."""
    try:
        text = read_text(path)
        return _listed(text.removesuffix("\n").split("\n")) if path.suffix == ".txt" else _of_json(json.loads(text))
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
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
