"""The guide of the interface says the keys that there are, and its pictures are of the size that it promises."""

from __future__ import annotations

import re

from tests.tui.guide import GUIDE, guide_as_it_should_be


def test_the_guide_says_the_keys_that_there_are() -> None:
    guide = GUIDE.read_text()
    assert guide == guide_as_it_should_be(guide), "python -m tests.tui.guide"
    assert "`node.add`" in guide


def test_what_the_guide_shows_is_there_and_small() -> None:
    named = re.findall(r"\]\(([^)#:]+)\)", GUIDE.read_text())
    pictures = {name for name in named if name.endswith(".png")}
    for screen in ("edit", "run", "stats"):
        assert {f"pictures/tui-{screen}-{width}.png" for width in (80, 120, 200)} <= pictures
    assert all((GUIDE.parent / name).exists() for name in named)
    assert all((GUIDE.parent / name).stat().st_size < 150 << 10 for name in pictures)
    assert {f"pictures/{path.name}" for path in GUIDE.parent.glob("pictures/tui-*.png")} == pictures
