"""What a box says without colour: where a wire may end, that a node is left out."""

from __future__ import annotations

import pytest
from mergegraph_tui.model.cells import Painting
from mergegraph_tui.model.drawing import Size
from mergegraph_tui.model.fit import Layouts
from mergegraph_tui.model.glyphs import glyphs_of
from mergegraph_tui.model.graph import DrawnGraph, DrawnInput, DrawnNode
from mergegraph_tui.model.rail import rail_rows

GRAPH = DrawnGraph.of(
    [
        DrawnNode("base", "load", "source"),
        DrawnNode("thin", "scale", "one-input", inputs=(DrawnInput("base"),), skipped=True),
        DrawnNode("out", "save", "sink", inputs=(DrawnInput("thin"),)),
    ]
)


def text(painting: Painting) -> str:
    return "\n".join("".join(cell.glyph for cell in row) for row in painting.rows)


@pytest.mark.parametrize("size", ["pill", "box"])
@pytest.mark.parametrize(("ascii_only", "left_out"), [(False, "»"), (True, "^")])
def test_signs_stand_beside_the_names(size: Size, ascii_only: bool, left_out: str) -> None:
    glyphs = glyphs_of(ascii_only=ascii_only)
    painting = Painting(GRAPH, Layouts(GRAPH).drawing(size, "down"), size, glyphs)

    def sign(name: str) -> str:
        line = next(line for line in text(painting).splitlines() if name in line)
        return line.partition(name)[2].strip(" │|")[:1]

    assert [sign(name) for name in GRAPH.nodes] == ["", left_out, ""]
    painting.mark({"base": "refused", "thin": "target"})
    assert [sign(name) for name in GRAPH.nodes] == ["-", "+", ""]
    painting.mark({})
    assert [sign(name) for name in GRAPH.nodes] == ["", left_out, ""]


def test_a_row_of_the_list_says_it_too() -> None:
    rows = rail_rows(GRAPH, glyphs_of(ascii_only=False))
    assert ["»" in "".join(cell.glyph for cell in row) for row in rows.values()] == [False, True, False]
