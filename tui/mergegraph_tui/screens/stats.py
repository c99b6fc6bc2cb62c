"""Stats: what a merge does, layer by layer."""

from __future__ import annotations

from mergegraph_tui.keys import STATS, bindings
from mergegraph_tui.screens.base import PlaceScreen


class StatsScreen(PlaceScreen):
    MODE = "stats"
    KEYS = STATS
    BINDINGS = bindings(STATS)
