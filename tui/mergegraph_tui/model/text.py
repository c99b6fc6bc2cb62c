"""The drawing of a graph as lines of text: what `mergegraph graph` prints."""

from __future__ import annotations

from mergegraph.graph import Graph
from mergegraph.recipe.model import Recipe
from mergegraph_tui.model.cells import Painting
from mergegraph_tui.model.drawing import Direction, Size
from mergegraph_tui.model.fit import Fit, Layouts, Room
from mergegraph_tui.model.glyphs import glyphs_of
from mergegraph_tui.model.graph import DrawnGraph
from mergegraph_tui.model.reading import graph_of


def drawn_lines(
    graph: Graph | Recipe,
    *,
    width: int,
    direction: Direction | None = None,
    size: Size | None = None,
    ascii_only: bool = False,
) -> list[str] | None:
    """The lines of a graph's drawing, the largest that is at most `width` cells wide; None where not even pills are.

    A `size` that is asked for is drawn however wide it is.
    """
    drawn = graph_of(graph)
    fit = Layouts(drawn).fit(Room(width), size, direction)
    if not fit.fits and size is None:
        return None
    return painted_lines(drawn, fit, ascii_only=ascii_only)


def painted_lines(graph: DrawnGraph, fit: Fit, *, ascii_only: bool = False) -> list[str]:
    """The lines of one drawing, without trailing blanks."""
    return lines_of(Painting(graph, fit.drawing, fit.size, glyphs_of(ascii_only=ascii_only)))


def lines_of(painting: Painting) -> list[str]:
    return ["".join(cell.glyph for cell in row).rstrip() for row in painting.rows]
