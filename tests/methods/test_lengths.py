"""model_stock, perpendicular, match_norm, arcee_fusion: single numbers, and lengths that leave float32 on the way."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mergegraph.methods.base import SpaceError
from tests.methods.bench import Models, normal
from tests.methods.outcome import node, outcome, rows
from tests.methods.references.fusion import fused

BASE = rows([10, 20])


def turned(degrees: float) -> Tensor:
    """A change of length 1 in that direction."""
    return rows([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))])


@pytest.mark.parametrize(
    ("degrees", "options", "t", "reason"),
    [
        (60, "", 2 / 3, "2 cos / (cos + 1)"),
        (0, "", 1, "they agree: their average"),
        (90, "", 0, "they have nothing in common: the base"),
        (100, "", 2 * math.cos(math.radians(100)) / (1 + math.cos(math.radians(100))), "below 0 on purpose"),
        (100, ", clamp: true", 0, "unless clamped"),
        (180, "", 0, "the pole"),
    ],
)
@pytest.mark.parametrize("axis", ["tensor", "row"])
def test_a_stock_of_two_goes_as_far_as_their_angle_says(
    degrees: float, options: str, t: float, reason: str, axis: str
) -> None:
    text = f"{{op: model_stock, base: w, inputs: [a, b], axis: {axis}{options}}}"
    a, b = BASE + turned(0), BASE + turned(degrees)
    assert torch.allclose(outcome(text, BASE, a, b), BASE + t * ((a + b) / 2 - BASE), atol=3e-6), reason


def test_a_stock_takes_a_change_of_zeros_as_perpendicular() -> None:
    a = BASE + turned(0)
    assert torch.equal(outcome("{op: model_stock, base: w, inputs: [a, b]}", BASE, a, BASE), BASE)


@pytest.mark.parametrize("size", [1e-36, 1e-9, 1e18])
def test_a_stock_of_small_changes_is_that_of_large_ones(size: float) -> None:
    text = "{op: model_stock, base: w, inputs: [a, b]}"
    zero, a, b = torch.zeros(3, 5), normal(1, torch.float32, (3, 5)), normal(2, torch.float32, (3, 5))
    wanted = outcome(text, zero, a, b)
    assert torch.allclose(outcome(text, zero, a * size, b * size) / size, wanted, rtol=1e-4)


def test_a_stock_takes_deltas_of_its_base_and_gives_weights() -> None:
    method = node("{op: model_stock, base: w, inputs: [a, b]}")
    assert method.space(["weights", "delta", "weights"]) == "weights"
    with pytest.raises(SpaceError, match="against weights"):
        method.space(["delta", "weights", "weights"])


@pytest.mark.parametrize("axis", ["tensor", "row"])
@pytest.mark.parametrize(("own", "wanted"), [(1e-38, 1e30), (1e30, 1e-38), (1e-44, 1e38), (3.0, 4.0)])
def test_a_norm_is_matched_over_any_distance(axis: str, own: float, wanted: float) -> None:
    """Their ratio may be beyond float32."""
    x, to = rows([own, 0], [0, own]), rows([0, wanted], [wanted, 0])
    found = outcome(f"{{op: match_norm, input: x, to: y, axis: {axis}}}", x, to)
    assert torch.allclose(found, rows([wanted, 0], [0, wanted]), rtol=1e-2 if own < 1e-40 else 1e-6)


@pytest.mark.parametrize("axis", ["tensor", "row"])
def test_zeros_have_no_norm_to_scale(axis: str) -> None:
    text = f"{{op: match_norm, input: x, to: y, axis: {axis}}}"
    zero, y = torch.zeros(2, 3), normal(0, torch.float32, (2, 3))
    assert torch.equal(outcome(text, zero, y), zero)
    assert torch.equal(outcome(text, y, zero).abs(), zero)


def test_what_a_delta_lacks_has_norm_zero() -> None:
    method = node("{op: match_norm, input: x, to: y}")
    (read,) = Models([torch.ones(2)], "F32").reads
    assert method.passed([None, read], "delta").space == "delta"
    assert method.passed([read, None], "delta") is read


@pytest.mark.parametrize("size", [1e-38, 1.0, 1e30])
def test_what_is_perpendicular_is_perpendicular_at_any_size(size: float) -> None:
    delta, along = normal(1, torch.float32, (3, 5)), normal(2, torch.float32, (3, 5)) * size
    rest = outcome("{op: perpendicular, input: d, along: a}", delta, along).double()
    along = along.double() / along.double().norm()
    assert abs((rest * along).sum()) <= 1e-6 * rest.norm()
    assert torch.allclose(rest + (delta * along).sum() * along, delta.double(), atol=1e-6)


def test_nothing_is_taken_out_along_zero_and_all_of_it_along_itself() -> None:
    text, delta = "{op: perpendicular, input: d, along: a}", normal(1, torch.float32, (3, 5))
    assert torch.equal(outcome(text, delta, torch.zeros(3, 5)), delta)
    assert outcome(text, delta, delta).abs().max() == 0


def test_a_fusion_takes_elements_bit_by_bit_from_one_or_the_other() -> None:
    a = normal(1, torch.float32, (41, 53))
    b = a + normal(2, torch.float32, (41, 53)) * 1e-3
    found = outcome("{op: arcee_fusion, a: a, b: b}", a, b)
    from_b = found == b
    assert torch.equal(found, torch.where(from_b, b, a))
    assert 0.01 < from_b.double().mean() < 0.2, "outliers"
    assert torch.equal(found.double(), fused(a.double(), b.double())), "the divergence of siblings needs float64"


@pytest.mark.parametrize("size", [0.0, 1e-40, 1e30])
def test_a_fusion_without_important_changes_is_b(size: float) -> None:
    """All importances are equal, and so none is below the threshold."""
    a = torch.full((5, 7), size)
    assert torch.equal(outcome("{op: arcee_fusion, a: a, b: b}", a, a), a)
