"""Rows by token text, and tokenizers that grow: small cases written out, then what must hold for any."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergegraph.tensors.grown_tokenizer import grown
from mergegraph.tensors.vocabulary import Vocabulary, placement, union


def vocabulary(text: str, row_count: int = 0) -> Vocabulary:
    """`a b - c`: a token a row, `-` is a row without one."""
    tokens = {token: row for row, token in enumerate(text.split()) if token != "-"}
    return Vocabulary(tokens, row_count or len(text.split()))


PLACED = [
    ("the same", "a b c", "a b c", (0, 1, 2), (), {}),
    ("another order", "b a c", "a b c", (1, 0, 2), (), {0: 1, 1: 0}),
    ("a token that is not there", "a c", "a b c", (0, None, 1), ("b",), {1: 2}),
    ("one too many", "a x b", "a b", (0, 2), (), {2: 1}),
    ("padding has no row of ours", "b a - -", "a b - -", (1, 0, None, None), (), {0: 1, 1: 0}),
    ("a hole is padding", "a b", "a - b", (0, None, 1), (), {1: 2}),
]


@pytest.mark.parametrize(("why", "ours", "target", "rows", "absent", "moved"), PLACED, ids=[each[0] for each in PLACED])
def test_rows_of_one_vocabulary_in_the_order_of_another(
    why: str, ours: str, target: str, rows: tuple[int | None, ...], absent: tuple[str, ...], moved: dict[int, int]
) -> None:
    placed = placement(vocabulary(ours), vocabulary(target))
    assert (placed.rows, placed.absent, placed.moved) == (rows, absent, moved), why
    assert placed.padding == {row for row, token in enumerate(target.split()) if token == "-"}


def test_a_token_beyond_the_embedding_has_no_row() -> None:
    assert placement(Vocabulary({"a": 0, "b": 1}, 1), vocabulary("a b")).rows == (0, None)


@given(st.permutations([f"t{n}" for n in range(9)]), st.integers(0, 3))
def test_there_and_back_is_where_it_was(order: list[str], padding: int) -> None:
    one = Vocabulary({f"t{n}": n for n in range(9)}, 9 + padding)
    other = Vocabulary({token: row for row, token in enumerate(order)}, 9 + padding)
    there, back = placement(one, other), placement(other, one)
    assert [there.rows[row] for row in back.rows if row is not None] == list(range(9))
    assert there.padding == back.padding == set(range(9, 9 + padding))


def test_a_union_keeps_the_first_and_adds_the_others_in_order() -> None:
    made = union([vocabulary("a b - -"), vocabulary("x b a y"), vocabulary("y z w")])
    assert made.tokens == {"a": 0, "b": 1, "x": 2, "y": 3, "z": 4, "w": 5}
    assert made.row_count == 6
    assert union([vocabulary("a b - - -"), vocabulary("x")]).row_count == 5


def unigram(*pieces: str) -> str:
    return json.dumps({"model": {"type": "Unigram", "vocab": [[piece, -1.0] for piece in pieces]}})


def test_a_unigram_model_gets_its_new_pieces_as_added_tokens() -> None:
    document = json.loads(grown(unigram("a"), [unigram("a", "b")], {"a": 0, "b": 1}))
    assert document["model"]["vocab"] == [["a", -1.0]]
    assert [(each["content"], each["id"], each["special"]) for each in document["added_tokens"]] == [("b", 1, False)]


def test_merges_are_added_as_the_first_tokenizer_writes_them() -> None:
    def bpe(tokens: list[str], merges: list[object]) -> str:
        return json.dumps({"model": {"type": "BPE", "vocab": {t: n for n, t in enumerate(tokens)}, "merges": merges}})

    own, other = bpe(["a", "b"], [["a", "b"]]), bpe(["a", "b", "ba"], ["b a", "a b"])
    assert json.loads(grown(own, [other], {"a": 0, "b": 1, "ba": 2}))["model"]["merges"] == [["a", "b"], ["b", "a"]]


@pytest.mark.parametrize("text", ["[]", "{}", '{"model": 3}', "nonsense"])
def test_what_is_no_tokenizer_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        grown(text, [], {"a": 0})
