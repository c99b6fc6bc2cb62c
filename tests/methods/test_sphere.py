"""nuslerp, multislerp, karcher where directions vanish, weights are odd, or an angle belongs to a row or column."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from torch import Tensor

from mergegraph.errors import RunError
from mergegraph.expr import Apply
from mergegraph.methods.base import SpaceError
from mergegraph.methods.registry import kernels
from mergegraph.walking import walk
from tests.methods.bench import Models, expression, normal
from tests.methods.outcome import node, objection, outcome, rows
from tests.methods.test_kernels import Bench, given_stats

X, Y = normal(1, torch.float32, (5, 7)), normal(2, torch.float32, (5, 7))
ZERO = torch.zeros(5, 7)


@pytest.mark.parametrize(
    ("text", "operands", "reason"),
    [
        ("{op: multislerp, inputs: [a, b]}", (X, -X), "cancel out"),
        ("{op: multislerp, inputs: [a, {from: b, weight: 2}, c]}", (X * 3, -X, X * 5), "cancel out"),
        ("{op: multislerp, inputs: [a, b]}", (X * 1e-30, -X * 1e30), "cancel out"),
        ("{op: karcher, inputs: [a, b]}", (X, -X), "cancel out"),
        ("{op: karcher, inputs: [a, {from: b, weight: 0.5}]}", (X, -X), "points away from the mean"),
        ("{op: karcher, inputs: [a, b, c]}", (X, -X * 2, X * 3), "points away from the mean"),
        ("{op: karcher, inputs: [a, {from: b, weight: -1}, c]}", (X, Y, ZERO), "cancel out"),
    ],
)
def test_inputs_without_a_mean_direction_are_refused(text: str, operands: tuple[Tensor, ...], reason: str) -> None:
    with pytest.raises(RunError, match=reason) as refused:
        outcome(text, *operands)
    assert "except:" in refused.value.problems[0].fix


@pytest.mark.parametrize("op", ["nuslerp", "multislerp", "karcher"])
@pytest.mark.parametrize("size", [1e-38, 1e-30, 1.0, 1e30])
def test_the_size_of_the_inputs_does_not_matter(op: str, size: float) -> None:
    """No norm is measured against a fixed number, and no square leaves its range."""
    text = f"{{op: {op}, inputs: [a, {{from: b, weight: 0.5}}]}}"
    wanted = outcome(text, X, Y).double()
    found = outcome(text, X * size, Y * size).double() / size
    assert (found - wanted).abs().max() <= 1e-6 * wanted.abs().max()


@pytest.mark.parametrize("op", ["multislerp", "karcher"])
def test_lengths_seventy_orders_apart_are_averaged(op: str) -> None:
    """The short input's coefficient is beyond float32, its part of the result is not."""
    a, b = rows([1e-38, 0]), rows([0, 1e32])
    found = outcome(f"{{op: {op}, inputs: [a, b]}}", a, b)
    assert torch.allclose(found, rows([1, 1]) * (0.5e32 / math.sqrt(2)), rtol=1e-6)


@pytest.mark.parametrize("op", ["multislerp", "karcher"])
def test_an_input_of_zeros_shortens_the_mean_and_does_not_turn_it(op: str) -> None:
    found = outcome(f"{{op: {op}, inputs: [a, b]}}", X, ZERO)
    assert torch.allclose(found, X / 2, rtol=1e-6)
    only = outcome(f"{{op: {op}, inputs: [a, {{from: b, weight: 0}}]}}", ZERO, Y)
    assert torch.equal(only, ZERO), "what has a weight has no direction"


@pytest.mark.parametrize("op", ["multislerp", "karcher"])
def test_an_input_that_is_not_finite_shows_in_the_result(op: str) -> None:
    """Which input it is, the run finds out; it is no matter of directions."""
    found = outcome(f"{{op: {op}, inputs: [a, b]}}", X, torch.full_like(X, math.nan))
    assert found.isnan().all()


@pytest.mark.parametrize("axis", ["tensor", "row", "column"])
@pytest.mark.parametrize(
    ("b", "reason"),
    [
        (-X, "opposite: no arc is the shortest"),
        (X * 2, "parallel: the sine is 0"),
        (-X * (1 + 2.0**-20), "opposite but for a rounding"),
        (ZERO, "no direction"),
    ],
)
def test_nuslerp_takes_the_straight_line_where_there_is_no_arc(axis: str, b: Tensor, reason: str) -> None:
    text = f"{{op: nuslerp, inputs: [{{from: a, weight: 3}}, {{from: b, weight: 1}}], axis: {axis}}}"
    assert torch.allclose(outcome(text, X, b), 0.75 * X + 0.25 * b, rtol=1e-6), reason


def test_two_inputs_of_one_length_have_their_karcher_mean_on_the_arc_between_them() -> None:
    b = Y * (X.norm() / Y.norm())
    pair = "inputs: [{from: a, weight: 3}, {from: b, weight: 1}]"
    arc, mean = outcome(f"{{op: nuslerp, {pair}}}", X, b), outcome(f"{{op: karcher, {pair}, max_iter: 60}}", X, b)
    assert (arc - mean).abs().max() <= 2e-5 * arc.abs().max(), "the step at which it stops is 1e-5 long"
    assert (arc - outcome(f"{{op: multislerp, {pair}}}", X, b)).abs().max() > 1e-2 * arc.abs().max()


