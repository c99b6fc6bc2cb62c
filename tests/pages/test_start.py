"""Every command of docs/start.md does what the page says, in the order of the page."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.pages.commands import DOCS, RECIPES, commands, run, write_recipes

PAGE = (DOCS / "start.md").read_text()


def test_the_commands_of_the_page_run_in_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").symlink_to(RECIPES)
    assert write_recipes(PAGE, tmp_path) == ["first.yaml", "own.yaml"]
    found = commands(PAGE)
    assert len(found) > 12
    for command in found:
        if command.words[1] == "try" and find_spec("transformers") is None:
            continue
        code, said = run(command)
        assert code == 0, f"{command.text}\n{said}"
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert made == {"average", "first", "second", "own", "density-0.3", "density-0.6", "density-0.9"}
