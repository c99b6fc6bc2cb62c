"""A form as lines, what fills it in, and what the picker offers."""

from __future__ import annotations

from pathlib import Path

import pytest
from mergegraph_tui.model.checked import Checked
from mergegraph_tui.model.checking import check_text
from mergegraph_tui.model.fields import Form, FormField, form_of
from mergegraph_tui.model.filling import add_typed_rule, fill, pickable
from mergegraph_tui.model.form_lines import FormLook, fields_of, form_lines
from mergegraph_tui.model.glyphs import glyphs_of
from mergegraph_tui.model.offers import fitting_ports, offers, stem_of
from mergegraph_tui.model.schedules import schedule_view
from mergegraph_tui.model.shelf import Shelved
from mergegraph_tui.model.wires import ports

from mergegraph.errors import Problem

RECIPES = Path(__file__).resolve().parents[3] / "recipes"
DARE = (RECIPES / "dare-ties.yaml").read_text()


def checked(text: str = DARE) -> Checked:
    return check_text(text, RECIPES / "dare-ties.yaml")


def form(text: str, node: str) -> Form:
    found = form_of(checked(text), node)
    assert found is not None
    return found


def field(text: str, node: str, label: str) -> FormField:
    return next(each for each in fields_of(form(text, node)) if each.label == label)


def lines(text: str, node: str, cursor: int | None = None, *, ascii_only: bool = False, width: int = 34) -> list[str]:
    now = checked(text)
    found = form(text, node)
    views = {
        each.path: view
        for each in found.fields
        if each.kind == "schedule" and (view := schedule_view(now, node, each.path)) is not None
    }
    look = FormLook(width, glyphs_of(ascii_only=ascii_only), cursor)
    return ["".join(text for text, _ in line.parts).rstrip() for line in form_lines(found, ("x", ""), views, look)]


def test_a_form_has_sections_values_and_defaults_in_brackets() -> None:
    shown = lines(DARE, "d_upright")

    assert shown[0] == "x d_upright   dare"
    assert "  density  0.5" in shown
    assert "  rescale  (expected)" in shown
    assert [line.split(" ")[0] for line in shown if "──" in line] == ["Parameters", "Inputs", "More", "Value"]
    assert shown[-4:] == ["  space    delta", "  tensors  72", "  size     531.8 KiB F32", "  read by  agreed"]
    assert all(len(line) <= 34 for line in shown)


def test_the_field_under_the_cursor_is_explained_and_a_problem_stands_below_its_field() -> None:
    text = DARE.replace("density: 0.5", "density: 1.5", 1)
    index = [each.label for each in fields_of(form(text, "d_upright"))].index("density")
    shown = lines(text, "d_upright", index)
    place = next(index for index, line in enumerate(shown) if line.startswith("▶ density"))

    assert shown[place].endswith("1.5")
    assert shown[place + 1].startswith("    ▲ ")
    assert any("the share of elements" in line for line in shown[place + 2 :])


def test_rules_are_fields_with_their_counts_and_the_layers_below_the_last() -> None:
    rules = '[{layers: "0:1", value: 0.1}, {kind: mlp, value: [0, 1]}, {value: 3}]'
    shown = lines(DARE.replace("by: 0.2", f"by: {rules}"), "boost", ascii_only=True)

    assert "  layers: 0:1  16 tensors" in shown
    assert "  kind: mlp  12 of 16 tensors" in shown
    assert "  all others  44 tensors" in shown
    assert "    layer 0      0.1" in shown
    assert "    layer 3      1 to 3" in shown
    assert all(line.isascii() for line in shown)


def test_the_count_of_a_rule_stays_whole_however_long_its_conditions_are() -> None:
    text = DARE.replace("by: 0.2", 'by: [{kind: attention, part: q, layers: "0:2", value: 0.1}, {value: 3}]')
    rule = next(index for index, each in enumerate(fields_of(form(text, "boost"))) if each.kind == "rule")

    assert "  kind: attention, par…  4 tensors" in lines(text, "boost")
    shown = lines(text, "boost", rule)
    place = shown.index("▶ kind: attention, par…  4 tensors")
    assert shown[place + 1 : place + 3] == ["    kind: attention, part: q,", "    layers: 0:2"]


def test_a_long_formula_is_shown_whole() -> None:
    text = "mergegraph: 1\nmodels: {a: ./a, b: ./b}\nnodes:\n  m: a + 0.25*(b - a) + 0.125*(b - a) - 0.5*(b - a)\n"
    shown = " ".join(line.strip() for line in lines(text, "m"))
    assert "a + 0.25*(b - a) + 0.125*(b - a) - 0.5*(b - a)" in shown


def test_a_field_that_names_a_model_for_its_files_is_one_of_those_there_are() -> None:
    text = DARE.replace("{op: save, ", "{op: save, tokenizer_from: zzz, ")
    of = next(each for each in form(text, "out").fields if each.label == "tokenizer_from")
    assert (of.kind, "upright" in of.choices) == ("choice", True)
    assert of.problem is not None
    assert "zzz" in of.problem.fact


