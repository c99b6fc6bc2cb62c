"""Each mistake that people are likely to make: told in words, with nothing left behind; and what is told then works."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from mergegraph.errors import printable
from mergegraph.methods.registry import methods
from mergegraph.recipe.correcting import CALLED_ELSEWHERE
from tests.mistakes.mistake import Mistake, tried_anywhere
from tests.mistakes.page import MISTAKES, page

PAGE = Path(__file__).parents[1] / "docs" / "mistakes.md"
ALL = [mistake for mistakes in MISTAKES.values() for mistake in mistakes]


made = cache(tried_anywhere)


@pytest.mark.parametrize("mistake", ALL, ids=lambda mistake: mistake.reason)
def test_a_mistake_is_told_in_words_and_what_is_told_works(mistake: Mistake) -> None:
    found = made(mistake)
    said = found.refused
    assert said.exit_code == mistake.exit_code, said.error
    assert mistake.says in said.error + said.out
    assert "Traceback" not in said.error
    assert printable(said.error) == said.error
    assert found.left == ({mistake.keeps} if mistake.keeps else set())
    if mistake.exit_code:
        assert said.out == ""
        assert "\n  fix     " in said.error
    if mistake.mended is not None:
        assert mistake.mended.types in said.error
        assert found.after is not None
        assert found.after.exit_code == 0, found.after.error


def test_the_page_of_mistakes_is_what_the_command_says() -> None:
    assert len({mistake.reason for mistake in ALL}) == len(ALL) >= 40
    written = "\n".join([*page(made), ""])
    assert written == PAGE.read_text("utf-8"), "python -m tests.mistakes > docs/mistakes.md"


def test_what_others_call_an_op_leads_to_one_that_is_there() -> None:
    for word, fix in CALLED_ELSEWHERE.items():
        assert word not in methods()
        assert any(name in fix.replace(":", " ").replace(",", " ").split() for name in methods()), fix
