"""Run: how far the run is, what it holds, what it says."""

from __future__ import annotations

from mergegraph_tui.keys import RUN, bindings
from mergegraph_tui.screens.base import PlaceScreen


class RunScreen(PlaceScreen):
    MODE = "run"
    KEYS = RUN
    BINDINGS = bindings(RUN)
