"""Bars and lines of numbers as text."""

from __future__ import annotations

import pytest
from mergegraph_tui.model.meters import bar, spark


@pytest.mark.parametrize(
    ("share", "done", "left", "reason"),
    [
        (0.0, "", "──────", "nothing"),
        (0.001, "╸", "─────", "anything above nothing shows"),
        (0.5, "━━━", "───", "half"),
        (0.6, "━━━╸", "──", "half cells"),
        (0.999, "━━━━━╸", "", "only all of it is full"),
        (1.0, "━━━━━━", "", "all"),
        (7.0, "━━━━━━", "", "more than all is all"),
    ],
)
def test_a_bar(share: float, done: str, left: str, reason: str) -> None:
    assert bar(share, 6) == (done, left), reason
    assert sum(map(len, bar(share, 6))) == 6
    plain = bar(share, 6, ascii_only=True)
    assert "".join(plain).isascii()
    assert sum(map(len, plain)) == 6


def test_a_line_of_numbers() -> None:
    assert spark([0, 1, 4, 8], 6) == ["   ▁▄█"]
    assert spark([8, 4, 16], 2, 2) == [" █", "▄█"], "the last ones, in two rows"
    assert spark([3], 2, top=24) == [" ▁"], "against a given top"
    assert spark([], 3) == ["   "]
    assert spark([0, 0], 2) == ["  "], "nothing is no division"
    assert "".join(spark([1, 2, 3], 5, 3, ascii_only=True)).isascii()
