"""Programs: steps on numbered slots, worked through here with exact fractions in place of tiles."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mergegraph.errors import RecipeError
from mergegraph.expr import Apply, Cast, Expr, Linear, Read, apply, cast, linear, read
from mergegraph.plan import program
from mergegraph.plan.emit import as_single
from mergegraph.plan.program import computation
from mergegraph.plan.steps import Accumulate, Call, Copy, Fetch, Program, Scaled, Store, Zero
from tests.plan.small_plans import planned, vector, write_vectors

READS = tuple(read(f"file{n}", "w", "F32", (4,), 0, 16) for n in range(6))
HALF_READ = read("half", "w", "BF16", (4,), 0, 8)
DOUBLE_READ = read("double", "w", "F64", (4,), 0, 32)
VALUES = {each: Fraction(prime) for each, prime in zip(READS, (2, 3, 5, 7, 11, 13), strict=True)}


def clamped(x: Fraction, *within: Fraction) -> Fraction:
    return min(max(x, min(within)), max(within))


def wanted(expr: Expr) -> Fraction:
    """What an expression is worth, from its definition."""
    match expr:
        case Read():
            return VALUES[expr]
        case Linear():
            return sum((Fraction(float(c)) * wanted(x) for c, x in expr.terms), Fraction(0))
        case Apply():
            return clamped(*map(wanted, expr.operands))
        case Cast():
            return wanted(expr.operand)


def interpreted(roots: Sequence[Expr]) -> list[Fraction]:
    """The roots, by the program's steps. A slot that is read before it is written is a KeyError."""
    work = computation(roots)
    slots: dict[int, Fraction] = {}
    stored: dict[int, Fraction] = {}
    for step in work.program.steps:
        match step:
            case Fetch(slot, number, _):
                slots[slot] = VALUES[work.reads[number]]
            case Zero(slot):
                slots[slot] = Fraction(0)
            case Scaled(slot, source, coefficient):
                slots[slot] = Fraction(coefficient) * slots[source]
            case Accumulate(slot, source, coefficient):
                slots[slot] = slots[slot] + Fraction(coefficient) * slots[source]
            case Call(slot, _, sources, _, scratch):
                assert len({slot, *scratch}.difference(sources)) == 1 + len(scratch), "a kernel's operands are kept"
                slots |= dict.fromkeys(scratch, Fraction(10**9))
                slots[slot] = clamped(*(slots[source] for source in sources))
            case Store(root, slot, _):
                stored[root] = slots[slot]
            case Copy(root, number, _):
                stored[root] = VALUES[work.reads[number]]
        assert all(slot < work.program.slots for slot in slots)
    return [stored[root] for root in range(len(roots))]


def of_kind(made: Program, kind: type[object]) -> int:
    return sum(isinstance(step, kind) for step in made.steps)


def summed(count: int) -> Expr:
    return linear([(Fraction(n + 1), x) for n, x in enumerate(READS[:count])], "weights")


dyadic = st.integers(-8, 8).filter(bool).map(lambda n: Fraction(n, 4))
"""Coefficients that float32 holds exactly, so that fractions and steps must agree to the last bit."""


@st.composite
def expressions(draw: st.DrawFn) -> list[Expr]:
    """A few roots over shared sub-expressions."""
    made: list[Expr] = list(READS[:4])
    for _ in range(draw(st.integers(1, 8))):
        operands = draw(st.lists(st.sampled_from(made), min_size=1, max_size=4))
        if draw(st.integers(0, 3)):
            made.append(linear([(draw(dyadic), x) for x in operands], "weights"))
        else:
            made.append(apply("clamp", [draw(st.sampled_from(made)), *operands], (), "weights"))
    picked = draw(st.lists(st.sampled_from(made), min_size=1, max_size=4))
    return [cast(x, draw(st.sampled_from(["F32", "BF16"]))) for x in picked]


@given(expressions())
def test_the_steps_give_what_the_expression_says(roots: list[Expr]) -> None:
    assert interpreted(roots) == [wanted(root) for root in roots]


@given(expressions())
def test_every_read_is_fetched_once(roots: list[Expr]) -> None:
    fetched = Counter(step.read for step in computation(roots).program.steps if isinstance(step, Fetch))
    assert set(fetched.values()) <= {1}


