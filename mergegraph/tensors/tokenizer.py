"""Do two model folders have the same vocabulary? Equal files are not parsed; token by token where they differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

_ROWS_SHOWN = 3


def vocabulary_difference(ours: Path, theirs: Path) -> str:
    """What differs, in words with the first rows; empty where the vocabularies agree or one folder has none."""
    for name in ("tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model"):
        one, other = ours / name, theirs / name
        if not (one.is_file() and other.is_file()):
            continue
        if one.read_bytes() == other.read_bytes():
            return ""
        if name.endswith(".model"):
            return f"{name} differs"
        return _difference(_tokens(one), _tokens(other))
    return ""


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
    if path.suffix == ".txt":
        return {token: row for row, token in enumerate(path.read_text(encoding="utf-8").split("\n"))}
    try:
        document = cast("dict[str, Any]", json.loads(path.read_bytes()))
    except ValueError:
        return {}
    if "model" not in document:
        return {token: row for token, row in document.items() if isinstance(row, int)}
    vocabulary = document["model"].get("vocab", {})
    if isinstance(vocabulary, dict):
        tokens = dict(cast("dict[str, int]", vocabulary))
    else:
        tokens = {str(item[0]): row for row, item in enumerate(cast("list[list[Any]]", vocabulary))}
    return tokens | {str(added["content"]): int(added["id"]) for added in document.get("added_tokens", [])}
