"""What is typed into lines comes back into the text, and every byte that nobody touched stays."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mergegraph_tui.model.colouring import tokens
from mergegraph_tui.model.typed_lines import retyped, shown_lines

TYPED = [
    ("a\nb\n", ["a", "b", ""], "a\nb\n", "nothing"),
    ("a\nb\n", ["a", "bc", ""], "a\nbc\n", "a letter"),
    ("a\nb\n", ["a", "b"], "a\nb", "the last line break taken out"),
    ("a\nb", ["a", "b", ""], "a\nb\n", "a line break at the end"),
    ("a\r\nb\nc", ["a", "x", "c"], "a\r\nx\r\nc", "the break of a new line is that of the text"),
    ("a\r\nb\nc", ["a", "b", "c", "d"], "a\r\nb\nc\r\nd", "lines before it keep theirs"),
    ("a\nb\r\nc\n", ["b", "c", ""], "b\r\nc\n", "the first line taken out"),
    ("a\x0cb\n", ["a", "b", "x", ""], "a\x0cb\nx\n", "a form feed is a line of a text area"),
    ("\n\r", ["", "", "", ""], "\n\r\r", "an empty line after a lone carriage return"),
    ("", ["x"], "x", "from nothing"),
    ("x", [""], "", "to nothing"),
    ("a\nb\u2028", ["a", "c"], "a\nc", "a last line with a break of its own"),
]


@pytest.mark.parametrize(("before", "lines", "after", "reason"), TYPED, ids=[row[3] for row in TYPED])
def test_lines_are_put_back_into_the_text(before: str, lines: list[str], after: str, reason: str) -> None:
    assert retyped(before, lines) == after, reason


LINE = st.text(st.characters(codec="utf-8", exclude_characters="\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"), max_size=3)
ANY_TEXT = st.lists(st.tuples(LINE, st.sampled_from(["\n", "\r\n", "\r", "\x0c", "\u2028"]))).map(
    lambda parts: "".join(line + each for line, each in parts)
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(ANY_TEXT, st.lists(LINE, min_size=1, max_size=6), st.data())
def test_the_lines_are_those_that_are_shown_and_the_rest_stays(
    text: str, typed: list[str], data: st.DataObject
) -> None:
    lines = shown_lines(text)
    assert retyped(text, lines) == text
    start = data.draw(st.integers(0, len(lines)))
    end = data.draw(st.integers(start, len(lines)))
    lines[start:end] = typed
    after = retyped(text, lines)

    assert shown_lines(after) == lines


COLOURS = [
    ("  by: 0.5   # half", ["key", "number", "comment"], "a comment after a number"),
    ("  m: ./a#b/1.5-x", ["key"], "a path is no number and its # no comment"),
    ('  - "a: b # c"', ["mark", "string"], "what is quoted is one thing"),
    ("x: {a: [b, -1e3, true]}", ["key", "mark", "key", *["mark"] * 2, "number", "mark", "word", *["mark"] * 2], "flow"),
    ("w: ${t}", ["key", "reference"], "a sweep"),
]


@pytest.mark.parametrize(("line", "kinds", "reason"), COLOURS, ids=[row[2] for row in COLOURS])
def test_parts_of_a_line_have_a_kind(line: str, kinds: list[str], reason: str) -> None:
    assert [kind for _, _, kind in tokens(line)] == kinds, reason
