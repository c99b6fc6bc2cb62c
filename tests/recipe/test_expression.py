"""Expressions: which nodes they become, that those compute what Python would, and how mistakes are shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mergegraph.expr import Space
from mergegraph.methods.base import Method
from mergegraph.methods.linear import Delta, Negate, Scale, Soup, Sum
from mergegraph.recipe.expression import ExpressionError, expand, names
from mergegraph.recipe.grammar import with_names


def space_of(name: str) -> Space:
    """Names that start with d are deltas."""
    return "delta" if name.rpartition(".")[2].startswith("d") else "weights"


def shown(text: str) -> list[str]:
    """The nodes of an expression, one short line each."""
    return [f"{name} = {_line(method)}" for name, method in expand("m", text, space_of)]


def _line(method: Method) -> str:
    match method:
        case Delta(model=model, base=base):
            return f"{model} - {base}"
        case Scale(input=node, by=by):
            return f"{by} * {node}"
        case Negate(input=node):
            return f"-{node}"
        case Sum(inputs=inputs):
            return " + ".join(item.from_ for item in inputs)
        case Soup(inputs=inputs, normalize=normalize):
            parts = ", ".join(f"{item.weight} {item.from_}" for item in inputs)
            return f"soup({parts}{'' if normalize else ', as they are'})"
        case _:
            raise AssertionError(method)


EXPANSIONS: list[tuple[str, list[str], str]] = [
    (
        "base + 0.6*(code - base) + 0.7*(chat - base)",
        ["m.1 = code - base", "m.2 = 0.6 * m.1", "m.3 = chat - base", "m.4 = 0.7 * m.3", "m = base + m.2 + m.4"],
        "task arithmetic, in five nodes",
    ),
    ("0.5*a + 0.5*b", ["m = soup(0.5 a, 0.5 b)"], "an average"),
    ("2*a - b", ["m = soup(2.0 a, -1.0 b)"], "an extrapolation adds to 1 too"),
    ("a", ["m = 1.0 * a"], "another name for a node"),
    ("-d", ["m = -d"], "a delta turned round"),
    ("0.5*d", ["m = 0.5 * d"], "a delta scaled"),
    ("d*0.5*3", ["m = 1.5 * d"], "numbers on any side"),
    ("-0.5*-d", ["m = 0.5 * d"], "signs multiply"),
    ("code - base", ["m = code - base"], "a delta by itself"),
    ("-(code - base)", ["m.1 = code - base", "m = -m.1"], "a delta turned round"),
    ("base - d", ["m.1 = -d", "m = base + m.1"], "forgetting"),
    ("0.5*d + base", ["m.1 = 0.5 * d", "m = base + m.1"], "weights first"),
    ("d1 + d2 - 0.3*d3", ["m.1 = -0.3 * d3", "m = d1 + d2 + m.1"], "a sum of deltas"),
    ("0.5*(d1 + d2)", ["m.1 = 0.5 * d1", "m.2 = 0.5 * d2", "m = m.1 + m.2"], "a number goes into a parenthesis"),
    ("0.5*(a + b)", ["m = soup(0.5 a, 0.5 b)"], "a parenthesis that is no average by itself"),
    (
        "0.3*(0.5*a + 0.5*b) + 0.7*c",
        ["m.1 = soup(0.5 a, 0.5 b)", "m = soup(0.3 m.1, 0.7 c)"],
        "an average inside an average is one model",
    ),
    (
        "(0.5*a + 0.5*b) - base",
        ["m.1 = soup(0.5 a, 0.5 b)", "m = m.1 - base"],
        "the delta of an average",
    ),
    (
        "a + b - 2*base",
        ["m.1 = a - base", "m.2 = b - base", "m = m.1 + m.2"],
        "one negative term is the base of all",
    ),
    (
        "2*base - a - b",
        ["m.1 = a - base", "m.2 = -m.1", "m.3 = b - base", "m.4 = -m.3", "m = m.2 + m.4"],
        "one positive term is the base of all, negated",
    ),
    ("0.5*code - 0.5*base", ["m.1 = code - base", "m = 0.5 * m.1"], "c and -c"),
    ("(a - b) + (a - b)", ["m.1 = a - b", "m = 2.0 * m.1"], "equal terms are one"),
    ("base + a - base", ["m = 1.0 * a"], "terms that cancel are gone"),
    ("base + (a - base)", ["m.1 = a - base", "m = base + m.1"], "a parenthesis is kept as it is written"),
    ("(1 - 0.3)*a + 0.3*b", ["m = soup(0.7 a, 0.3 b)"], "arithmetic on numbers, in decimals"),
    ("0.1*a + 0.2*a + 0.7*b", ["m = soup(0.3 a, 0.7 b)"], "0.1 + 0.2 is 0.3"),
    ("a + 0*b", ["m = soup(1.0 a, 0.0 b)"], "a coefficient that a sweep takes to nought"),
    ("base + 0*(a - base)", ["m.1 = a - base", "m.2 = 0.0 * m.1", "m = base + m.2"], "likewise, of a delta"),
    ("0.1234567890123*0.9876543210987*d", ["m.1 = 0.9876543210987 * d", "m = 0.1234567890123 * m.1"], "26 digits"),
    (
        "0.1234567890123*(0.9876543210987*a) + 0.5*(b - a) + b - 0.1234567890123*(0.9876543210987*b)",
        [
            "m.1 = 0.1234567890123 * a",
            "m.2 = -0.1234567890123 * b",
            "m.3 = soup(0.9876543210987 m.1, 1.0 b, 0.9876543210987 m.2, as they are)",
            "m.4 = b - a",
            "m.5 = 0.5 * m.4",
            "m = m.3 + m.5",
        ],
        "an average with weights that no float can say",
    ),
    ("x.a@0.2,7-b", ["m = x.a@0.2,7 - b"], "names of includes and sweeps"),
    ("a − b", ["m = a - b"], "a minus sign from a word processor"),
    ("  a\n-\tb ", ["m = a - b"], "any white space"),
    ("1e-3*d", ["m = 0.001 * d"], "an exponent"),
]


@pytest.mark.parametrize(("text", "nodes", "reason"), EXPANSIONS, ids=[row[0].strip() for row in EXPANSIONS])
def test_an_expression_becomes_these_nodes(text: str, nodes: list[str], reason: str) -> None:
    assert shown(text) == nodes, reason


BROKEN: list[tuple[str, int | None, tuple[str, ...], str]] = [
    ("a / 2", 2, ('"/" at column 3', "multiply"), "division"),
    ("./models/base", 0, ("the place of a model", "under `models:`"), "a path, which belongs under models"),
    ("~/base", 0, ("the place of a model", "`base: ~/base`"), "a path from the home folder"),
    ("org/name@main", 0, ("the place of a model",), "an id of the Hub"),
    ("s3://bucket/base", 0, ("the place of a model",), "an address"),
    ("a ^ 2", 2, ("no powers",), "a power"),
    ("a b", 2, ("operator",), "two names"),
    ("2 a", 2, ("write 2*a",), "a number and a name"),
    ("2(a)", 1, ("write 2*(…)",), "a number and a parenthesis"),
    ("0.5a", 3, ("write 0.5*a",), "a number that is part of a name, as in algebra"),
    ("2 3", 2, ("operator",), "two numbers"),
    ("a(b)", 1, ("operator",), "a parenthesis after the name of a node"),
    ("base + ties(a, b)", 7, ('"ties" is no function', "make a node of it", "{op: ties, inputs:"), "an op called"),
    ("mean(a, b)", 0, ('"mean" is no function', "0.5*a + 0.5*b"), "an average called"),
    ("task_vector(a, b)", 0, ("no function", "{op: delta, model: a, base: b"), "an op called as papers call it"),
    ("a + ", 3, ("ends too early",), "no last term"),
    ("", 0, ("ends too early",), "nothing"),
    ("* a", 0, ('"*"',), "no first factor"),
    ("a ** b", 3, ('"*"',), "a power of Python"),
    ("(a + b", 6, ('"(" at column 1 is not closed',), "an open parenthesis"),
    ("a + b)", 5, ('")"',), "a closing parenthesis too many"),
    ("a * b", 2, ("cannot be multiplied",), "two models multiplied"),
    ("a + 2", 4, ("cannot be added", "2*NAME"), "a number added"),
    ("2 + 3", 0, ("number alone",), "only numbers"),
    ("0,5*a", 1, ("0.5",), "a decimal comma"),
    ("a = b", 2, ("equals",), "an equals sign"),
    ("__import__('os')", 10, ("operator",), "a call"),
    ("a.b", None, (), "a dotted name is a name"),
    ("1e999*a", 0, ("outside the range",), "a number that is infinite"),
    ("1e-999*a", 0, ("outside the range",), "a number that is nought"),
    ("(1 + 0.00000000000000001)*a", 1, ("more digits",), "a sum of numbers that no float says"),
    ("(" * 101 + "a" + ")" * 101, 50, ("nested more than 100",), "too deep, and cut to what stands around"),
]


@pytest.mark.parametrize(("text", "column", "said", "reason"), BROKEN, ids=[row[3] for row in BROKEN])
def test_a_mistake_is_shown_with_a_caret(text: str, column: int | None, said: tuple[str, ...], reason: str) -> None:
    if column is None:
        assert names(text) == (text,), reason
        return
    with pytest.raises(ExpressionError) as caught:
        names(text)

    problem = caught.value.problem
    assert all(part in str(problem) for part in said), str(problem)
    line, caret = problem.why.split("\n")
    start = text.find(line[:20])
    assert start + caret.index("^") == column, str(problem)
    assert problem.fix


UNBALANCED: list[tuple[str, tuple[str, ...], str]] = [
    ("a + b", ("add to 2", "write 0.5*a + 0.5*b", "a + (b - BASE)"), "a sum of two models"),
    ("a + 3*b", ("add to 4", "0.25*a + 0.75*b"), "coefficients divided by their sum"),
    ("-a - b", ("add to -2", "0.5*a + 0.5*b"), "a negative sum"),
    ("a + b + c", ("add to 3", "{op: soup, inputs: [a, b, c]}"), "thirds are no decimals"),
    ("2*a", ("add to 2", "BASE + 2*(a - BASE)"), "one model, scaled"),
    ("a + b + d", ("add to 2", "a + (b - BASE)"), "two models and a delta"),
    ("3*(0.5*a + 0.5*b)", ("add to 3", "BASE + 3*((0.5*a + 0.5*b) - BASE)"), "an average, scaled"),
    ("(a + d) + (0.5*b + 0.5*c)", ("add to 2", "a + ((0.5*b + 0.5*c) - BASE)"), "a model and an average"),
    ("0.9*a", ("add to 0.9", "BASE + 0.9*(a - BASE)"), "one model, shrunk"),
    ("0.3333*a + 0.3333*b", ("add to 0.6666",), "nearly a third"),
    ("a - a", ("cancels out",), "nothing is left"),
    ("0*a", ("cancel out",), "nothing is left of weights"),
    ("a + b - c - e", ("2 models and 2 models", "(a - c)"), "a difference with no one base"),
]


@pytest.mark.parametrize(("text", "said", "reason"), UNBALANCED, ids=[row[0] for row in UNBALANCED])
def test_weights_that_do_not_add_up_are_explained(text: str, said: tuple[str, ...], reason: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        expand("m", text, space_of)

    assert all(part in str(caught.value) for part in said), str(caught.value)
    assert text in str(caught.value)
    assert caught.value.problem.fix, reason


def test_names_are_given_once_in_order_and_can_be_changed_in_place() -> None:
    text = " base+0.6*( x.code -base ) - 1e-3*d@0.5"

    assert names(text) == ("base", "x.code", "d@0.5")
    assert with_names(text, lambda name: f"y.{name}") == " y.base+0.6*( y.x.code -y.base ) - 1e-3*y.d@0.5"


ATOMS: Mapping[str, Fraction] = {
    "a": Fraction(17),
    "b": Fraction(-29),
    "c": Fraction(101, 7),
    "d1": Fraction(13, 3),
    "d2": Fraction(-5),
}
NUMBERS = st.decimals(-3, 3, allow_nan=False, places=2).map(lambda number: format(number, "f"))
EXPRESSIONS = st.recursive(
    st.sampled_from(sorted(ATOMS)),
    lambda inner: (
        st.tuples(inner, st.sampled_from("+-"), inner).map(lambda parts: f"({parts[0]} {parts[1]} {parts[2]})")
        | st.tuples(NUMBERS, inner).map(lambda parts: f"{parts[0]}*{parts[1]}")
        | st.tuples(inner, NUMBERS).map(lambda parts: f"{parts[0]}*{parts[1]}")
        | inner.map(lambda part: f"-{part}")
    ),
    max_leaves=8,
)


def value(nodes: list[tuple[str, Method]]) -> Fraction:
    """What the nodes compute when every tensor is one number; coefficients are the decimals of their floats."""
    values = dict(ATOMS)
    for name, method in nodes:
        values[name] = _computed(method, values.__getitem__)
    return values[nodes[-1][0]]


def _computed(method: Method, of: Callable[[str], Fraction]) -> Fraction:
    match method:
        case Delta(model=model, base=base):
            return of(model) - of(base)
        case Scale(input=node, by=float(by)):
            return Fraction(repr(by)) * of(node)
        case Negate(input=node):
            return -of(node)
        case Sum(inputs=inputs):
            return sum((of(item.from_) for item in inputs), Fraction(0))
        case Soup(inputs=inputs, normalize=normalize):
            weights = [Fraction(repr(item.weight)) for item in inputs]
            total = sum(weights, Fraction(0)) if normalize else Fraction(1)
            terms = (weight * of(item.from_) for weight, item in zip(weights, inputs, strict=True))
            return sum(terms, Fraction(0)) / total
        case _:
            raise AssertionError(method)


def python_value(text: str) -> Fraction:
    """What Python makes of the text, with exact fractions for its numbers."""
    exact = re.sub(r"(?<![\w.])\d+(?:\.\d+)?", lambda found: f'Fraction("{found[0]}")', text)
    return Fraction(eval(exact, {"Fraction": Fraction}, dict(ATOMS)))


def check_against_python(text: str) -> None:
    nodes = expand("m", text, space_of)

    spaces: dict[str, Space] = {name: space_of(name) for name in ATOMS}
    for name, method in nodes:
        spaces[name] = method.space([spaces[edge.node] for edge in method.edges()])
    assert value(nodes) == python_value(text)
    assert nodes[-1][0] == "m"
    assert len({name for name, _ in nodes}) == len(nodes)


@given(EXPRESSIONS)
def test_the_nodes_compute_what_python_computes(text: str) -> None:
    try:
        check_against_python(text)
    except ExpressionError as error:
        assume("add to" not in str(error) and "cancel" not in str(error) and "no one base" not in str(error))
        raise


WEIGHTS = st.sampled_from("abc")
DELTAS = st.sampled_from(["d1", "d2"])
DIFFERENCES = (
    st.tuples(WEIGHTS, WEIGHTS).filter(lambda pair: pair[0] != pair[1]).map(lambda pair: f"({pair[0]} - {pair[1]})")
)
SHIFTS = st.tuples(NUMBERS, DIFFERENCES | DELTAS).map(lambda parts: f"{parts[0]}*{parts[1]}")
AVERAGES = st.tuples(NUMBERS, WEIGHTS, WEIGHTS).map(
    lambda parts: f"({parts[0]}*{parts[1]} + (1 - {parts[0]})*{parts[2]})"
)


@given(WEIGHTS | AVERAGES, st.lists(SHIFTS, max_size=4))
def test_task_arithmetic_computes_what_python_computes(model: str, shifts: list[str]) -> None:
    check_against_python(" + ".join([model, *shifts]))


def test_a_long_sum_is_expanded_in_one_go() -> None:
    text = "base + " + " + ".join(f"0.001*(n{index} - base)" for index in range(2_000))

    nodes = expand("m", text, space_of)

    assert len(nodes) == 4_001
