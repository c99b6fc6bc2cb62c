"""Which token stands in which row, from the files that tokenizers come in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from mergegraph.tensors import tokenizer
from mergegraph.tensors.tokenizer import read_tokens, vocabulary_difference

WORDS = {"<s>": 0, "hello": 1, "world": 2}


def fast(tokens: Mapping[str, int]) -> str:
    return json.dumps({"model": {"type": "BPE", "vocab": dict(tokens)}})


def write(folder: Path, files: Mapping[str, str]) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


READ = [
    ("a fast tokenizer", {"tokenizer.json": fast(WORDS)}, WORDS),
    ("the fast one of two", {"tokenizer.json": fast(WORDS), "vocab.json": '{"other": 0}'}, WORDS),
    ("a slow one", {"vocab.json": json.dumps(WORDS), "added_tokens.json": '{"<x>": 3}'}, {**WORDS, "<x>": 3}),
    ("lines", {"vocab.txt": "<s>\nhello\nworld\n"}, WORDS),
    ("nothing that can be read", {"tokenizer.model": "\x00"}, {}),
    ("no tokenizer", {}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("why", "files", "tokens"), READ, ids=[each[0] for each in READ])
def test_tokens_with_their_rows(why: str, files: dict[str, str], tokens: dict[str, int], tmp_path: Path) -> None:
    assert read_tokens(write(tmp_path / "m", files)) == tokens, why


def test_equal_files_are_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [write(tmp_path / name, {"tokenizer.json": fast(WORDS)}) for name in "ab"]
    monkeypatch.setattr(tokenizer.json, "loads", None)
    assert vocabulary_difference(*folders) is None


COMPARED = [
    ("other files, one vocabulary", {"tokenizer.json": fast(WORDS)}, {"vocab.json": json.dumps(WORDS)}, ""),
    ("other files, other rows", {"tokenizer.json": fast(WORDS)}, {"vocab.txt": "<s>\nworld\nhello"}, "2 rows differ"),
    (
        "added tokens that only one has", {"vocab.json": json.dumps(WORDS)},
        {"vocab.json": json.dumps(WORDS), "added_tokens.json": '{"<x>": 3}'}, "row 3 is 'absent' and '<x>'",
    ),
    ("SentencePiece files", {"tokenizer.model": "one"}, {"tokenizer.model": "two"}, "tokenizer.model differs"),
    ("nothing to compare", {"tokenizer.json": fast(WORDS)}, {"tokenizer.model": "two"}, ""),
]  # fmt: skip


@pytest.mark.parametrize(("why", "one", "two", "said"), COMPARED, ids=[each[0] for each in COMPARED])
def test_how_two_tokenizers_differ(
    why: str, one: dict[str, str], two: dict[str, str], said: str, tmp_path: Path
) -> None:
    difference = vocabulary_difference(write(tmp_path / "a", one), write(tmp_path / "b", two))
    assert (difference is None) == (not said), why
    assert said in (difference.text if difference is not None else "")
