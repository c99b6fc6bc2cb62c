"""docs/python.md is a doctest, and recipes/notebook.py a script that tells what its cells say."""

from __future__ import annotations

import doctest
import re
import runpy
import shutil
from pathlib import Path

import pytest

from tests.pages.commands import DOCS, RECIPES


def test_the_page_does_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").symlink_to(RECIPES)
    options = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
    failed, tried = doctest.testfile(str(DOCS / "python.md"), module_relative=False, optionflags=options)
    assert tried > 30
    assert failed == 0


def test_the_notebook_runs_as_a_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "models").symlink_to(RECIPES / "models")
    script = shutil.copy(RECIPES / "notebook.py", tmp_path / "notebook.py")
    runpy.run_path(str(script), run_name="__main__")
    said = capsys.readouterr().out
    assert said.startswith("<weights base>\n<delta french - base>\nmergegraph: 1\n")
    assert "38 tensors" in said
    # Twice the strength is twice the change: the prediction is linear.
    changes = dict(re.findall(r"strengths \((\S+), \S+\): relative change (\S+),", said))
    assert float(changes["0.5"]) / float(changes["0.3"]) == pytest.approx(5 / 3, rel=0.01)
    assert (tmp_path / "out" / "notebook" / "by-kind" / "model.safetensors").is_file()
    assert not (tmp_path / "out" / "notebook" / "half").exists()


def test_every_cell_of_the_notebook_begins_as_editors_read_them() -> None:
    cells = (RECIPES / "notebook.py").read_text().split("# %%")[1:]
    assert len(cells) > 10
    for cell in cells:
        head, body = cell.split("\n", 1)
        if head == " [markdown]":
            assert all(line.startswith("#") for line in body.strip().splitlines()), head
        else:
            compile(body, "cell", "exec")