def test_a_vector_has_one_angle_also_along_columns() -> None:
    a, b = X.flatten(), Y.flatten()
    pair = "op: nuslerp, inputs: [{from: a, weight: 3}, {from: b, weight: 1}]"
    wanted = outcome(f"{{{pair}}}", a, b)
    for axis in ("row", "column"):
        assert torch.allclose(outcome(f"{{{pair}, axis: {axis}}}", a, b), wanted, rtol=1e-6, atol=1e-7)


BY_AXIS = [
    "{op: nuslerp, inputs: [{from: a, weight: 3}, b], axis: row}",
    "{op: nuslerp, inputs: [{from: a, weight: 3}, b], axis: column}",
    "{op: model_stock, base: w, inputs: [a, b, c], axis: row}",
    "{op: match_norm, input: a, to: b, axis: row}",
]


@pytest.mark.parametrize("text", BY_AXIS)
@pytest.mark.parametrize("shape", [(61, 71), (4211, 1), (1, 4211), (4211,), (7, 5, 3), (0, 3)])
def test_bits_by_axis_do_not_depend_on_the_tile(text: str, shape: tuple[int, ...]) -> None:
    operands = [normal(n, torch.float32, shape) for n in range(len(node(text).edges()))]
    whole = outcome(text, *operands)
    assert whole.isfinite().all()
    for tile in (1, 512, 4095):
        assert torch.equal(outcome(text, *operands, tile=tile), whole)


@pytest.mark.parametrize("text", BY_AXIS)
def test_kernels_by_axis_write_only_where_they_may(text: str) -> None:
    inputs = Models([normal(n, torch.float32, (4, 4)) for n in range(len(node(text).edges()))], "F32").reads
    (call,) = [part for part in walk(expression(node(text), inputs)) if isinstance(part, Apply)]
    cls = kernels()[call.kernel]
    operands = [normal(n, torch.float32, (61, 71)) for n in range(len(call.operands))]
    before = [operand.clone() for operand in operands]
    bench = Bench(cls.tile, call, operands, given_stats(call))
    sizes = [math.prod(map(int, found[found.index("[") + 1 : -1].split(","))) for found in bench.allocations.found]
    limit = cls.workspace(61, 71, len(operands)) if cls.granularity == "matrix" else 4 * 61
    assert max(sizes, default=0) <= limit
    assert bench.taken <= cls.scratch
    assert all(torch.equal(one, other) for one, other in zip(operands, before, strict=True))
    assert bench.out.isfinite().all()


@pytest.mark.parametrize("text", BY_AXIS)
@pytest.mark.parametrize("size", [0.0, 1e-38, 1e30])
def test_rows_and_columns_stay_finite(text: str, size: float) -> None:
    operands = [normal(n, torch.float32, (61, 71)) * size for n in range(len(node(text).edges()))]
    operands[0][3], operands[1][:, 5] = 0, 0
    assert outcome(text, *operands).isfinite().all()


@pytest.mark.parametrize(
    ("text", "severity"),
    [
        ("{op: nuslerp, inputs: [a, {from: b, weight: 3}]}", None),
        ("{op: nuslerp, inputs: [{from: a, weight: 1}, {from: b, weight: -1}]}", None),
        ("{op: nuslerp, inputs: [{from: a, weight: 3}, {from: b, weight: -1}]}", "warning"),
        ("{op: multislerp, inputs: [a, {from: b, weight: 3}]}", None),
        ("{op: multislerp, inputs: [{from: a, weight: -1}, {from: b, weight: -3}]}", None),
        ("{op: multislerp, inputs: [a, {from: b, weight: -0.5}]}", "warning"),
        ("{op: multislerp, inputs: [a, {from: b, weight: -1}]}", "error"),
        ("{op: karcher, inputs: [{from: a, weight: 0}, {from: b, weight: 0}]}", "error"),
        ("{op: karcher, inputs: [a, {from: b, weight: -0.9999999}]}", "error"),
    ],
)
def test_weights_that_leave_the_inputs_warn_and_those_that_cancel_are_refused(text: str, severity: str | None) -> None:
    found = objection(text)
    assert (found and found.severity) == severity


WEIGHTS: Literal["weights"] = "weights"
DELTA: Literal["delta"] = "delta"


@pytest.mark.parametrize("op", ["nuslerp", "multislerp", "karcher"])
def test_the_space_is_that_of_the_inputs_and_with_a_base_a_delta(op: str) -> None:
    plain, based = node(f"{{op: {op}, inputs: [a, b]}}"), node(f"{{op: {op}, base: w, inputs: [a, b]}}")
    assert plain.space([WEIGHTS, WEIGHTS]) == "weights"
    assert plain.space([DELTA, DELTA]) == "delta"
    assert based.space([WEIGHTS, WEIGHTS, DELTA]) == "delta"
    with pytest.raises(SpaceError, match="takes models, or deltas, not both"):
        plain.space([WEIGHTS, DELTA])
    with pytest.raises(SpaceError, match="against weights"):
        based.space([DELTA, WEIGHTS, WEIGHTS])


@pytest.mark.parametrize("op", ["nuslerp", "multislerp", "karcher"])
def test_what_is_left_out_is_the_first_model_or_the_mean_of_the_deltas(op: str) -> None:
    inputs = Models([X, Y], "F32").reads
    a, b = inputs
    method = node(f"{{op: {op}, inputs: [a, b], except: {{kind: norm}}}}")
    assert method.passed([a, b], "weights") is a
    mean = method.passed([a, b], "delta")
    assert mean.space == "delta"
    assert [float(share) for share, _ in getattr(mean, "terms", ())] == [0.5, 0.5]
