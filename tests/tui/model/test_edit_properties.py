"""Whatever is typed: checking never fails, an edit gives a text or a problem, and undo restores every byte."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mergegraph_tui.model.adding import add_model, add_node
from mergegraph_tui.model.checking import check_text
from mergegraph_tui.model.choices import operations, sources, targets
from mergegraph_tui.model.document import Document
from mergegraph_tui.model.fields import form_of
from mergegraph_tui.model.headers import Headers
from mergegraph_tui.model.nodes import bypass_node, delete_node, duplicate_node, rename_node, set_field
from mergegraph_tui.model.outline import Outline, outline
from mergegraph_tui.model.splice import Edited, remove_value, set_value
from mergegraph_tui.model.wires import connect, cut, insert_on_wires

from mergegraph.errors import Problem

RECIPES = Path(__file__).resolve().parents[3] / "recipes"
TEXTS = [path.read_text() for path in sorted(RECIPES.glob("*.yaml"))]
PIECES = [
    "", " ", "\n", "\r\n", "  ", ":", "- ", "[", "]", "{", "}", ",", "#", '"', "'", "&a ", "*a", "!x ", "|\n", ">", "?",
    "---\n",     "\t", "\x00", "\ufeff", "\u2028", "é", "\ud800", "0", "-1", "1e999", ".nan", "null", "true",
    "op: sum", "inputs: []",     "by: [0, 1]", "base", "${t}", "{a.b}", "skip: true", "nodes:",
    "models: 7\n", "include: {i: {recipe: x.yaml}}\n",
]  # fmt: skip
HEADERS = Headers()
QUICK = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@st.composite
def spoilt(draw: st.DrawFn) -> str:
    """A recipe with some pieces put in and some taken out, or text of any kind."""
    text = draw(st.one_of(st.sampled_from(TEXTS), st.sampled_from(TEXTS), st.text()))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(text)))
        length = draw(st.sampled_from((0, 0, 1, 2, 9)))
        text = text[:start] + draw(st.sampled_from(PIECES)) + text[start + length :]
    return text


@QUICK
@given(spoilt())
def test_checking_never_fails_and_every_view_of_it_holds(text: str) -> None:
    found = check_text(text, RECIPES / "typed.yaml", headers=HEADERS)

    assert (found.failure, found.text) == ("", text)
    assert found.is_fine or found.errors
    for name in found.outline.nodes if found.outline else ():
        form = form_of(found, name)
        assert form is not None
        targets(found, name)
        sources(found, name)
        operations(found, name)


@QUICK
@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_checked(raw: bytes) -> None:
    text = raw.decode("utf-8", "surrogateescape")
    assert check_text(text, RECIPES / "typed.yaml", headers=HEADERS).failure == ""
    assert Document(text).text == text


@QUICK
@given(spoilt(), st.data())
def test_edits_give_a_text_or_a_problem_and_undo_restores_every_byte(text: str, data: st.DataObject) -> None:
    document = Document(text)
    for _ in range(3):
        before = document.text
        edited = _any_edit(before, data)
        if document.apply(edited, "edit") is None and not isinstance(edited, Problem):
            assert isinstance(outline(edited), Outline)
            assert document.text == edited
    while document.can_undo:
        document.undo()
    assert document.text == text


@QUICK
@given(st.sampled_from(TEXTS), st.data())
def test_a_value_set_and_set_back_restores_every_byte(text: str, data: st.DataObject) -> None:
    found = outline(text)
    assert isinstance(found, Outline)
    numbers = [
        (name, key, value)
        for name, node in found.nodes.items()
        for key, value in (node.value.items() if isinstance(node.value, dict) else ())
        if isinstance(value, float) and not value.is_integer()  # 1.0 comes back as 1
    ]
    for name, key, value in numbers:
        there = set_field(text, name, (key,), data.draw(st.floats(-9, 9)))
        assert isinstance(there, str)
        assert set_field(there, name, (key,), value) == text


def _any_edit(text: str, data: st.DataObject) -> Edited:
    found = outline(text)
    names = [*(found.nodes if isinstance(found, Outline) else ()), "base", "x y"]
    name, other = data.draw(st.sampled_from(names)), data.draw(st.sampled_from(names))
    wires = [wire for node in found.nodes.values() for wire in node.wires] if isinstance(found, Outline) else []
    edits = [
        lambda: rename_node(text, name, "renamed"),
        lambda: delete_node(text, name),
        lambda: duplicate_node(text, name, "copy"),
        lambda: bypass_node(text, name),
        lambda: connect(text, name, other),
        lambda: insert_on_wires(text, "between", "scale", name),
        lambda: add_node(text, "added", "sum", [name, other]),
        lambda: add_model(text, "added", "./a: b"),
        lambda: set_field(text, name, ("by",), [{"kind": "mlp", "value": 1}, {"value": 0.5}]),
        lambda: set_value(text, ("nodes", name), "a + b"),
        lambda: remove_value(text, ("nodes", name, "input")),
        lambda: cut(text, data.draw(st.sampled_from(wires))) if wires else Problem("no wire"),
    ]
    return data.draw(st.sampled_from(edits))()
