"""The float64 reference rounds once and correctly, and sees every kind of wrong output."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]

from benchmarks.reference import (
    Comparison,
    Doubles,
    Formula,
    bound,
    compare,
    from_bfloat16,
    soup,
    spacing,
    stored_tensors,
    task_arithmetic,
    to_bfloat16,
)

ONE = 0x3F80


def array(*values: float) -> Doubles:
    return np.array(values, dtype=np.float64)


@pytest.mark.parametrize(
    ("value", "bits", "reason"),
    [
        (0.0, 0x0000, "zero"),
        (-0.0, 0x8000, "its sign stays"),
        (1.0 + 2.0**-8, ONE, "a tie goes to the even neighbour below"),
        (1.0 + 3 * 2.0**-8, ONE + 2, "and to the even neighbour above"),
        (1.0 + 2.0**-8 + 2.0**-40, ONE + 1, "float32 would make this a tie and round it down"),
        (1.0 + 3 * 2.0**-8 - 2.0**-40, ONE + 1, "and this one up"),
        (2.0 - 2.0**-20, 0x4000, "rounding up reaches the next power of two"),
        (2.0**-133, 0x0001, "the smallest number"),
        (2.0**-134, 0x0000, "half of it is a tie to zero"),
        (3 * 2.0**-134, 0x0002, "a tie between subnormals"),
        (2.0**-126 - 2.0**-140, 0x0080, "a subnormal rounds up to the smallest normal"),
        (2.0**128, 0x7F80, "beyond the largest is infinite"),
    ],
)
def test_rounding_to_bfloat16(value: float, bits: int, reason: str) -> None:
    assert int(to_bfloat16(array(value))[0]) == bits, reason


def test_every_bfloat16_number_rounds_to_itself() -> None:
    every = np.arange(0x10000, dtype=np.uint32).astype(np.uint16)
    finite = every[(every & 0x7F80) != 0x7F80]
    np.testing.assert_array_equal(to_bfloat16(from_bfloat16(finite)), finite)
    np.testing.assert_array_equal(from_bfloat16(finite), torch.tensor(finite).view(torch.bfloat16).double().numpy())


def test_spacing_is_the_distance_to_the_next_bfloat16() -> None:
    positive = np.arange(0, 0x7F7F, dtype=np.uint16)
    gaps = from_bfloat16(positive + np.uint16(1)) - from_bfloat16(positive)
    np.testing.assert_array_equal(spacing(from_bfloat16(positive)), gaps)


def test_the_bound_is_half_a_step_and_the_float32_share_of_every_term() -> None:
    (found,) = bound([array(3.0), array(-1.0)])
    assert found == 2.0**-7 + 3 * 2.0**-23 * 4.0  # bf16 numbers around 2 are 2^-6 apart


def write(folder: Path, tensors: dict[str, torch.Tensor]) -> Path:
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    return folder


def models(folder: Path) -> tuple[list[Path], list[dict[str, torch.Tensor]]]:
    """Three relatives; `frozen` is the same in all. `moved` is longer than a block."""
    generator = torch.Generator().manual_seed(5)
    base = torch.randn(467, 307, generator=generator).bfloat16()
    frozen = torch.randn(31, generator=generator).bfloat16()
    contents = [{"frozen": frozen, "moved": base}]
    for _ in range(2):
        noise = torch.randn(base.shape, generator=generator)
        contents.append({"frozen": frozen, "moved": (base + noise / 128).bfloat16()})
    return [write(folder / f"model-{i}", content) for i, content in enumerate(contents)], contents


def merged_by_torch(contents: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """`base + 0.6 (a - base) + 0.7 (b - base)` in float32 with one rounding at the end."""

    def one(name: str) -> torch.Tensor:
        base, a, b = (content[name].float() for content in contents)
        return (base + 0.6 * (a - base) + 0.7 * (b - base)).bfloat16()

    return {name: one(name) for name in contents[0]}


def test_float32_arithmetic_with_one_rounding_is_within_the_bound(tmp_path: Path) -> None:
    inputs, contents = models(tmp_path)
    output = write(tmp_path / "out", merged_by_torch(contents))
    found = compare(output, inputs, task_arithmetic(0.6, 0.7))
    assert found.elements == 467 * 307 + 31
    assert found.not_nearest < 100
    assert found == Comparison(found.elements, found.not_nearest, beyond_bound=0, frozen=31, frozen_changed=0)


def test_a_soup_of_two_is_exact(tmp_path: Path) -> None:
    inputs, (a, b, _) = models(tmp_path)
    output = write(tmp_path / "out", {name: (0.5 * a[name].float() + 0.5 * b[name].float()).bfloat16() for name in a})
    assert compare(output, inputs[:2], soup) == Comparison(467 * 307 + 31, frozen=31)


def test_arithmetic_in_bfloat16_is_beyond_the_bound(tmp_path: Path) -> None:
    inputs, (base, a, b) = models(tmp_path)
    rounded = {name: base[name] + 0.6 * (a[name] - base[name]) + 0.7 * (b[name] - base[name]) for name in a}
    found = compare(write(tmp_path / "out", rounded), inputs, task_arithmetic(0.6, 0.7))
    assert found.beyond_bound > found.elements // 100


@pytest.mark.parametrize(
    ("tensor", "element", "expected"),
    [
        ("moved", 0, Comparison(not_nearest=1, beyond_bound=1)),
        ("moved", 467 * 307 - 1, Comparison(not_nearest=1, beyond_bound=1)),
        ("frozen", 30, Comparison(not_nearest=1, beyond_bound=1, frozen_changed=1)),
    ],
)
def test_one_wrong_element_is_found(tmp_path: Path, tensor: str, element: int, expected: Comparison) -> None:
    inputs, contents = models(tmp_path)
    right = merged_by_torch(contents)
    before = compare(write(tmp_path / "right", right), inputs, task_arithmetic(0.6, 0.7))
    right[tensor].flatten()[element] += 1
    after = compare(write(tmp_path / "wrong", right), inputs, task_arithmetic(0.6, 0.7))
    assert after == before + expected


FORMULAS: list[tuple[Formula, list[float], float]] = [
    (soup, [3.0, 5.0], 4.0),
    (soup, [3.0, 5.0, 13.0], 7.0),
    (task_arithmetic(0.5, 2.0), [3.0, 5.0, 11.0], 20.0),
]


@pytest.mark.parametrize(("formula", "inputs", "expected"), FORMULAS)
def test_formulas(formula: Formula, inputs: list[float], expected: float) -> None:
    assert sum(formula([array(x) for x in inputs])) == pytest.approx(expected, rel=1e-15)


def test_an_output_with_other_tensors_is_refused(tmp_path: Path) -> None:
    inputs, contents = models(tmp_path)
    output = write(tmp_path / "out", {"moved": contents[0]["moved"]})
    with pytest.raises(ValueError, match="names and shapes"):
        compare(output, inputs, soup)


def test_another_dtype_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is F32, not BF16"):
        stored_tensors(write(tmp_path / "wide", {"t": torch.zeros(3)}))
