"""How tensors are cut: by shape and kernel alone."""

from __future__ import annotations

import pytest

from mergegraph.methods.kernel import Granularity
from mergegraph.plan.extent import Extent, extent

# Columns: shape, what kernels need, elements, unit, columns, leaf, why.
CUTS: list[tuple[tuple[int, ...], Granularity, int, int, int, int, str]] = [
    ((300, 200), "element", 60_000, 1, 0, 65_536, "elements stand alone"),
    ((), "element", 1, 1, 0, 65_536, "a number is one element"),
    ((300, 200), "row", 60_000, 200, 200, 65_600, "whole rows, the fewest of 65,536 elements"),
    ((300, 65_536), "row", 300 * 65_536, 65_536, 65_536, 65_536, "a row is a leaf"),
    ((3, 100_000), "row", 300_000, 100_000, 100_000, 100_000, "a row longer than a run"),
    ((200,), "row", 200, 200, 200, 65_600, "a vector is one row"),
    ((), "row", 1, 1, 1, 65_536, "so is a number"),
    ((8, 4, 3, 3), "row", 288, 36, 36, 65_556, "a convolution has a row for each output"),
    ((8, 4, 3, 3), "matrix", 288, 288, 36, 65_664, "and is the matrix [out, -1]"),
    ((5, 40, 30), "row", 6_000, 30, 30, 65_550, "the rows of a stack are those of its matrices"),
    ((5, 40, 30), "matrix", 6_000, 1_200, 30, 66_000, "a stack is matrices"),
    ((400, 300), "matrix", 120_000, 120_000, 300, 120_000, "a matrix is one unit"),
    ((0, 7), "matrix", 0, 1, 7, 65_536, "nothing in it"),
]


@pytest.mark.parametrize(("shape", "granularity", "elements", "unit", "columns", "leaf", "why"), CUTS)
def test_a_cut(
    shape: tuple[int, ...], granularity: Granularity, elements: int, unit: int, columns: int, leaf: int, why: str
) -> None:
    cut = extent(shape, granularity)
    assert cut == Extent(elements, unit, columns), why
    assert cut.leaf == leaf, why


@pytest.mark.parametrize(("wanted", "tile"), [(1, 65_600), (262_144, 3 * 65_600), (10**6, 15 * 65_600)])
def test_tiles_are_whole_leaves(wanted: int, tile: int) -> None:
    assert extent((30_000, 200), "row").tile(wanted) == tile
