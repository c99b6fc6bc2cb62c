"""A run reads the file: what is saved before one begins, and where."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from mergegraph_tui.model.document import Document
from mergegraph_tui.model.saving import needs_name, proposed_file, save_for_run, saving_text


def opened(path: Path, text: str = "a: 1\n") -> Document:
    path.write_text(text)
    document = Document.open(path)
    assert isinstance(document, Document)
    return document


def test_what_is_saved_already_stays(tmp_path: Path) -> None:
    document = opened(tmp_path / "merge.yaml")
    before = (tmp_path / "merge.yaml").stat().st_mtime_ns
    assert (needs_name(document), saving_text(document)) == (False, "")
    assert save_for_run(document, None) is None
    assert (tmp_path / "merge.yaml").stat().st_mtime_ns == before


@pytest.mark.parametrize("is_gone", [False, True])
def test_changes_are_saved_first(tmp_path: Path, is_gone: bool) -> None:
    document = opened(tmp_path / "merge.yaml")
    document.edit("a: 2\n", "two")
    if is_gone:
        (tmp_path / "merge.yaml").unlink()
    assert "saved first" in saving_text(document)
    assert save_for_run(document, None) is None
    assert (tmp_path / "merge.yaml").read_text() == "a: 2\n"
    assert not document.is_dirty


def test_a_recipe_without_a_file_gets_one(tmp_path: Path) -> None:
    document = Document.new("a: 3\n", tmp_path)
    assert needs_name(document)
    assert proposed_file(document) == tmp_path / "merge.yaml"
    (tmp_path / "merge.yaml").touch()
    assert proposed_file(document) == tmp_path / "merge-2.yaml", "no file is replaced unasked"
    assert save_for_run(document, tmp_path / "merge-2.yaml") is None
    assert document.path == tmp_path / "merge-2.yaml"


def test_a_file_that_somebody_else_changed_is_not_replaced(tmp_path: Path) -> None:
    document = opened(tmp_path / "merge.yaml")
    (tmp_path / "merge.yaml").write_text("theirs: 1\n")
    os.utime(tmp_path / "merge.yaml", (1, 1))
    assert needs_name(document)
    copy = proposed_file(document)
    assert "changed by another program" in saving_text(document)
    assert save_for_run(document, copy) is None
    assert (tmp_path / "merge.yaml").read_text() == "theirs: 1\n"
    assert (document.path, copy.read_text()) == (tmp_path / "merge-2.yaml", "a: 1\n")
    assert save_for_run(document, tmp_path / "merge.yaml") is not None, "one that exists is kept"
