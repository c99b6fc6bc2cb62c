"""Vocabularies brought together by token text: which row of one stands where in another, and what is new.

Pure: tokens and row numbers only, no files and no tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Vocabulary:
    """`tokens`: token text → row. `row_count` is what the embedding has; rows beyond the tokens are padding."""

    tokens: Mapping[str, int]
    row_count: int

    @property
    def own(self) -> int:
        """The rows up to the last token."""
        return min(max(self.tokens.values(), default=-1) + 1, self.row_count)

    @property
    def by_row(self) -> dict[int, str]:
        """Row → token text; of two tokens in one row the first."""
        return {row: token for token, row in reversed(list(self.tokens.items()))}


@dataclass(frozen=True)
class Placement:
    """For each row of a target vocabulary the row of ours with its token; None where we have none.

    `padding`: the rows of the target that no token has. `absent`: its tokens that ours lacks. `moved`: our row → the
    target's, for tokens that stand elsewhere.
    """

    rows: tuple[int | None, ...]
    padding: frozenset[int]
    absent: tuple[str, ...]
    moved: Mapping[int, int]


def placement(ours: Vocabulary, target: Vocabulary) -> Placement:
    """Our rows in the order of `target`. No row of ours stands for one of its padding: nothing says which."""
    by_row = target.by_row
    padding = frozenset(range(target.row_count)) - by_row.keys()
    rows: list[int | None] = []
    absent: list[str] = []
    for row in range(target.row_count):
        token = by_row.get(row)
        if token is None:
            rows.append(None)
            continue
        found = ours.tokens.get(token)
        rows.append(found if found is not None and found < ours.row_count else None)
        if rows[-1] is None:
            absent.append(token)
    places = {row: target.tokens[token] for token, row in ours.tokens.items() if token in target.tokens}
    return Placement(tuple(rows), padding, tuple(absent), {row: new for row, new in places.items() if row != new})


def union(vocabularies: Sequence[Vocabulary]) -> Vocabulary:
    """The first vocabulary, then what each other has that none before it had, in its order of rows.

    New tokens follow the last token, into what was padding first.
    """
    tokens = dict(vocabularies[0].tokens)
    end = max(tokens.values(), default=-1) + 1
    for vocabulary in vocabularies[1:]:
        for token in sorted(vocabulary.tokens, key=vocabulary.tokens.__getitem__):
            if token not in tokens:
                tokens[token] = end
                end += 1
    return Vocabulary(tokens, max(vocabularies[0].row_count, end))