@given(expressions())
def test_roots_are_stored_in_order_and_once(roots: list[Expr]) -> None:
    stored = [step.root for step in computation(roots).program.steps if isinstance(step, Store | Copy)]
    assert stored == list(range(len(roots)))


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6])
def test_a_sum_needs_two_slots_however_many_terms(count: int) -> None:
    made = computation([cast(summed(count), "F32")]).program
    assert made.slots == 2
    assert of_kind(made, Fetch) == count


BASE, A, B = READS[:3]
_difference = linear([(Fraction(1), A), (Fraction(-1), BASE)], "delta")
_moved = linear([(Fraction(1), BASE), (Fraction(3, 5), _difference)], "weights")

SLOTS: list[tuple[str, list[Expr], int]] = [
    ("a copy goes from staging to staging", [BASE], 0),
    ("a cast needs the value", [cast(BASE, "BF16")], 1),
    ("zero is written in place", [cast(linear([], "delta"), "F32")], 1),
    ("scaling is in place", [cast(linear([(Fraction(2), BASE)], "weights"), "F32")], 1),
    ("base + c (a - base): the base, the difference, the sum", [cast(_moved, "F32")], 3),
    (
        "clamp: three operands, the result, and its one scratch tile",
        [cast(apply("clamp", [_moved, A, B], (), "weights"), "F32")],
        5,
    ),
    ("two casts of one value share it", [cast(summed(2), "F32"), cast(summed(2), "BF16")], 2),
    ("two unrelated sums use the same slots in turn", [cast(summed(2), "F32"), cast(summed(3), "F32")], 3),
]


@pytest.mark.parametrize(("why", "roots", "slots"), SLOTS, ids=[why for why, *_ in SLOTS])
def test_slots_are_reused(why: str, roots: list[Expr], slots: int) -> None:
    assert computation(roots).program.slots == slots, why


BITS: list[tuple[str, list[Expr], tuple[bool, int, int]]] = [
    ("float32 is read straight into its slot", [cast(summed(2), "F32")], (False, 0, 32)),
    (
        "bfloat16 is staged to be widened",
        [cast(linear([(Fraction(2), HALF_READ)], "weights"), "BF16")],
        (False, 16, 16),
    ),
    ("the widest output counts", [cast(summed(2), "BF16"), cast(summed(2), "F32")], (False, 0, 32)),
    ("a copy is staged whatever its dtype", [BASE], (False, 32, 0)),
    (
        "float64 anywhere means float64; float32 is widened",
        [cast(linear([(Fraction(1), BASE), (Fraction(1), DOUBLE_READ)], "weights"), "F32")],
        (True, 32, 32),
    ),
    ("a float64 that is only copied is not computed on", [DOUBLE_READ], (False, 64, 0)),
]


@pytest.mark.parametrize(("why", "roots", "bits"), BITS, ids=[why for why, *_ in BITS])
def test_staging_is_as_wide_as_what_passes_through(why: str, roots: list[Expr], bits: tuple[bool, int, int]) -> None:
    made = computation(roots).program
    assert (made.double, made.raw_bits, made.out_bits) == bits, why


def test_tensors_that_differ_only_in_what_they_read_share_a_program() -> None:
    one, other = (
        cast(linear([(Fraction(1, 2), x), (Fraction(1, 2), y)], "weights"), "F32") for x, y in pairwise(READS[:3])
    )
    assert computation([one]).program is computation([other]).program
    assert computation([one]).reads != computation([other]).reads


def test_another_coefficient_is_another_program() -> None:
    one, other = (cast(linear([(Fraction(n), A)], "weights"), "F32") for n in (2, 3))
    assert computation([one]).program is not computation([other]).program


def nearest_single(number: Fraction) -> float:
    """By the definition: the closer neighbour, at a tie the even one. numpy's cast of a float64 finds a start."""
    around = np.float32(float(number))
    neighbours = [np.nextafter(around, np.float32(-np.inf)), around, np.nextafter(around, np.float32(np.inf))]
    return float(min(neighbours, key=lambda x: (abs(Fraction(float(x)) - number), int(x.view(np.uint32)) & 1)))


within_range = st.fractions(-(10**30), 10**30) | st.fractions(-2, 2, max_denominator=10**12)


