"""YAML as a person means it: core scalars, the line of every value, and refusals that say what is wrong."""

from __future__ import annotations

import contextlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergegraph.errors import Location, RecipeError
from mergegraph.recipe.document import parse_document, parse_value
from mergegraph.recipe.scalars import Value, as_text, resolve
from mergegraph.recipe.text import MAX_BYTES, decode

SCALARS: list[tuple[str, Value, str]] = [
    ("no", "no", "a country code, not false"),
    ("yes", "yes", "YAML 1.1 made it true"),
    ("on", "on", "YAML 1.1 made it true"),
    ("off", "off", "YAML 1.1 made it false"),
    ("true", True, "one of the three spellings"),
    ("False", False, "one of the three spellings"),
    ("tRue", "tRue", "not one of the three spellings"),
    ("~", None, "null"),
    ("null", None, "null"),
    ("", None, "nothing after the colon"),
    ("1e-3", 0.001, "YAML 1.1 made it text"),
    ("1E3", 1000.0, "an exponent makes a float"),
    (".5", 0.5, "no digit before the point"),
    ("5.", 5.0, "no digit after the point"),
    ("-0.25", -0.25, "a sign"),
    ("+7", 7, "a sign"),
    ("012", 12, "YAML 1.1 made it ten"),
    ("0o17", 15, "octal of YAML 1.2"),
    ("0x1F", 31, "hexadecimal"),
    ("-0x1F", "-0x1F", "the core schema has no sign there"),
    ("0b11", "0b11", "binary left with YAML 1.1"),
    ("1_000", "1_000", "underscores left with YAML 1.1"),
    ("12:30:00", "12:30:00", "base 60 left with YAML 1.1"),
    ("2026-01-02", "2026-01-02", "dates are not in the core schema"),
    (".inf", math.inf, "a float, which no field takes"),
    ("-.Inf", -math.inf, "a float, which no field takes"),
    ('"1"', "1", "quoted"),
    ("'no'", "no", "quoted"),
    ("'~'", "~", "quoted"),
    ("./a/b", "./a/b", "a path"),
    ("org/name@3f1c2ab", "org/name@3f1c2ab", "a Hub id"),
    ("s3://bucket/key", "s3://bucket/key", "a colon without a space"),
    ("١٢", "١٢", "only ASCII digits make a number"),
]


@pytest.mark.parametrize(("text", "value", "reason"), SCALARS)
def test_a_plain_word_has_its_yaml_1_2_meaning(text: str, value: Value, reason: str) -> None:
    read = parse_document(f"key: {text}\n", "merge.yaml").value

    assert read == {"key": value}, reason
    assert isinstance(read, dict)
    assert type(read["key"]) is type(value), reason


def test_not_a_number_is_a_float() -> None:
    value = parse_value(".nan", "x")

    assert isinstance(value, float)
    assert math.isnan(value)


def test_every_value_has_its_line() -> None:
    text = "\ufeffa: 1\nb:\n  - x\n  - {c: 2,\n     d: 3}\n# comment\ne: >\n  folded\n  text\n"

    document = parse_document(text, "merge.yaml")

    lines = {path: at.line for path, at in document.lines.items()}
    expected = {(): 1, ("a",): 1, ("b",): 2, ("b", 0): 3, ("b", 1): 4, ("b", 1, "c"): 4, ("b", 1, "d"): 5, ("e",): 7}
    assert lines == expected
    assert document.where(("b", 1, "absent", "deeper")) == Location("merge.yaml", 4)


def test_an_alias_gives_a_value_of_its_own() -> None:
    document = parse_document("a: &x {v: [1, 2]}\nb: *x\n", "f")

    assert document.value == {"a": {"v": [1, 2]}, "b": {"v": [1, 2]}}
    assert isinstance(document.value, dict)
    assert document.value["a"] is not document.value["b"]
    assert document.where(("b", "v")).line == 2


def test_duplicate_keys_are_all_reported_and_the_first_counts() -> None:
    document = parse_document("a: 1\nb: {c: 1, c: 2}\na: [3]\n", "f")

    assert document.value == {"a": 1, "b": {"c": 1}}
    assert [(problem.at, problem.why) for problem in document.problems] == [
        (Location("f", 2), "it first stands at f:2"),
        (Location("f", 3), "it first stands at f:1"),
    ]


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
)
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 300))

