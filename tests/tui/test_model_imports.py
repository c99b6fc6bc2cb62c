"""The model behind the screens needs no screen."""

from __future__ import annotations

from pathlib import Path

from tests.test_imports import LOADED, REPOSITORY, python


def test_the_model_imports_neither_textual_nor_torch() -> None:
    folder = REPOSITORY / "tui" / "mergegraph_tui" / "model"
    names = [f"mergegraph_tui.model.{Path(path).stem}" for path in sorted(folder.glob("[a-z]*.py"))]
    assert len(names) >= 4
    code = f"import importlib, sys\nfor name in sys.argv[2].split(','): importlib.import_module(name)\n{LOADED}"
    assert python(code, "textual,rich,torch", ",".join(names)) == "\n"
