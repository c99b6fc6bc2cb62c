"""Simplification: recipes above the line, plans below it, one case a file; then what holds for every recipe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergegraph.expr import Apply, Cast, Expr, Linear, Read, Space, apply, cast, linear, read
from mergegraph.plan.plan import Plan
from mergegraph.plan.rewrite import check, simplify
from mergegraph.walking import reads, walk
from tests.plan.small_plans import planned, value_of, write_vectors

FIXTURES = sorted((Path(__file__).parent / "fixtures").glob("*.txt"))
ONE = Fraction(1)


def exact(expr: Expr, plan: Plan) -> str:
    """The formula with its fractions, which the text of a plan rounds to six digits."""
    match expr:
        case Read():
            return next(file.label for file in plan.inputs if file.path == expr.path)
        case Cast():
            return exact(expr.operand, plan)
        case Apply():
            return f"{expr.kernel}({', '.join(exact(x, plan) for x in expr.operands)})"
        case Linear():
            return " ".join(_terms(expr, plan)) or "0"


def _terms(expr: Linear, plan: Plan) -> Iterator[str]:
    for index, (coefficient, operand) in enumerate(expr.terms):
        sign = ["-"] if coefficient < 0 else ["+"] if index else []
        number = [str(abs(coefficient))] if abs(coefficient) != 1 else []
        shown = exact(operand, plan)
        yield " ".join([*sign, *number, f"({shown})" if isinstance(operand, Linear) else shown])


def described(plan: Plan) -> str:
    """`out: float32 of 1/2 a + 1/2 b`, a line for each save."""
    lines: list[str] = []
    for output in plan.outputs:
        (tensor,) = output.tensors
        check(tensor.root)
        what = "copy" if tensor.is_copy else tensor.dtype.torch_name
        lines.append(f"{output.node}: {what} of {exact(tensor.root, plan)}")
    return "\n".join(lines)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vectors(tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize("case", FIXTURES, ids=lambda path: path.stem)
def test_a_recipe_becomes_the_plan_below_the_line(case: Path, models: Path) -> None:
    above, below = case.read_text().split("\n---\n")
    nodes = above if "op: save" in above else f"{above}\nout: {{op: save, input: m, path: out}}"
    assert described(planned(models, nodes)) == below.strip()


READS = tuple(read(f"file{n}", "w", "F32", (4,), 0, 16) for n in range(4))
Written = tuple[Expr, Expr]
"""An expression as the recipe says it, and simplified node by node."""


def net(expr: Expr) -> Counter[Expr]:
    """How often each read counts in the end, worked out top-down with nothing shared."""
    if not isinstance(expr, Linear):
        return Counter({expr: ONE})  # pyright: ignore[reportArgumentType]
    total: Counter[Expr] = Counter()
    for coefficient, operand in expr.terms:
        for leaf, count in net(operand).items():
            total[leaf] += coefficient * count  # pyright: ignore[reportArgumentType]
    return Counter({leaf: count for leaf, count in total.items() if count})


def node(space: Space, *terms: tuple[Fraction, Written]) -> Written:
    plain = linear([(c, x) for c, (x, _) in terms], space)
    return plain, simplify(linear([(c, x) for c, (_, x) in terms], space))


scalars = st.fractions(-2, 2, max_denominator=10)


@st.composite
def recipes(draw: st.DrawFn) -> Written:
    """The last node of a random graph of delta, scale, sum and soup nodes."""
    weights: list[Written] = [(x, x) for x in READS]
    deltas: list[Written] = [node("delta", (ONE, weights[1]), (-ONE, weights[0]))]
    last = deltas[0]
    for _ in range(draw(st.integers(1, 7))):
        op = draw(st.sampled_from(["delta", "scale", "sum", "sum", "soup"]))
        if op == "delta":
            pair = draw(st.lists(st.sampled_from(weights), min_size=2, max_size=2))
            last = node("delta", (ONE, pair[0]), (-ONE, pair[1]))
            deltas.append(last)
        elif op == "sum":
            added = draw(st.lists(st.sampled_from(deltas), min_size=1, max_size=3))
            last = node("weights", (ONE, draw(st.sampled_from(weights))), *((ONE, x) for x in added))
            weights.append(last)
        else:
            space: Space = draw(st.sampled_from(["weights", "delta"]))
            kind = weights if space == "weights" else deltas
            count = 1 if op == "scale" else draw(st.integers(1, 3))
            last = node(space, *((draw(scalars), draw(st.sampled_from(kind))) for _ in range(count)))
            kind.append(last)
    return last


@given(recipes())
def test_simplifying_changes_no_value(written: Written) -> None:
    plain, simplified = written
    assert net(simplified) == net(plain)
    check(simplified)


@given(recipes())
def test_weights_read_exactly_what_counts(written: Written) -> None:
    plain, simplified = written
    needed = set(net(plain))
    assert set(reads(simplified)) == needed if simplified.space == "weights" else set(reads(simplified)) >= needed


@given(recipes())
def test_simplifying_again_changes_nothing(written: Written) -> None:
    _, simplified = written
    assert simplify(simplified) is simplified


def test_a_cancelled_kernel_takes_its_reads_along() -> None:
    """c + (K(a) - base) - (K(a) - c'): the kernel's coefficient is 0, so a is not read."""
    base, a, b, c = READS
    kernel = apply("clamp", (a, a), (), "weights")
    differences = (linear([(ONE, kernel), (-ONE, base)], "delta"), linear([(ONE, kernel), (-ONE, b)], "delta"))
    kept = simplify(linear([(ONE, c), (ONE, differences[0]), (-ONE, differences[1])], "weights"))
    assert kept is linear([(ONE, c), (-ONE, base), (ONE, b)], "weights")


def test_a_diamond_costs_what_it_has_nodes() -> None:
    """Each of 60 levels uses the one below it twice, in two differences: 2^60 terms if each use were its own."""
    base, other, step, _ = READS
    one, two = (linear([(ONE, step), (-ONE, x)], "delta") for x in (base, other))
    made: Expr = step
    for _level in range(60):
        made = simplify(linear([(ONE, step), (ONE, one), (Fraction(1, 3), two)], "weights"))
        one, two = (simplify(linear([(ONE, made), (-ONE, x)], "delta")) for x in (base, other))
    check(made)
    assert sum(1 for _ in walk(made)) <= 3 + 60 * 3


BROKEN = {
    "a zero coefficient was kept": linear([(Fraction(0), READS[0])], "weights"),
    "an operand appears twice": linear([(ONE, READS[0]), (ONE, READS[0])], "weights"),
    "not flat": linear([(ONE, linear([(ONE, READS[0])], "weights"))], "weights"),
    "a cast below the root": linear([(ONE, cast(READS[0], "BF16"))], "weights"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_check_finds_what_is_not_simplified(broken: str) -> None:
    with pytest.raises(AssertionError, match=broken):
        check(BROKEN[broken])


def test_the_value_below_a_cast_is_what_is_simplified(models: Path) -> None:
    plan = planned(models, "m: {op: soup, inputs: [a, a]}\nout: {op: save, input: m, path: out, dtype: bf16}")
    assert isinstance(value_of(plan.outputs[0].tensors[0].root), Read)
