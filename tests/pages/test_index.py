"""docs/README.md names every page, and links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.pages.commands import DOCS, RECIPES

PAGES = sorted(DOCS.glob("*.md"))
_LINK = re.compile(r"\]\(([^()\s]+)\)")


def test_the_index_names_every_page() -> None:
    named = set(_LINK.findall((DOCS / "README.md").read_text()))
    assert {page.name for page in PAGES} - {"README.md"} <= named


@pytest.mark.parametrize("page", [*PAGES, DOCS.parent / "README.md", RECIPES / "README.md"], ids=lambda page: page.name)
def test_links_lead_to_files_and_headings_that_are_there(page: Path) -> None:
    for link in _LINK.findall(page.read_text()):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, heading = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        if heading:
            assert heading in headings(target.read_text()), link


def headings(text: str) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
