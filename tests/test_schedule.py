"""Selections and schedules against real tensor names."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from mergegraph.errors import Problem
from mergegraph.fields import Case, Rule, Schedule, Selector
from mergegraph.naming import role
from mergegraph.schedule import ResolvedSchedule, ScheduleValue, resolve_schedule, select
from mergegraph.selecting import Selection, parse_layers

_INNER = (
    "input_layernorm.weight",
    "self_attn.q_proj.weight",
    "self_attn.o_proj.weight",
    "mlp.up_proj.weight",
    "mlp.down_proj.weight",
)
TEXT = [f"model.layers.{layer}.{inner}" for layer in range(11) for inner in _INNER]
VISION = [f"visual.blocks.{layer}.attn.qkv.weight" for layer in range(5)]
OUTSIDE = ["model.embed_tokens.weight", "visual.patch_embed.proj.weight", "model.norm.weight", "lm_head.weight"]
NAMES = [*OUTSIDE[:2], *TEXT, *VISION, *OUTSIDE[2:]]


def resolved(schedule: ScheduleValue, names: Sequence[str] = NAMES) -> ResolvedSchedule:
    """Resolved without an error; warnings are let pass."""
    found, problems = resolve_schedule(schedule, names, field="by")
    assert not [problem for problem in problems if problem.severity == "error"]
    return found


def problems_of(schedule: ScheduleValue, names: Sequence[str] = NAMES, *, tied: bool = False) -> tuple[Problem, ...]:
    return resolve_schedule(schedule, names, field="by", tied=tied)[1]


# --- runs of layers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0:16", range(16)),
        (":8", range(8)),
        ("-4:", range(28, 32)),
        (":-30", range(2)),
        ("3:4", range(3, 4)),
        ("-4:-2", range(28, 30)),
        (":", range(32)),
        (" 2 : 5 ", range(2, 5)),
        ("-32:32", range(32)),  # the widest run there is
    ],
)
def test_a_run_of_layers_is_half_open_as_in_python(text: str, expected: range):
    assert parse_layers(text, 32) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0-15", ['"0:15" to leave layer 15 out', '"0:16" to take it in']),
        ("0..15", ['"0:15"', '"0:16"']),
        ("8 – 31", ['"8:31"', '"8:32"']),
        ("3", ['"3:4" for this one layer']),
        ("-4", ['"-4:-3" for this one layer']),
        ("-1", ['"-1:" for this one layer']),  # "-1:0" would be empty
        ("first", ['"0:16"', '"-4:"', '":8"']),
        ("", ['"0:16"']),
        ("0:16:2", ['"0:16"']),
        ("0:33", ["reaches to 33", "32 layers"]),  # a truncated stack would be a silent loss
        ("-33:", ["reaches to -33"]),
        ("16:8", ["none of 32 layers"]),
        ("9" * 5000, ["not a run of layers"]),  # Python refuses integers of more than 4300 digits
        ("9" * 5000 + ":", ["not a run of layers"]),
    ],
)
def test_a_run_that_cannot_be_meant_says_what_to_write(text: str, says: list[str]):
    with pytest.raises(ValueError, match="layers") as raised:
        parse_layers(text, 32)
    assert all(each in str(raised.value) for each in says)


@given(st.integers(-20, 20), st.integers(-20, 20), st.integers(1, 15))
def test_a_run_is_pythons_slice_or_an_error(start: int, stop: int, count: int):
    expected = list(range(count))[start:stop]
    if expected and -count <= start <= count and -count <= stop <= count:
        assert list(parse_layers(f"{start}:{stop}", count)) == expected
    else:
        with pytest.raises(ValueError, match="layers"):
            parse_layers(f"{start}:{stop}", count)


# --- selections


@pytest.mark.parametrize(
    ("selector", "count", "example"),
    [
        (Selector(), len(NAMES), "lm_head.weight"),
        (Selector(kind="attention"), 22 + 5, "visual.blocks.0.attn.qkv.weight"),
        (Selector(kind="attention", part="q"), 11, "model.layers.10.self_attn.q_proj.weight"),
        (Selector(part="down"), 11, "model.layers.10.mlp.down_proj.weight"),
        (Selector(match="*.mlp.*"), 22, "model.layers.0.mlp.up_proj.weight"),
        (Selector(match="lm_head.weight"), 1, "lm_head.weight"),
        (Selector(match="model.layers.[13].mlp.up*"), 2, "model.layers.3.mlp.up_proj.weight"),
        (Selector(layers="-1:"), 5 + 1, "visual.blocks.4.attn.qkv.weight"),  # the last of each tower
        (Selector(layers="8:40"), 3 * 5, "model.layers.8.mlp.up_proj.weight"),  # beyond the end there is nothing
        (Selector(layers=":"), 55 + 5, "visual.blocks.0.attn.qkv.weight"),  # not what is outside the layers
        (Selector(layers="0:2", kind="mlp", match="*up*"), 2, "model.layers.1.mlp.up_proj.weight"),
        (Case.model_validate({"kind": "head", "from": "chat"}), 1, "lm_head.weight"),  # a case is a selector
    ],
)
def test_every_condition_of_a_selector_must_hold(selector: Selector, count: int, example: str):
    selected, problems = select(selector, NAMES, field="except")
    assert len(selected) == count
    assert example in selected
    assert problems == ()
    selection = Selection(selector, NAMES)
    assert selected == {name for name in NAMES if selection.matches(name)}


def test_a_glob_is_case_sensitive():
    assert not Selection(Selector(match="LM_head*"), NAMES).matches("lm_head.weight")


@pytest.mark.parametrize(
    ("selector", "severity", "says"),
    [
        (Selector(match="*slef_attn.q*"), "error", ["*slef_attn.q*", "model.layers.0.self_attn.q_proj.weight"]),
        (Selector(match="model.layer.*.mlp.down*"), "error", ["nearest", "model.layers.0.mlp.down_proj.weight"]),
        (Selector(match="q_proj"), "error", ["whole name", 'match: "*q_proj*"']),
        (Selector(match="q_proj", kind="head"), "error", ["whole name"]),
        (Selector(kind="expert"), "warning", ["kind expert", "kinds here: attention, embedding, head, mlp, norm"]),
        (Selector(part="gate"), "warning", ["part gate"]),
        (Selector(layers="11:"), "warning", ['layers "11:"', "model.layers has 11 layers", "visual.blocks has 5"]),
        (Selector(match="*.mlp.*", kind="head"), "warning", ['match "*.mlp.*", kind head']),  # each hits, not both
        (Selector(layers="0-15"), "error", ['"0:15"', '"0:16"']),
        (Selector(layers="3"), "error", ['"3:4"']),
    ],
)
def test_a_selector_that_hits_nothing_says_so(selector: Selector, severity: str, says: list[str]):
    selected, problems = select(selector, NAMES, field="except")
    assert not selected
    (problem,) = problems
    assert problem.severity == severity
    assert problem.fact.startswith("except")
    assert all(each in str(problem) for each in says)


TIED_RULES: list[tuple[list[Rule], str, str]] = [
    ([Rule(kind="embedding", value=0.2), Rule(kind="head", value=0.7), Rule(value=0.5)],
     "rule 2 gives the head 0.7, rule 1 gives model.embed_tokens.weight 0.2", "both are named"),
    ([Rule(kind="head", value=0.1), Rule(value=0.5)],
     "rule 1 gives the head 0.1, rule 2 gives model.embed_tokens.weight 0.5", "the last rule is the embedding's"),
    ([Rule(kind="head", value=(0.5, 0.1)), Rule(value=0.5)],
     "rule 1 gives the head 0.1, rule 2 gives model.embed_tokens.weight 0.5", "a head has a gradient's last value"),
    ([Rule(kind="head", value=0.5), Rule(value=0.5)], "", "the same number"),
    ([Rule(kind="head", value=(0.1, 0.5)), Rule(value=(0.5, 0.1))], "", "the same number, of two gradients"),
    ([Rule(value=(0.1, 0.5))], "", "no rule of the head's: the embedding's value applies"),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "why", "reason"), TIED_RULES, ids=[each[2] for each in TIED_RULES])
def test_a_tied_head_with_another_number_than_its_embedding_is_refused(rules: list[Rule], why: str, reason: str):
    found = problems_of(tuple(rules), NAMES[:-1], tied=True)
    assert [(problem.severity, problem.why) for problem in found] == ([("error", why)] if why else []), reason


def test_a_tied_heads_rule_after_one_that_takes_everything_is_never_reached():
    (problem,) = problems_of((Rule(value=0.5), Rule(kind="head", value=0.1)), NAMES[:-1], tied=True)
    assert problem.fact == "Rule 2 of by is never reached: rule 1 has no condition."
    assert problem.severity == "warning"


def test_a_position_embedding_is_not_what_a_head_is_tied_to():
    names = ["h.0.attn.c_attn.weight", "wpe.weight", "wte.weight"]
    rules = (Rule(match="wte*", value=0.2), Rule(kind="head", value=0.7), Rule(value=0.7))
    (problem,) = problems_of(rules, names, tied=True)
    assert problem.why == "rule 2 gives the head 0.7, rule 1 gives wte.weight 0.2"
    assert problems_of((Rule(match="wpe*", value=0.2), *rules[1:]), names, tied=True) == ()


def test_a_head_that_is_tied_has_nothing_to_compare_without_an_embedding():
    names = [name for name in NAMES[:-1] if "embed" not in name]
    (problem,) = problems_of((Rule(kind="head", value=0.1), Rule(value=0.5)), names, tied=True)
    assert problem.fact == "Rule 1 of by: head is tied, the embedding's value applies."
    assert problem.severity == "warning"


def test_a_glob_for_a_tied_head_says_that_it_is_tied():
    (problem,) = problems_of((Rule(match="lm_head*", value=0.1), Rule(value=0.5)), NAMES[:-1], tied=True)
    assert problem.severity == "error"
    assert "tied" in problem.why


def test_a_tied_model_that_stores_its_head_has_a_head():
    assert problems_of((Rule(kind="head", value=0.1), Rule(value=0.5)), NAMES, tied=True) == ()


def test_of_no_tensors_a_plain_number_is_no_problem():
    assert problems_of(0.5, []) == ()


# --- numbers and gradients


@pytest.mark.parametrize(
    ("number", "fraction"),
    [(0.1, Fraction(1, 10)), (1e-7, Fraction(1, 10**7)), (3, Fraction(3)), (-0.25, Fraction(-1, 4)), (1e22, 10**22)],
)
def test_a_number_is_the_exact_fraction_of_its_decimals(number: float, fraction: Fraction):
    assert {resolved(number).value(name) for name in NAMES} == {fraction}


@pytest.mark.parametrize(
    ("values", "name", "expected"),
    [
        ((0.4, 0.8), "model.layers.0.mlp.up_proj.weight", "0.4"),
        ((0.4, 0.8), "model.layers.5.mlp.up_proj.weight", "0.6"),
        ((0.4, 0.8), "model.layers.10.mlp.up_proj.weight", "0.8"),
        ((0.4, 0.8), "model.layers.1.mlp.up_proj.weight", "0.44"),
        ((0.4, 0.8), "visual.blocks.1.attn.qkv.weight", "0.5"),  # its own tower has 5 layers
        ((0.4, 0.8), "visual.blocks.4.attn.qkv.weight", "0.8"),
        ((0.0, 1.0, 0.0), "model.layers.5.mlp.up_proj.weight", "1"),
        ((0.0, 1.0, 0.0), "model.layers.6.mlp.up_proj.weight", "0.8"),
        ((0.0, 1.0, 0.0, 3.0), "model.layers.1.mlp.up_proj.weight", "0.3"),
        ((0.7,), "model.layers.3.mlp.up_proj.weight", "0.7"),
        ((0.7,), "lm_head.weight", "0.7"),
        ((0.4, 0.8), "model.embed_tokens.weight", "0.4"),
        ((0.4, 0.8), "visual.patch_embed.proj.weight", "0.4"),
        ((0.4, 0.8), "model.norm.weight", "0.8"),
        ((0.4, 0.8), "lm_head.weight", "0.8"),
        (tuple(float(value) for value in range(21)), "model.layers.3.mlp.up_proj.weight", "6"),  # more than layers
    ],
)
def test_a_gradient_is_straight_between_its_values(values: tuple[float, ...], name: str, expected: str):
    assert resolved(values).value(name) == Fraction(expected)


def test_a_norm_of_the_embedding_takes_the_first_value():
    names = ["bert.embeddings.LayerNorm.weight", "bert.pooler.dense.weight"]
    assert [resolved((0.1, 0.9), names).value(name) for name in names] == [Fraction("0.1"), Fraction("0.9")]


def test_a_gradient_over_one_layer_is_its_first_value():
    assert resolved((0.1, 0.9), ["h.0.ln_1.weight"]).value("h.0.ln_1.weight") == Fraction("0.1")


@pytest.mark.parametrize(
    ("values", "layers", "idle"),
    [
        pytest.param((0.1, 0.2, 0.3), 2, "0.2 counts", id="between the only two layers"),
        pytest.param((0.1, 0.2, 0.3, 0.4), 1, "0.2 and 0.3 count", id="one layer; the last is for what comes after it"),
        pytest.param((0.1, 0.2, 0.3, 0.4, 0.5), 4, "", id="more than layers, and each layer lies between two of them"),
        pytest.param((0.1, 0.2), 1, "", id="the ends count for tensors outside the layers"),
        pytest.param((0.1, 0.2, 0.3), 0, "", id="no layers"),
    ],
)
def test_a_value_of_a_gradient_that_no_layer_takes_is_a_warning(values: tuple[float, ...], layers: int, idle: str):
    names = ["lm_head.weight", *[f"h.{layer}.w" for layer in range(layers)]]
    _, problems = resolve_schedule(values, names, field="by")
    assert [problem.severity for problem in problems] == (["warning"] if idle else [])
    assert all(f" {idle} for none." in problem.fact for problem in problems)


# --- rules

RULES = (
    Rule(kind="embedding", value=0.2),
    Rule(kind="attention", value=(0.4, 0.8)),
    Rule(value=0.6),
)


@pytest.mark.parametrize(
    ("name", "rule", "value"),
    [
        ("model.embed_tokens.weight", 0, "0.2"),
        ("model.layers.0.self_attn.q_proj.weight", 1, "0.4"),
        ("model.layers.10.self_attn.o_proj.weight", 1, "0.8"),
        ("model.layers.10.mlp.up_proj.weight", 2, "0.6"),
        ("lm_head.weight", 2, "0.6"),
    ],
)
def test_the_first_rule_that_matches_decides(name: str, rule: int, value: str):
    schedule = resolved(RULES)
    assert schedule.rule(name) == rule
    assert schedule.value(name) == Fraction(value)


def test_a_sound_schedule_has_no_problems():
    assert problems_of(RULES) == ()


def test_a_gradient_within_layers_runs_over_the_whole_tower():
    schedule = resolved((Rule(layers="5:", value=(0.0, 1.0)), Rule(value=7.0)))
    assert schedule.value("model.layers.5.mlp.up_proj.weight") == Fraction("0.5")


def test_tensors_without_a_rule_are_an_error_that_names_the_first():
    schedule, problems = resolve_schedule((Rule(kind="attention", value=1.0),), NAMES, field="weight")
    (problem,) = problems
    assert problem.severity == "error"
    assert problem.fact == (
        "No rule of weight matches 37 tensors: model.embed_tokens.weight, visual.patch_embed.proj.weight, "
        "model.layers.0.input_layernorm.weight and 34 more."
    )
    assert "{value: …}" in problem.fix
    assert schedule.rule("lm_head.weight") is None
    with pytest.raises(KeyError, match="lm_head"):
        schedule.value("lm_head.weight")


def test_a_rule_that_cannot_be_read_hides_no_other_problem_and_makes_none():
    rules = (Rule(layers="0-15", value=1.0), Rule(match="*nowhere*", value=1.0), Rule(kind="attention", value=1.0))
    facts = [problem.fact for problem in problems_of(rules)]
    assert len(facts) == 2
    assert facts[0].startswith("Rule 1 of by: layers")
    assert facts[1].startswith("Rule 2 of by matches no tensor")


@pytest.mark.parametrize(
    ("rules", "fact"),
    [
        (
            (Rule(value=1.0), Rule(kind="mlp", value=2.0)),
            "Rule 2 of by is never reached: rule 1 has no condition.",
        ),
        (
            (Rule(match="*", value=1.0), Rule(kind="mlp", value=2.0)),
            "Rule 2 of by decides nothing: earlier rules take its 22 tensors.",
        ),
        (
            (Rule(part="up", value=1.0), Rule(part="down", value=2.0), Rule(kind="mlp", value=3.0), Rule(value=4.0)),
            "Rule 3 of by decides nothing: earlier rules take its 22 tensors.",  # two rules together shadow it
        ),
    ],
)
def test_a_rule_that_never_decides_is_a_warning(rules: tuple[Rule, ...], fact: str):
    (problem,) = problems_of(rules)
    assert (problem.fact, problem.severity) == (fact, "warning")
    assert problem.fix


def test_a_schedule_read_from_a_recipe_resolves():
    written = [{"kind": "norm", "value": 1}, {"layers": "-1:", "value": [0.5]}, {"value": [0, 1]}]
    schedule = resolved(TypeAdapter[ScheduleValue](Schedule).validate_python(written))
    assert schedule.value("model.layers.10.mlp.up_proj.weight") == Fraction("0.5")
    assert schedule.value("model.layers.10.input_layernorm.weight") == 1
    assert schedule.value("model.layers.1.mlp.up_proj.weight") == Fraction("0.1")


# --- properties

decimals = st.integers(-300, 300).map(lambda hundredths: hundredths / 100)
values = decimals | st.lists(decimals, min_size=1, max_size=5).map(tuple)
rules = st.builds(
    Rule,
    match=st.sampled_from([None, None, "*", "model.*", "*.mlp.*", "*.weight", "*q*"]),
    kind=st.sampled_from([None, None, "attention", "mlp", "norm", "head", "embedding"]),
    part=st.sampled_from([None, None, None, "q", "down"]),
    layers=st.sampled_from([None, None, ":3", "2:7", "-4:", ":"]),
    value=values,
)
rule_lists = st.lists(rules, min_size=1, max_size=5).map(lambda drawn: (*drawn, Rule(value=9.0)))


@given(rule_lists)
def test_first_match_wins(drawn: tuple[Rule, ...]):
    schedule = resolve_schedule(drawn, NAMES, field="by")[0]
    for name in NAMES:
        matching = [index for index, rule in enumerate(drawn) if Selection(rule, NAMES).matches(name)]
        assert schedule.rule(name) == matching[0]
        assert schedule.value(name) == resolved(drawn[matching[0]].value).value(name)


@given(rule_lists)
def test_every_tensor_is_decided_once_and_idle_rules_are_reported(drawn: tuple[Rule, ...]):
    schedule, problems = resolve_schedule(drawn, NAMES, field="by")
    decided = [schedule.rule(name) for name in NAMES]
    shares = [decided.count(index) for index in range(len(drawn))]
    assert sum(shares) == len(NAMES)
    assert sum(share == 0 for share in shares) == len(problems)


@given(st.lists(decimals, min_size=1, max_size=9), st.integers(1, 40))
def test_a_gradient_starts_and_ends_at_its_ends_and_stays_between(drawn: list[float], count: int):
    names = [f"h.{layer}.ln_1.weight" for layer in range(count)]
    along = [resolved(tuple(drawn), names).value(name) for name in names]
    assert along[0] == Fraction(repr(drawn[0]))
    assert count == 1 or along[-1] == Fraction(repr(drawn[-1]))
    assert min(drawn) - 1e-9 <= min(along) <= max(along) <= max(drawn) + 1e-9


@given(st.lists(decimals, min_size=1, max_size=9), st.integers(1, 40), st.booleans())
def test_a_gradient_of_sorted_values_is_sorted(drawn: list[float], count: int, falling: bool):
    names = [f"h.{layer}.ln_1.weight" for layer in range(count)]
    schedule = resolved(tuple(sorted(drawn, reverse=falling)), names)
    along = [schedule.value(name) for name in names]
    assert along == sorted(along, reverse=falling)


@given(st.lists(decimals, min_size=2, max_size=6), st.integers(1, 7))
def test_a_gradient_goes_through_every_value_that_falls_on_a_layer(drawn: list[float], apart: int):
    names = [f"h.{layer}.ln_1.weight" for layer in range((len(drawn) - 1) * apart + 1)]
    schedule = resolved(tuple(drawn), names)
    assert [schedule.value(name) for name in names[::apart]] == [Fraction(repr(value)) for value in drawn]


# --- cost


def test_of_twenty_thousand_names_each_is_read_once():
    names = [
        f"model.layers.{index // 250}.mlp.experts.{index % 250 // 2}.{('up', 'down')[index % 2]}_proj.weight"
        for index in range(20_000)
    ]
    drawn = (
        Rule(match="*layers.1?.*", value=0.1),
        Rule(layers="-8:-4", kind="expert", value=0.5),
        Rule(part="up", layers="20:30", value=(0.4, 0.8)),
        Rule(part="down", value=(0.4, 0.8)),
        Rule(value=(0.6, 0.1, 0.3)),
    )
    role.cache_clear()
    schedule = resolved(drawn, names)
    assert len({schedule.value(name) for name in names}) > 5
    assert role.cache_info().misses == len(names)