REFUSED = [
    ("a: [1,\n  2\nb: 3\n", 1, "opened with [", "a list that is never closed"),
    ("a: {b: 1\n", 1, "opened with {", "a mapping that is never closed"),
    ('o: {path: "x", p: out/{a.b}}\n', 1, "needs quotes", "a placeholder inside a flow mapping"),
    ("a: b: c\n", 1, "second colon", "two colons on a line"),
    ("a:\n\tb: 1\n", 2, "tab", "a tab as indentation"),
    ("a: @x\n", 1, "cannot start with @", "a reserved character"),
    ('a: "x\n', 1, "quoted text is not closed", "an open quote"),
    ('a: "\\q"\n', 1, "backslash", "an unknown escape"),
    ("a:\n  b: 1\n c: 2\n", 3, "indentation", "a column that fits nothing"),
    ("a:\n  - 1\n - 2\n", 3, "indentation", "a dash that fits nothing"),
    ("a: 1\nbc\n", 2, "neither", "a line without a colon"),
    ("a: *x\n", 1, "*x stands for nothing", "an alias without an anchor"),
    ("a: &x [*x]\n", 1, "*x stands for nothing", "an alias inside its own anchor"),
    ("<<: {a: 1}\n", 1, "merge keys", "a merge key"),
    ("a: !!str 1\n", 1, "no YAML tags", "a tag on a scalar"),
    ("a: !!python/object:os.system {}\n", 1, "no YAML tags", "a tag on a mapping"),
    ("!x a: 1\n", 1, "no YAML tags", "a tag on a key"),
    ("a: 1\n---\nb: 2\n", 2, "several documents", "two documents"),
    ("? [a]\n: 1\n", 1, "A key must be a word", "a list as a key"),
    ("b: &x 1\n*x : 1\n", 2, "A key must be a word", "an alias as a key"),
    ("a: \x07\n", 1, "control character, \\x07", "a bell"),
    ("a: 1\nb: \x1b[31m\n", 2, "control character, \\x1b", "an escape sequence is never printed"),
    ("[" * 200_000, 1, "nested more than 100", "deep enough to crash a recursive reader"),
    (BOMB, 5, "more than 100,000 values", "aliases that multiply"),
    (CHAIN, 100, "nested more than 100", "aliases that nest"),
]


@pytest.mark.parametrize(("text", "line", "said", "reason"), REFUSED, ids=[row[3] for row in REFUSED])
def test_what_cannot_be_read_is_refused_with_its_line(text: str, line: int, said: str, reason: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_document(text, "merge.yaml")

    (problem,) = caught.value.problems
    assert said in str(problem), reason
    assert problem.at == Location("merge.yaml", line), reason
    assert problem.fix, reason
    assert "\x1b" not in str(problem)
    assert "unicode string" not in str(problem)


def test_bytes_are_utf_8_with_or_without_a_mark() -> None:
    assert decode("\ufeffname: é\n".encode(), "f") == "name: é\n"
    with pytest.raises(RecipeError, match="not UTF-8") as caught:
        decode("a: 1\nb: é\n".encode("latin-1"), "f")
    assert caught.value.problems[0].at == Location("f", 2)


def test_a_file_over_the_limit_is_not_read() -> None:
    with pytest.raises(RecipeError, match="more than 10,000,000 bytes"):
        decode(b"#" * (MAX_BYTES + 1), "weights.bin")


def test_an_empty_file_has_no_value() -> None:
    assert parse_document("# only a comment\n", "f").value is None


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_in_our_own_words(text: str) -> None:
    with contextlib.suppress(RecipeError):
        assert parse_document(text, "f").where(()).file == "f"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_written_as_text_reads_back_the_same(number: float) -> None:
    assert float(str(resolve(as_text(number)))) == number


# YAML reads no escaped surrogate pairs, which is how JSON escapes what lies above U+FFFF.
TEXT = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_json_is_read_as_json(value: Value) -> None:
    assert parse_document(json.dumps(value), "f").value == value
