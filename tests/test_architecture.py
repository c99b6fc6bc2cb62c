"""The page of the architecture names every package and module at the top of the tree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = (REPOSITORY / "docs" / "architecture.md").read_text()
ENGINE = sorted(
    path.stem
    for path in (REPOSITORY / "mergegraph").iterdir()
    if not path.stem.startswith("_") and path.suffix != ".typed"
)
INTERFACE = sorted(path.parent.name for path in (REPOSITORY / "tui" / "mergegraph_tui").glob("*/__init__.py"))


@pytest.mark.parametrize("name", [*ENGINE, *INTERFACE])
def test_every_package_has_its_place_on_the_page(name: str) -> None:
    named = ", ".join(re.findall(r"\*\*([a-z_, ]+)\*\*", PAGE)).split(", ")
    assert name in named
