"""Text to tokens, for a byte-level BPE tokenizer as `tokenizer.json` describes it.

Special tokens are not looked for in the text, and none is added.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import cast

# GPT-2's pattern, with `\p{L}` as `[^\W\d_]` and `\p{N}` as `\d`: `re` has no Unicode categories. The same pieces
# for ASCII and for French; a numeral that is no decimal digit (², ½, Ⅳ) counts as a letter here.
PIECE = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")


def read_encoder(tokenizer_file: Path) -> Callable[[str], list[int]]:
    """The function from text to token ids that `tokenizer_file` describes."""
    model = json.loads(tokenizer_file.read_text(encoding="utf-8"))["model"]
    ids = cast(dict[str, int], model["vocab"])
    ranks = {(left, right): rank for rank, (left, right) in enumerate(model["merges"])}
    letters = _letter_of_byte()

    @cache
    def encode_piece(piece: str) -> tuple[int, ...]:
        symbols = [letters[byte] for byte in piece.encode()]
        return tuple(ids[symbol] for symbol in _merge(symbols, ranks))

    return lambda text: [token for piece in PIECE.findall(text) for token in encode_piece(piece)]


def _merge(symbols: list[str], ranks: dict[tuple[str, str], int]) -> list[str]:
    """`symbols` with the neighbours of lowest rank joined, leftmost first, until no pair has a rank."""
    while len(symbols) > 1:
        rank, at = min((ranks.get(pair, len(ranks)), at) for at, pair in enumerate(pairwise(symbols)))
        if rank == len(ranks):
            break
        symbols = [*symbols[:at], symbols[at] + symbols[at + 1], *symbols[at + 2 :]]
    return symbols


def _letter_of_byte() -> list[str]:
    """The printable character that stands for each byte: itself, or the next one free from U+0100 on."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    spare = iter(range(256, 512))
    return [chr(byte if byte in printable else next(spare)) for byte in range(256)]
