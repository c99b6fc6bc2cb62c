"""Lines as characters."""

from __future__ import annotations

import pytest
from mergegraph_tui.model.plot import Plot, PlotLine, place_and_value, plot_rows

PLOT = Plot(
    (PlotLine("up", (0.0, 1.0, 2.0, 3.0)), PlotLine("flat", (1.0, 1.0, None, 1.0))), ("0", "1", "2", "3"), mark=2
)  # fmt: skip

PICTURE = [
    "  |                   :        * * up",
    "  |                   :   *****",
    "2 +------------------*****------",
    "  |             ***** :",
    "  |oooooooooooooo     :    ooooo o flat",
    "  |   *****           :",
    "0 +***----------------:---------",
    "  +0        1         2        3 layer",
]


def texts(plot: Plot, width: int, height: int, *, ascii_only: bool = False) -> list[str]:
    return ["".join(character for character, _ in row) for row in plot_rows(plot, width, height, ascii_only=ascii_only)]


def test_plain_characters_draw_the_lines_with_names_and_axes() -> None:
    assert [row.rstrip() for row in texts(PLOT, 40, 8, ascii_only=True)] == PICTURE


@pytest.mark.parametrize("size", [(40, 8), (24, 3), (200, 50), (23, 9), (40, 2)])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_every_size_is_filled(size: tuple[int, int], ascii_only: bool) -> None:
    rows = texts(PLOT, *size, ascii_only=ascii_only)
    assert len(rows) == size[1]
    assert {len(row) for row in rows} == {size[0]}
    if ascii_only:
        assert "".join(rows).isascii()
    assert ("up" in "".join(rows)) == (size[0] >= 24 and size[1] >= 3)


def test_lines_differ_without_colour() -> None:
    """One is whole, the other has gaps."""
    both = tuple(PlotLine(name, (value,) * 4) for name, value in (("a", 3.0), ("b", 1.0)))
    rows = texts(Plot(both, PLOT.x_labels), 60, 9)
    dots = [[c for c in row[4:50] if "\u2801" <= c <= "\u28ff"] for row in rows]
    whole, gapped = (set(row) for row in dots if row)
    assert len(whole) == 1
    assert len(gapped) > 1


def test_a_cell_of_the_picture_is_a_place_and_a_value() -> None:
    top = place_and_value(PLOT, 40, 8, 30, 0)
    assert top is not None
    assert top[0] == 3
    assert top[1] > 2.9
    assert place_and_value(PLOT, 40, 8, 0, 3) is None
    assert place_and_value(PLOT, 40, 8, 30, 7) is None
    assert texts(Plot((), ()), 30, 4) == [" " * 30] * 4
