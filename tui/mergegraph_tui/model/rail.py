"""A graph as one node a row, its wires as lanes: rows of cells, with columns that whoever shows it may fill.

The open lanes at a row are the values that somebody still needs. Scales to any number of nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from mergegraph.cli.rail import ASCII, rail
from mergegraph_tui.model.cells import Cell
from mergegraph_tui.model.glyphs import Glyphs
from mergegraph_tui.model.graph import DrawnGraph, DrawnNode
from mergegraph_tui.model.wiring import drawable, stubs

Part = tuple[str, str]
"""A text and the key of its style."""


def rail_rows(
    graph: DrawnGraph, glyphs: Glyphs, cursor: str | None = None, columns: Mapping[str, Sequence[Part]] | None = None
) -> dict[str, list[Cell]]:
    """The row of each node, in order: lanes, status, name, operation, then its `columns`."""
    inputs = {
        name: list(dict.fromkeys(graph.nodes[name].sources[position] for position in positions))
        for name, positions in drawable(graph.inputs()).items()
    }
    names = max((len(name) for name in graph.nodes), default=0)
    ops = max((len(node.op) for node in graph.nodes.values()), default=0)
    ends = stubs(graph.inputs())
    rows: dict[str, list[Cell]] = {}
    for wires, name in rail(inputs):
        node = graph.nodes[name]
        drawn = wires.translate(ASCII) if glyphs.is_ascii else wires
        parts = [*_lanes(drawn, node), *_label(node, glyphs, names, ops, is_cursor=name == cursor)]
        parts += [(f"{each}  ", "error") for each in ends.get(name, ())]
        parts += (columns or {}).get(name, ())
        rows[name] = [Cell(glyph, key, name) for text, key in parts for glyph in glyphs.fitted(text, len(text) * 2)]
    return rows


def _lanes(wires: str, node: DrawnNode) -> list[Part]:
    """The node's own mark has the colour of its family."""
    styled = groupby(wires, key=lambda glyph: node.family if glyph in "○●■o*#" else "detail")
    return [("".join(glyphs), style) for style, glyphs in styled]


def _label(node: DrawnNode, glyphs: Glyphs, names: int, ops: int, *, is_cursor: bool) -> list[Part]:
    is_dim = node.status == "waiting" or node.skipped
    return [
        (" " + (glyphs.pins["right"] if is_cursor else " "), "cursor"),
        (f"{glyphs.mark(node)} ", node.status or ("waiting" if node.skipped else "")),
        (f"{glyphs.icon(node)} ", node.family),
        (node.name.ljust(names), "cursor" if is_cursor else "waiting" if is_dim else "name"),
        (f"  {node.op.ljust(ops)}  ", "detail"),
    ]