@given(within_range)
def test_a_coefficient_is_the_nearest_float32(number: Fraction) -> None:
    assert as_single(number) == nearest_single(number)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float32_stays_itself(number: float) -> None:
    assert as_single(Fraction(number)) == number


ULP = Fraction(1, 2**23)
SMALLEST = Fraction(1, 2**149)
ROUNDED: list[tuple[str, Fraction, Fraction]] = [
    ("a tie goes to the even neighbour below", 1 + ULP / 2, Fraction(1)),
    ("a tie goes to the even neighbour above", 1 + 3 * ULP / 2, 1 + 2 * ULP),
    ("a hair above a tie, which float64 would call a tie", 1 + ULP / 2 + Fraction(1, 2**80), 1 + ULP),
    ("a hair below a tie, which float64 would call a tie", 1 + 3 * ULP / 2 - Fraction(1, 2**80), 1 + ULP),
    ("the same below zero", -(1 + ULP / 2 + Fraction(1, 2**80)), -(1 + ULP)),
    ("subnormal numbers are numbers", 3 * SMALLEST, 3 * SMALLEST),
    ("half the smallest is a tie with zero", SMALLEST / 2, Fraction(0)),
    ("a hair above half the smallest", SMALLEST / 2 + SMALLEST / 2**60, SMALLEST),
    ("a hair above half the smallest, below zero", -(SMALLEST / 2 + SMALLEST / 2**60), -SMALLEST),
    ("far too small is zero", Fraction(1, 10**400), Fraction(0)),
    ("the largest float32", (2 - ULP) * 2**127, (2 - ULP) * 2**127),
    ("zero", Fraction(0), Fraction(0)),
]


@pytest.mark.parametrize(("why", "number", "rounded"), ROUNDED, ids=[why for why, *_ in ROUNDED])
def test_rounding_of_coefficients(why: str, number: Fraction, rounded: Fraction) -> None:
    assert Fraction(as_single(number)) == rounded, why
    assert struct.pack("<f", as_single(number)), "it is a float32"


def test_the_number_is_rounded_for_the_dtype_that_computes() -> None:
    third = Fraction(1, 3)
    for operand, number in [(BASE, as_single(third)), (DOUBLE_READ, 1 / 3)]:
        steps = computation([cast(linear([(third, operand)], "weights"), "F32")]).program.steps
        assert [step.coefficient for step in steps if isinstance(step, Scaled)] == [number]
    assert program.as_double(third) == 1 / 3 != as_single(third)


ONCE, TWICE = (
    "d: {op: scale, input: a, by: %s}",
    "one: {op: scale, input: a, by: %s}\nd: {op: scale, input: one, by: %s}",
)
NEARLY_ZERO = "one: {op: soup, inputs: [{from: a, weight: 1}, {from: b, weight: -0.9999999999999999}]}"
HUGE = [
    ("one number that float32 cannot hold", ONCE % "1e39", "1.00e+39"),
    ("two that can, and whose product cannot", TWICE % ("1e30", "-1e30"), "1.00e+60"),
    ("a product beyond any float", TWICE % ("1e300", "1e300"), "1.00e+600"),
    ("a sum of weights close to zero", f"{NEARLY_ZERO}\nd: {{op: scale, input: one, by: 1e30}}", "1.00e+46"),
]


@pytest.mark.parametrize(("why", "nodes", "shown"), HUGE, ids=[why for why, *_ in HUGE])
def test_a_number_beyond_float32_is_refused_before_anything_is_read(
    why: str, nodes: str, shown: str, tmp_path: Path
) -> None:
    write_vectors(tmp_path, ("a", "b"))
    last = nodes.splitlines()[-1].split(":")[0]
    with pytest.raises(RecipeError) as caught:
        planned(tmp_path, f"{nodes}\nout: {{op: save, input: {last}, path: out}}")
    (problem,) = caught.value.problems
    assert f"A coefficient of {shown} is beyond float32" in problem.fact, why
    assert (problem.node, problem.tensor) == (last, "w")
    assert problem.at is not None


def test_float64_holds_what_float32_cannot(tmp_path: Path) -> None:
    write_vectors(tmp_path, (), a={"w": vector(0, dtype=torch.float64)})
    plan = planned(tmp_path, "m: {op: scale, input: a, by: 1e39}\nout: {op: save, input: m, path: out}")
    assert len(plan.outputs) == 1