FILLED = [
    ("boost", "by", "0.7", "boost: {op: scale, input: agreed, by: 0.7}", "a number"),
    ("boost", "by", "[0, 1]", "boost: {op: scale, input: agreed, by: [0, 1]}", "a gradient, as it was typed"),
    ("boost", "input", "d_rot90", "boost: {op: scale, input: d_rot90, by: 0.2}", "another node"),
    ("merged", "inputs 3", "upright", "merged: {op: sum, inputs: [general, boost, upright]}", "one more input"),
    ("merged", "inputs 2", "", "merged: {op: sum, inputs: [general]}", "one input less"),
    ("out", "path", "out/new one", "out: {op: save, input: merged, path: out/new one}", "a text"),
    ("upright", "model", "./elsewhere", "upright: ./elsewhere", "a checkpoint under models"),
    ("d_rot90", "base", "", "d_rot90: {op: dare, input: rot90, density: 0.5}", "an optional input goes"),
]


@pytest.mark.parametrize(("node", "label", "typed", "line", "reason"), FILLED, ids=[row[4] for row in FILLED])
def test_what_was_typed_is_written_where_it_stands(node: str, label: str, typed: str, line: str, reason: str) -> None:
    after = fill(DARE, node, field(DARE, node, label), typed)
    assert isinstance(after, str), after
    changed = set(after.splitlines()) - set(DARE.splitlines())
    assert [" ".join(each.split("#")[0].split()) for each in changed] == [line], reason


def test_what_cannot_stand_is_a_problem_and_nothing_changes() -> None:
    formula = "mergegraph: 1\nmodels: {a: ./a}\nnodes:\n  m: a + 1*a\n"
    expression = field(formula, "m", "expression")
    assert isinstance(fill(formula, "m", expression, "a +"), Problem)
    assert isinstance(fill(formula, "m", expression, ""), Problem)
    by = field(DARE, "boost", "by")
    assert isinstance(fill(DARE, "boost", by, "[0,"), Problem)
    assert isinstance(add_typed_rule(DARE, "boost", by, "kind: mlp"), Problem)
    assert fill(DARE, "d_rot90", field(DARE, "d_rot90", "seed"), "") == DARE, "there was nothing to clear"


def test_a_rule_is_added_before_the_number_that_was_there_and_taken_away_again() -> None:
    with_rule = add_typed_rule(DARE, "boost", field(DARE, "boost", "by"), "kind: norm, value: 0")
    assert isinstance(with_rule, str)
    assert "by: [{kind: norm, value: 0}, {value: 0.2}]" in with_rule
    rules = [each for each in form(with_rule, "boost").fields if each.kind == "rule"]
    assert [(each.label, each.text) for each in rules] == [("kind: norm", "0"), ("all others", "0.2")]
    without = fill(with_rule, "boost", rules[0], "")
    assert isinstance(without, str)
    assert "by: [{value: 0.2}]" in without
    last = next(each for each in form(without, "boost").fields if each.kind == "rule")
    emptied = fill(without, "boost", last, "")
    assert isinstance(emptied, str)
    assert "by:" not in emptied, "a list without an item goes as a whole"


def test_an_input_may_name_what_fits_and_says_why_another_does_not() -> None:
    reasons = pickable(checked(), "d_rot90", field(DARE, "d_rot90", "base"))
    assert reasons["general"] == ""
    assert reasons["d_upright"] == "it is delta, and weights is needed"
    assert "cycle" in reasons["boost"]
    assert list(reasons).index("mirror") < list(reasons).index("d_upright")


def test_the_picker_offers_a_formula_then_operations_then_models() -> None:
    shelf = [Shelved("scaled-model", "./scaled-model", Path("/s"))]
    formula = offers(checked(), "boost", "general + 0.5*boost")

    assert (formula[0].kind, formula[0].text) == ("formula", "general + 0.5*boost")
    assert [offer.kind for offer in offers(checked(), "boost", "scale", shelf)][-1] == "model"
    assert offers(checked(), "merged")[0].text == "save", "what was computed is mostly saved"
    assert offers(checked(), "general", "load")[0].text == "load", "a name that was typed whole"
    assert [offer.kind for offer in offers(checked(), "boost", "general", shelf) if offer.kind == "formula"] == []
    assert (stem_of("delta", "code"), stem_of("save", "m"), stem_of("ties", "m")) == ("d_code", "out", "ties")


def test_a_wire_enters_a_free_port_or_asks_which() -> None:
    head = "mergegraph: 1\nmodels: {a: ./a, b: ./b}\nnodes:\n"
    text = f"{head}  d: {{op: delta, model: a}}\n  e: {{op: delta}}\n  f: {{op: delta, model: a, base: b}}\n"
    fitting = {name: [port.field for port in fitting_ports(ports(text, name), "weights")] for name in "def"}
    assert fitting == {"d": ["base"], "e": ["model", "base"], "f": ["model", "base"]}
    assert fitting_ports(ports(text, "d"), "delta") == []
