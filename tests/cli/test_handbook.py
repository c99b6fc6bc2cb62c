"""The page of operations is written from the classes, and is current."""

from __future__ import annotations

from pathlib import Path

import pytest

from mergegraph.cli.handbook import methods_page
from mergegraph.methods.registry import methods

DOCS = Path(__file__).resolve().parents[2] / "docs"
RECIPES = DOCS.parent / "recipes"


def test_the_page_in_docs_is_what_the_classes_say() -> None:
    written = (DOCS / "methods.md").read_text().rstrip()
    assert written == methods_page().rstrip(), "mergegraph ops --markdown > docs/methods.md"


@pytest.mark.parametrize("op", methods())
def test_every_operation_is_shown_by_a_recipe(op: str) -> None:
    text = "".join(path.read_text() for path in RECIPES.glob("*.yaml"))
    assert f"op: {op}," in text or f"op: {op}\n" in text
