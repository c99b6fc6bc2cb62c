"""The open recipe: every edit is a step, the file is never replaced unasked, and what was not saved is found again."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from mergegraph_tui.model.autosave import Autosave, forget, recoverable
from mergegraph_tui.model.document import Document, OnDisk
from mergegraph_tui.model.editor import edit_outside

from mergegraph.errors import Problem

TEXT = "mergegraph: 1\r\nnodes: {}"


def opened(path: Path, text: str = TEXT) -> Document:
    path.write_bytes(text.encode())
    document = Document.open(path)
    assert isinstance(document, Document)
    return document


def test_undo_and_redo_go_through_every_text(tmp_path: Path) -> None:
    document = opened(tmp_path / "a.yaml")
    for text, label in (("one", "add a"), ("two", "add b"), ("three", "add c")):
        assert document.edit(text, label)

    assert (document.undo(), document.text, document.undo(), document.text) == ("add c", "two", "add b", "one")
    assert (document.redo(), document.text, document.can_redo) == ("add b", "two", "add c")
    document.edit("other", "add d")
    assert (document.can_redo, document.can_undo) == ("", "add d")
    assert [document.undo() for _ in range(4)] == ["add d", "add b", "add a", ""]
    assert document.text == TEXT
    assert not document.is_dirty


def test_typing_is_one_step_until_a_pause_or_another_edit() -> None:
    document = Document("")
    for text, at in (("a", 1.0), ("ab", 1.5), ("abc", 2.0), ("abcd", 9.0)):
        document.type(text, at=at)
    document.edit("x", "delete a")
    document.type("xy", at=9.1)

    texts = [document.text]
    while document.can_undo:
        document.undo()
        texts.append(document.text)
    assert texts == ["xy", "x", "abcd", "abc", ""]


def test_a_refused_edit_changes_nothing() -> None:
    document = Document("a")
    problem = Problem("no")

    assert document.apply(problem, "edit") is problem
    assert (document.text, document.can_undo) == ("a", "")


def test_saving_keeps_mode_link_and_line_ends(tmp_path: Path) -> None:
    real, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
    link.symlink_to(real)
    document = opened(real)
    real.chmod(0o640)
    document = Document.open(link)
    assert isinstance(document, Document)
    document.edit("\ufeffa: 1\r\n", "edit")

    assert document.save() is None
    assert not document.is_dirty
    assert link.is_symlink()
    assert real.read_bytes() == b"\xef\xbb\xbfa: 1\r\n"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link.yaml", "real.yaml"]
    again = Document.open(link)
    assert isinstance(again, Document)
    assert again.text == document.text


def test_a_file_that_changed_is_not_replaced_unasked(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    document = opened(path)
    document.edit("mine", "edit")
    assert document.on_disk() is OnDisk.SAME
    path.write_text("theirs")

    assert document.on_disk() is OnDisk.CHANGED
    refused = document.save()
    assert isinstance(refused, Problem)
    assert path.read_text() == "theirs"
    assert document.reload() is None
    assert (document.text, document.is_dirty, document.can_undo) == ("theirs", False, "reload")
    document.undo()
    assert (document.text, document.is_dirty) == ("mine", True)
    path.write_text("theirs again")
    document.keep_mine()
    assert document.save() is None
    assert path.read_text() == "mine"
    path.unlink()
    assert document.on_disk() is OnDisk.GONE
    assert document.save() is None


def test_save_as_keeps_a_file_that_is_there(tmp_path: Path) -> None:
    taken = tmp_path / "taken.yaml"
    taken.write_text("theirs")
    document = Document.new()
    assert isinstance(document.save(), Problem)

    assert isinstance(document.save_as(taken), Problem)
    assert taken.read_text() == "theirs"
    assert document.save_as(taken, replace=True) is None
    assert (document.path, document.is_dirty, taken.read_text()) == (taken, False, document.text)


def test_what_cannot_be_read_or_written_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for name in ("none.yaml", "binary.yaml", "."):
        found = Document.open(tmp_path / name)
        assert isinstance(found, Problem)
        assert found.fix
    document = Document.new("a: \ud800")
    assert isinstance(document.save_as(tmp_path / "half.yaml"), Problem)
    assert isinstance(document.save_as(tmp_path / "none" / "a.yaml"), Problem)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["binary.yaml"]


def test_unsaved_text_is_found_after_a_crash_and_not_before(tmp_path: Path) -> None:
    recipe, state = tmp_path / "a.yaml", tmp_path / "state"
    code = (
        "import os, sys; from pathlib import Path; from mergegraph_tui.model.autosave import Autosave\n"
        "kept = Autosave(Path(sys.argv[2])); assert kept.keep(Path(sys.argv[1]), 'lost')\n"
        "print('kept', flush=True); sys.stdin.readline(); os._exit(1)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(recipe), str(state)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ,
    ) as running:  # fmt: skip
        assert running.stdin is not None
        assert running.stdout is not None
        assert running.stdout.readline() == "kept\n"
        assert recoverable(recipe, state) == ()
        running.stdin.write("\n")
        running.stdin.flush()
        running.wait()
    (found,) = recoverable(recipe, state)

    assert (found.path, found.text) == (recipe, "lost")
    assert stat.S_IMODE(found.kept_in.stat().st_mode) == 0o600
    assert recoverable(tmp_path / "b.yaml", state) == ()
    forget(found)
    assert list(state.iterdir()) == []


def test_discarding_leaves_nothing(tmp_path: Path) -> None:
    kept = Autosave(tmp_path)
    assert kept.keep(None, "one")
    assert kept.keep(tmp_path / "a.yaml", "two")
    assert len(list(tmp_path.iterdir())) == 2
    kept.discard()
    assert list(tmp_path.iterdir()) == []


def test_the_text_comes_back_from_an_editor_letter_by_letter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    editor = tmp_path / "my editor"
    editor.write_text('#!/bin/sh\nprintf "b: 2\\r\\n" >> "$2"\nexit "$1"\n')
    editor.chmod(0o755)
    monkeypatch.delenv("VISUAL", raising=False)

    monkeypatch.setenv("EDITOR", f"'{editor}' 0")
    assert edit_outside("\ufeffa: 1\r\n") == "\ufeffa: 1\r\nb: 2\r\n"
    for command in (f"'{editor}' 3", "/nowhere/editor", "'"):
        monkeypatch.setenv("EDITOR", command)
        refused = edit_outside("a: 1\n")
        assert isinstance(refused, Problem), command
        assert refused.fix
