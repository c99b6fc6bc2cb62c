"""The heat map: kinds down, layers across, and a switch for what it shows. Without JavaScript it shows the default."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby

from mergegraph.errors import on_one_line
from mergegraph.stats.html.elements import text
from mergegraph.stats.html.series import STEPS, Series, cell_keys, words
from mergegraph.stats.metrics import METRICS, shown
from mergegraph.stats.record import Record
from mergegraph.stats.summary import OUTSIDE, Grid

NUMBERS_UP_TO = 12
"""Layers; with more of them cells are too narrow for numbers."""
_DIGITS = "0123456789a"


def switch(record: Record, series: Sequence[Series], default: Series) -> str:
    """Two selects, shown where there is JavaScript; the script begins with `default`."""
    options = "".join(
        f'<option value="{name}"{" selected" if name == default.metric.name else ""}>'
        f"{text(METRICS[name].label_in(record))}</option>"
        for name, _ in groupby(series, key=lambda one: one.metric.name)
    )
    return (
        f'<div class="switch" hidden><label>Metric <select id="metric" data-series="{text(default.key)}">{options}'
        "</select></label> "
        '<label id="of-label">of <select id="of"></select></label></div>'
        '<noscript><p class="note">The switch of metrics needs JavaScript; shown is the default.</p></noscript>'
    )


def heat_map(table: Grid, default: Series, *, last_first: bool) -> str:
    """The table of cells, coloured for `default`, with its legend and its formula. `last_first`: the switch shows of
    another metric the last series first, which is the result's."""
    layers = [row for row in table.rows if row != OUTSIDE]
    rows = [*layers, *([OUTSIDE] if OUTSIDE in table.rows else [])]
    last = ' data-last="y"' if last_first else ""
    wide = len(layers) <= NUMBERS_UP_TO
    cells = {key: number for number, key in enumerate(cell_keys(table))}
    body = "".join(
        f'<tr><th scope="row">{text(column)}</th>'
        + "".join(_cell(default, cells.get((row, column)), wide) for row in rows)
        + "</tr>"
        for column in table.columns
    )
    return (
        f'<p class="formula" id="formula">{text(default.metric.formula)}</p>'
        f'<p id="reading">{text(_reading(default.metric.reading, default.metric.noise_text))}</p>'
        f'<div class="scroll"><table class="heat{" wide" if wide else ""}" id="heat"{last}>'
        f"<thead>{_towers(layers)}<tr><td></td>{''.join(_head(row, wide) for row in rows)}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
        f"{_legend(default)}"
    )


def data(table: Grid, series: Sequence[Series]) -> str:
    """For the page's script: metric to label, formula, reading and series; a series is texts and steps of the cells."""
    metrics: dict[str, object] = {}
    for name, group in groupby(series, key=lambda one: one.metric.name):
        metric = METRICS[name]
        about = {"formula": metric.formula, "reading": _reading(metric.reading, metric.noise_text)}
        metrics[name] = {**about, "series": [_packed(one) for one in group]}
    cells = [f"{_layer_words(row)}, {column}" for row, column in cell_keys(table)]
    # The one sequence that could end a script element early is broken up.
    return json.dumps({"cells": cells, "metrics": metrics}, separators=(",", ":")).replace("<", "\\u003c")


def _packed(one: Series) -> dict[str, object]:
    unit = one.metric.unit
    return {
        "key": one.key,
        "of": text_of(one),
        "two": one.has_two_sides,
        "low": shown(one.low, unit),
        "high": shown(one.high, unit),
        "text": "|".join(shown(value, unit) for value in one.values),
        "steps": "".join("-" if step < 0 else _DIGITS[step] for step in one.steps),
    }


def text_of(one: Series) -> str:
    """What a series is about, as shown: the page's script sets it as text, never as HTML."""
    return on_one_line(one.subject.label) or "all sources"


def _reading(reading: str, noise: str) -> str:
    return f"{reading} Noise: {noise}." if noise else reading


def _cell(one: Series, number: int | None, wide: bool) -> str:
    if number is None:
        return '<td class="none"></td>'
    value, step = one.values[number], one.steps[number]
    colour = "none" if step < 0 else f"{'d' if one.has_two_sides else 's'}{step}"
    return f'<td class="{colour}" data-c="{number}" title="{text(words(value, one.metric))}">' + (
        f"{text(shown(value, one.metric.unit))}</td>" if wide else "</td>"
    )


def _head(row: str, wide: bool) -> str:
    label = ("no layer" if wide else "–") if row == OUTSIDE else row.rsplit(" ", 1)[-1]
    return f'<th scope="col" title="{text(_layer_words(row))}">{text(label)}</th>'


def _towers(layers: Sequence[str]) -> str:
    """A line of names above the numbers where there are several stacks of layers."""
    groups = [(name, len(list(rows))) for name, rows in groupby(layers, key=lambda row: row.rpartition(" ")[0])]
    if len(groups) < 2:
        return ""
    return "<tr><td></td>" + "".join(f'<th colspan="{n}">{text(name)}</th>' for name, n in groups) + "</tr>"


def _layer_words(row: str) -> str:
    return "no layer" if row == OUTSIDE else f"layer {row}"


def _legend(one: Series) -> str:
    unit, kind = one.metric.unit, "d" if one.has_two_sides else "s"
    swatches = "".join(f'<i class="{kind}{step}"></i>' for step in range(STEPS))
    return (
        f'<div class="legend" id="legend"><span id="low">{text(shown(one.low, unit))}</span>'
        f'<span class="ramp">{swatches}</span><span id="high">{text(shown(one.high, unit))}</span></div>'
    )
