"""Which node a cursor comes to when it goes one way."""

from __future__ import annotations

from typing import Literal, TypeAlias

from mergegraph_tui.model.drawing import Box, Drawing
from mergegraph_tui.model.graph import DrawnGraph

Heading: TypeAlias = Literal["left", "right", "up", "down"]

_LEAST = 0.4
_ASIDE = 2
_WIRED = 6
"""How much nearer a node counts that a wire joins to this one."""


def nearest(graph: DrawnGraph, drawing: Drawing, start: str, heading: Heading) -> str | None:
    """The nearest node that way, those rather that a wire joins to `start`; None where there is none."""
    scores = [
        (score, name)
        for name, box in drawing.boxes.items()
        if name != start and (score := _distance(drawing.boxes[start], box, heading)) is not None
    ]
    joined = set(graph.nodes[start].sources)
    best = min(
        (
            (score - (_WIRED if name in joined or start in graph.nodes[name].sources else 0), place, name)
            for place, (score, name) in enumerate(scores)
        ),
        default=None,
    )
    return best[2] if best else None


def _distance(start: Box, box: Box, heading: Heading) -> float | None:
    """From centre to centre, with what is aside counting more; None for a box that is not that way."""
    # A cell is about twice as tall as it is wide.
    right = (box.x + box.width / 2 - start.x - start.width / 2) / 2
    down = box.y + box.height / 2 - start.y - start.height / 2
    ahead, aside = {"left": (-right, down), "right": (right, down), "up": (-down, right), "down": (down, right)}[
        heading
    ]
    return ahead + _ASIDE * abs(aside) if ahead > _LEAST else None
