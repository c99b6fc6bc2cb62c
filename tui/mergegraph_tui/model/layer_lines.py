"""A schedule in words and bars: what its rules decide, and its number from layer to layer."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, pairwise

from mergegraph_tui.model.glyphs import Glyphs
from mergegraph_tui.model.schedules import LayerValue, ScheduleView

_BARS = "▁▂▃▄▅▆▇█"
_ASCII_BARS = "_.-=+*#@"
_FEW = 4
"""Runs of layers that are listed although the field is not under the cursor."""


def rule_notes(view: ScheduleView) -> list[str]:
    """`12 of 16 tensors`: for how many a rule decides, of those that it matches."""
    return [
        f"{rule.decided} of {rule.matched} tensors" if rule.decided != rule.matched else f"{rule.matched} tensors"
        for rule in view.rules
    ]


def layer_lines(view: ScheduleView, width: int, glyphs: Glyphs, *, is_open: bool) -> list[str]:
    """The number in each layer, where it differs: bars for a tower, then the layers with one number together."""
    if len({value for each in view.layers for value in (each.least, each.most)}) < 2 and not _differs_outside(view):
        return []
    lines: list[str] = []
    for tower, layers in groupby(view.layers, key=lambda each: each.tower):
        found = list(layers)
        lines.append(_bars(found, width, glyphs))
        runs = list(_runs(found))
        if is_open or len(runs) <= _FEW:
            lines += [f"{tower} {run}" if _towers(view) > 1 else run for run in runs]
    if is_open or len(lines) <= _FEW:
        lines += [f"{kind}  {_range(least, most)}" for kind, least, most in view.outside]
    return lines


def _differs_outside(view: ScheduleView) -> bool:
    values = {value for _, least, most in view.outside for value in (least, most)}
    values |= {value for each in view.layers for value in (each.least, each.most)}
    return len(values) > 1


def _towers(view: ScheduleView) -> int:
    return len({each.tower for each in view.layers})


def _bars(layers: list[LayerValue], width: int, glyphs: Glyphs) -> str:
    """One bar a layer, from the least number to the most; of more layers than cells, the mean of some."""
    bars = _ASCII_BARS if glyphs.is_ascii else _BARS
    values = [(each.least + each.most) / 2 for each in layers]
    cells = min(len(values), max(1, width - 14))
    starts = [index * len(values) // cells for index in range(cells + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(starts)]
    low, high = min(min(values), 0.0), max(values)
    place = [round((value - low) / (high - low) * (len(bars) - 1)) if high > low else 0 for value in means]
    return f"{''.join(bars[index] for index in place)} {_range(min(values), max(values))}"


def _runs(layers: list[LayerValue]) -> Iterator[str]:
    """`0-3  0.1`, `4  0.2`."""
    for (least, most), run in groupby(layers, key=lambda each: (each.least, each.most)):
        found = [each.layer for each in run]
        name = f"{found[0]}-{found[-1]}" if len(found) > 1 else str(found[0])
        yield f"layer {name:<6} {_range(least, most)}"


def _range(least: float, most: float) -> str:
    return f"{least:.4g}" if least == most else f"{least:.4g} to {most:.4g}"
