"""Rules for chosen cells, curves, and how they are written into a recipe."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mergegraph_tui.model.cell_rules import apply_rules, conditions_for, in_words, write_rules
from mergegraph_tui.model.checking import check_text
from mergegraph_tui.model.curve import Curve, curve_fields, curve_of, shortest, tried_curve, write_curve
from mergegraph_tui.model.rule_targets import schedule_of, targets

from mergegraph.errors import Problem
from mergegraph.fields import Selector
from mergegraph.selecting import Selection
from tests.tui.conftest import TWO_TUNED

PARTS = ("self_attn.q_proj", "self_attn.k_proj", "mlp.gate_proj", "mlp.up_proj", "input_layernorm", "conv")
ONE_TOWER = (
    *(f"model.layers.{layer}.{part}.weight" for layer in range(4) for part in PARTS),
    "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight",
)  # fmt: skip
TWO_TOWERS = tuple(
    f"{tower}.layers.{layer}.{part}.weight" for tower, count in (("encoder", 2), ("decoder", 3))
    for layer in range(count) for part in ("self_attn.q_proj", "mlp.fc1", "odd.x", "odd.y")
)  # fmt: skip


def chosen(names: tuple[str, ...], *words: str) -> list[str]:
    return [name for name in names if any(word in name for word in words)]


@pytest.mark.parametrize(
    ("wanted", "conditions"),
    [
        (list(ONE_TOWER), [{}]),
        (chosen(ONE_TOWER, ".1.", ".2."), [{"layers": "1:3"}]),
        (chosen(ONE_TOWER, "mlp"), [{"kind": "mlp"}]),
        (chosen(ONE_TOWER, ".1.self"), [{"kind": "attention", "layers": "1:2"}]),
        (chosen(ONE_TOWER, "q_proj"), [{"kind": "attention", "part": "q"}]),
        (["model.layers.3.mlp.up_proj.weight"], [{"kind": "mlp", "part": "up", "layers": "3:4"}]),
        (["model.norm.weight"], [{"match": "model.norm.weight"}]),
        (["lm_head.weight"], [{"kind": "head"}]),
        (chosen(ONE_TOWER, "norm"), [{"kind": "norm"}]),
        (chosen(ONE_TOWER, ".0.input", "model.norm"), [{"kind": "norm", "layers": "0:1"},
                                                     {"match": "model.norm.weight"}]),
    ],
    ids=["all", "layers", "a kind", "a kind in a layer", "a part", "a cell", "outside, not the only norm", "a head",
         "a kind inside and outside", "one inside and one outside"],
)  # fmt: skip
def test_the_widest_conditions_that_mean_no_other(wanted: list[str], conditions: list[dict[str, str]]) -> None:
    assert list(conditions_for(wanted, ONE_TOWER)) == conditions


def test_a_layer_of_one_of_two_towers() -> None:
    wanted = chosen(TWO_TOWERS, "decoder.layers.0")
    assert list(conditions_for(wanted, TWO_TOWERS)) == [{"match": "decoder.layers.*", "layers": "0:1"}]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([ONE_TOWER, TWO_TOWERS]).flatmap(
        lambda names: st.tuples(st.just(names), st.sets(st.sampled_from(names), min_size=1))
    )
)
def test_rules_take_what_was_chosen_and_nothing_else(case: tuple[tuple[str, ...], set[str]]) -> None:
    names, wanted = case
    taken = [
        {name for name in names if Selection(Selector.model_validate(each), names).matches(name)}
        for each in conditions_for(wanted, names)
    ]
    assert set().union(*taken) == wanted
    assert sum(map(len, taken)) == len(wanted)


TEXT = "mergegraph: 1\nnodes:\n  s: {op: scale, input: a, by: 0.5}   # half\n"


@pytest.mark.parametrize(
    ("before", "conditions", "after"),
    [
        ("0.5", [{"kind": "mlp"}], "[{kind: mlp, value: 0.25}, {value: 0.5}]"),
        ("[0.1, 0.5]", [{"kind": "mlp"}], "[{kind: mlp, value: 0.25}, {value: [0.1, 0.5]}]"),
        ("[{kind: mlp, value: 1}, {value: 0.5}]", [{"kind": "mlp"}], "[{kind: mlp, value: 0.25}, {value: 0.5}]"),
        ("[{kind: norm, value: 1}, {value: 0.5}]", [{"kind": "mlp"}, {"kind": "head"}],
         "[{kind: mlp, value: 0.25}, {kind: head, value: 0.25}, {kind: norm, value: 1}, {value: 0.5}]"),
        ("[{kind: norm, value: 1}, {value: 0.5}]", [{}], "0.25"),
    ],
    ids=["a number", "a gradient", "the same rule", "before others", "everything"],
)  # fmt: skip
def test_rules_are_written_before_all_others(before: str, conditions: list[dict[str, str]], after: str) -> None:
    text = TEXT.replace("0.5", before)
    assert write_rules(text, "s", ("by",), conditions, 0.25) == TEXT.replace("0.5", after)


def test_an_expression_is_written_out_and_merges_the_same() -> None:
    checked = check_text(TWO_TUNED)
    first, second = targets(checked)
    assert (first.title, second.now) == ("merged: strength of (code - base)", "0.4")
    text = apply_rules(TWO_TUNED, checked, second, [{"kind": "norm"}], 0.4)
    assert isinstance(text, str)
    assert "french_scaled: {op: scale, input: d_french, by: [{kind: norm, value: 0.4}, {value: 0.4}]}" in text
    assert "base   # the base" in text
    assert text.index("d_french:") < text.index("french_scaled:") < text.index("merged:") < text.index("out:")
    again = check_text(text)
    assert again.is_fine
    assert {target.node for target in targets(again)} == {"code_scaled", "french_scaled"}
    assert in_words({"kind": "mlp", "part": "up", "layers": "0:2"}) == "mlp up, layers 0:2"


def test_the_weights_of_a_soup_are_schedules_too() -> None:
    soup = TWO_TUNED.replace("base + 0.6*(code - base) + 0.4*(french - base)", "0.5*code + 0.25*french + 0.25*base")
    checked = check_text(soup)
    code, french, _ = targets(checked)
    assert (code.title, french.now) == ("merged: weight of code", "0.25")
    (field,) = curve_fields(checked, code)
    assert curve_of(checked, field) == Curve((0.5,) * 4)
    for text, weight in (
        (write_curve(soup, checked, field, Curve((0.0, 0.1, 0.2, 0.3))), "[0, 0.3]"),
        (apply_rules(soup, checked, code, [{"kind": "norm"}], 0.0), "[{kind: norm, value: 0}, {value: 0.5}]"),
    ):
        assert isinstance(text, str)
        inputs = f"{{from: code, weight: {weight}}}, {{from: french, weight: 0.25}}, {{from: base, weight: 0.25}}"
        assert f"merged: {{op: soup, inputs: [{inputs}]}}" in text


@pytest.mark.parametrize("now", ["base + 0.6*(", "[", "{op: sum, inputs: [base"])
def test_a_curve_of_a_text_that_cannot_be_read_any_more_is_not_written(now: str) -> None:
    checked = check_text(TWO_TUNED)
    (field,) = curve_fields(checked, targets(checked)[0])
    text = TWO_TUNED.replace("base + 0.6*(code - base) + 0.4*(french - base)", now)
    assert isinstance(write_curve(text, checked, field, Curve((0.0,) * 4)), Problem)


def test_a_recipe_with_a_problem_has_no_curve() -> None:
    text = "mergegraph: 1\nnodes:\n  m: {op: load, model: ./none}\n  s: {op: scale, input: m, by: 0.5}\n"
    checked = check_text(text)
    (field,) = curve_fields(checked, targets(checked)[0])
    assert curve_of(checked, field) == "the recipe has a problem"
    assert curve_fields(check_text(text.replace("0.5", "[")), field.target)[0].title == "every layer"


@pytest.mark.parametrize(
    ("points", "value"),
    [
        ((0.5, 0.5, 0.5), 0.5),
        ((0.0, 0.1, 0.2, 0.3, 0.4), [0.0, 0.4]),
        ((0.0, 0.5, 1.0, 0.5, 0.0), [0.0, 1.0, 0.0]),
        ((0.0, 0.333333, 0.666667, 1.0), [0.0, 1.0]),
        ((0.0, 0.1, 0.0, 0.2), [0.0, 0.1, 0.0, 0.2]),
        ((0.7,), 0.7),
    ],
    ids=["flat", "a line", "a roof", "a line that was rounded", "no shorter one", "one layer"],
)
def test_a_curve_is_written_as_the_shortest_gradient(points: tuple[float, ...], value: object) -> None:
    assert shortest(points) == value


def test_a_curve_moves_with_its_neighbours_and_goes_back_into_its_rule() -> None:
    curve = Curve((0.0,) * 5, at=2, reach=1).raised(0.4)
    assert curve.points == (0.0, 0.2, 0.4, 0.2, 0.0)
    assert curve.moved(-9).at == 0
    assert curve.straight().points == (0.0, 0.2, 0.4, 0.2, 0.0)
    checked = check_text(TWO_TUNED)
    first = targets(checked)[0]
    text = apply_rules(TWO_TUNED, checked, first, [{"kind": "norm"}], 0.0)
    assert isinstance(text, str)
    checked = check_text(text)
    others, norms = curve_fields(checked, targets(checked)[0])
    assert (others.title, norms.title) == ("all others", "kind norm")
    found = curve_of(checked, others)
    assert isinstance(found, Curve)
    assert found.points == (0.6,) * 4
    tried = tried_curve(checked, norms, Curve((0.5,) * 4))
    assert tried is not None
    assert tried.schedule == schedule_of([{"kind": "norm", "value": 0.5}, {"value": 0.6}]), "the others stay"
    written = write_curve(text, checked, others, Curve((0.0, 0.1, 0.2, 0.3)))
    assert isinstance(written, str)
    assert "by: [{kind: norm, value: 0}, {value: [0, 0.3]}]" in written
