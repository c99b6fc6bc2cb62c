"""The wire that follows the pointer while it is dragged from a node."""

from __future__ import annotations

from mergegraph_tui.model.cells import Cell
from mergegraph_tui.model.drawing import EAST, NORTH, SOUTH, WEST
from mergegraph_tui.model.glyphs import Glyphs


def rubber_wire(
    start: tuple[int, int], pointer: tuple[int, int], glyphs: Glyphs, style: str
) -> dict[int, dict[int, Cell]]:
    """Its cells by row and column: along the column of the start, then along the row of the pointer."""
    (from_x, from_y), (x, y) = start, pointer
    upright, level = glyphs.rubber
    cells: dict[int, dict[int, Cell]] = {}

    def put(column: int, row: int, glyph: str) -> None:
        if (column, row) != start:
            cells.setdefault(row, {})[column] = Cell(glyph, style)

    for row in range(from_y, y, 1 if y >= from_y else -1):
        put(from_x, row, upright)
    for column in range(min(from_x, x) + 1, max(from_x, x)):
        put(column, y, level)
    if x != from_x and y != from_y:
        put(from_x, y, glyphs.border[(NORTH if y > from_y else SOUTH) | (EAST if x > from_x else WEST)])
    put(x, y, glyphs.pointer)
    return cells
