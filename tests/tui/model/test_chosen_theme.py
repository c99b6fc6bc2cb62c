"""The theme that was chosen last is the one of the next start; what cannot be read is ignored."""

from __future__ import annotations

from pathlib import Path

import pytest
from mergegraph_tui.model.chosen_theme import chosen_theme, keep_theme

THEMES = ("dark", "light")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "mergegraph" / "theme"


def test_the_newest_choice_is_kept(file: Path) -> None:
    assert chosen_theme(THEMES) is None
    for name in ("light", "dark", "light"):
        keep_theme(lambda name=name: name)  # type: ignore[misc]
    assert chosen_theme(THEMES) == "light"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["theme"]


BROKEN = [
    (b"", "cut off"),
    (b"solarized\n", "a theme of another version"),
    (b"\xff\xfe\x00", "no text"),
]


@pytest.mark.parametrize(("content", "reason"), BROKEN, ids=[row[1] for row in BROKEN])
def test_what_is_broken_is_ignored_and_replaced(content: bytes, reason: str, file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(content)
    assert chosen_theme(THEMES) is None, reason
    keep_theme(lambda: "light")
    assert chosen_theme(THEMES) == "light"


def test_a_folder_in_its_place_is_let_be(file: Path) -> None:
    file.mkdir(parents=True)
    assert chosen_theme(THEMES) is None
    keep_theme(lambda: "light")
    assert list(file.parent.iterdir()) == [file]


def test_a_state_folder_that_cannot_be_made_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "state").write_text("a file")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    keep_theme(lambda: "light")
    assert chosen_theme(THEMES) is None
