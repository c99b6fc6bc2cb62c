"""Each bad model file: refused by the command in words, with nothing left behind; and the page that lists them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mergegraph.errors import printable
from tests.bad_inputs import FILES, RECIPES, BadInput, page, refused

PAGE = Path(__file__).parents[1] / "docs" / "refusals.md"


@pytest.mark.parametrize("bad", FILES, ids=lambda bad: bad.reason)
def test_a_bad_model_is_refused_in_words_and_leaves_nothing(bad: BadInput, tmp_path: Path) -> None:
    found = refused(bad, tmp_path)
    assert found.exit_code == 2
    assert found.out == ""
    assert bad.says in found.error
    assert 'node "code", ' in found.error
    assert ", model " in found.error
    assert "  fix     " in found.error
    assert "Traceback" not in found.error
    assert printable(found.error) == found.error
    assert found.left_nothing


def test_the_page_of_refusals_is_what_the_command_says() -> None:
    assert len(FILES) >= 25
    assert len(RECIPES) >= 25
    assert "\n".join([*page(), ""]) == PAGE.read_text("utf-8"), "python -m tests.bad_inputs > docs/refusals.md"
