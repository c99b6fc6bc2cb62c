"""Lines as SVG: a metric by layer, a histogram, an energy curve. Colours are classes, which follow the theme."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mergegraph.stats.energy import smooth_curve
from mergegraph.stats.html.elements import text
from mergegraph.stats.metrics import Unit, shown
from mergegraph.stats.record import Change, Spectrum

LINES = 8
"""Colours there are; further lines repeat them dashed."""
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 12, 30


@dataclass(frozen=True, slots=True)
class Line:
    """`points` are (x, y); a None breaks the line."""

    label: str
    number: int
    points: tuple[tuple[float, float | None], ...]
    stepped: bool = False


@dataclass(frozen=True, slots=True)
class Axes:
    """Ticks are (place, label). `width` and `height` in SVG's own units; the picture scales to the page."""

    x: tuple[float, float]
    y: tuple[float, float]
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    x_title: str
    width: int = 760
    height: int = 240


def chart(lines: Sequence[Line], axes: Axes, described: str) -> str:
    """An SVG with a legend in HTML below where there is more than one line."""
    drawn = "".join(_drawn(line, axes) for line in lines)
    svg = (
        f'<svg viewBox="0 0 {axes.width} {axes.height}" role="img" aria-label="{text(described)}">'
        f"{_grid(axes)}{drawn}</svg>"
    )
    return svg + legend([(line.label, line.number) for line in lines])


def legend(lines: Sequence[tuple[str, int]]) -> str:
    items = "".join(
        f'<span><svg viewBox="0 0 22 8" aria-hidden="true"><path class="{_class(number)}" d="M1 4H21"/></svg>'
        f"{text(label)}</span>"
        for label, number in lines
    )
    return f'<div class="lines">{items}</div>'


def by_layer(lines: Sequence[Line], layers: Sequence[str], unit: Unit, described: str) -> str:
    """One point a layer."""
    ys = [y for line in lines for _, y in line.points if y is not None]
    low, high = _padded(min(ys), max(ys))
    every = max(1, math.ceil(len(layers) / 16))
    x_ticks = [(float(i), layers[i].rsplit(" ", 1)[-1]) for i in range(0, len(layers), every)]
    y_ticks = _labelled(low, high, unit)
    return chart(lines, Axes((0.0, max(len(layers) - 1.0, 1.0)), (low, high), x_ticks, y_ticks, "layer"), described)


def histogram(changes: Sequence[tuple[str, Change]], elements: int) -> str:
    """The share of the elements in each power of two, one step line a change."""
    lowest, highest = _exponents([change for _, change in changes])
    lines = [
        Line(label, number, _share_points(change, lowest, highest, elements), stepped=True)
        for number, (label, change) in enumerate(changes)
    ]
    top = max((y for line in lines for _, y in line.points if y is not None), default=0.0) or 1.0
    every = max(1, math.ceil((highest - lowest + 1) / 8))
    x_ticks = [(float(e), "2" + str(e).translate(_SUPERSCRIPT)) for e in range(lowest, highest + 2, every)]
    y_ticks = _labelled(0.0, top, "share")
    axes = Axes((lowest, highest + 1.0), (0.0, top * 1.05), x_ticks, y_ticks, "|τ|", 420, 220)
    return chart(lines, axes, "share of the elements by size of the change")


def energy(changes: Sequence[tuple[str, Change]], elements: int) -> str:
    """The share of the energy in the largest elements."""
    lines = [Line(label, number, smooth_curve(change, elements)) for number, (label, change) in enumerate(changes)]
    quarters = [(q / 4, f"{q * 25} %") for q in range(5)]
    axes = Axes((0.0, 1.0), (0.0, 1.0), quarters, quarters, "share of the elements, the largest first", 420, 220)
    return chart([line for line in lines if len(line.points) > 1], axes, "share of the energy in the largest elements")


def spectrum(spectra: Sequence[tuple[str, Spectrum]]) -> str:
    """The leading singular values, largest first, one line a source."""
    lines = [
        Line(label, number, tuple((float(i), value) for i, value in enumerate(found.values, 1)))
        for number, (label, found) in enumerate(spectra)
    ]
    count = max((len(line.points) for line in lines), default=0)
    top = max((y for line in lines for _, y in line.points if y is not None), default=0.0) or 1.0
    x_ticks = [(float(i), str(i)) for i in (1, 2, 4, 8, 16, 24, 32) if i <= count]
    x_ticks = [tick for tick in x_ticks if count <= 8 or tick[0] != 2.0]
    axes = Axes((1.0, max(count, 2.0)), (0.0, top * 1.05), x_ticks, _labelled(0.0, top, "number"), "singular value",
                420, 220)  # fmt: skip
    return chart(lines, axes, "leading singular values of the changes")


def ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers between `low` and `high`."""
    if not high > low:
        return [low]
    step = 10.0 ** math.floor(math.log10((high - low) / 3))
    step *= next(m for m in (5, 2, 1) if (high - low) / (step * m) >= 2.5 or m == 1)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _labelled(low: float, high: float, unit: Unit) -> list[tuple[float, str]]:
    """Ticks with as many digits as tell them apart."""
    places = ticks(low, high)
    factor, sign = (100.0, " %") if unit == "share" else (1.0, "")
    digits = max((len(f"{y * factor:.6g}".partition(".")[2]) for y in places), default=0)
    if unit != "share" and (digits > 4 or any(abs(y) >= 1e5 for y in places)):
        return [(y, shown(y, unit)) for y in places]
    return [(y, f"{y * factor:.{digits}f}{sign}") for y in places]


def _grid(axes: Axes) -> str:
    right, bottom = axes.width - _RIGHT, axes.height - _BOTTOM
    across = "".join(
        f'<path class="g" d="M{_LEFT} {_y(axes, y):.1f}H{right}"/>'
        f'<text x="{_LEFT - 8}" y="{_y(axes, y) + 4:.1f}" class="e">{text(label)}</text>'
        for y, label in axes.y_ticks
    )
    below = "".join(
        f'<text x="{_x(axes, x):.1f}" y="{bottom + 15}" class="m">{text(label)}</text>' for x, label in axes.x_ticks
    )
    title = f'<text x="{right}" y="{axes.height - 2}" class="e t">{text(axes.x_title)}</text>'
    return across + below + title


def _drawn(line: Line, axes: Axes) -> str:
    path, pen = "", "M"
    for x, y in line.points:
        if y is None:
            pen = "M"
            continue
        place = f"{_x(axes, x):.1f} {_y(axes, y):.1f}"
        if line.stepped:
            path += f"{pen}{place}H{_x(axes, x + 1):.1f}"
        else:
            path += f"{pen}{place}"
        pen = "L"
    return f'<path class="{_class(line.number)}" d="{path}"><title>{text(line.label)}</title></path>'


def _class(number: int) -> str:
    return f"l l{number % LINES}" + (" dashed" if number >= LINES else "")


def _x(axes: Axes, x: float) -> float:
    low, high = axes.x
    return _LEFT + (x - low) / (high - low) * (axes.width - _LEFT - _RIGHT)


def _y(axes: Axes, y: float) -> float:
    low, high = axes.y
    return axes.height - _BOTTOM - (y - low) / (high - low) * (axes.height - _TOP - _BOTTOM)


def _padded(low: float, high: float) -> tuple[float, float]:
    """A little room; from zero on where that is near."""
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return (0.0 if 0 <= low < 0.6 * high else low - room), high + room


def _exponents(changes: Sequence[Change]) -> tuple[int, int]:
    """The powers of two that hold one element of ten thousand or more, in any change."""
    found = [
        exponent
        for change in changes
        for exponent, (count, _) in change.exponents.items()
        if count * 10_000 >= sum(n for n, _ in change.exponents.values())
    ]
    return (min(found), max(found)) if found else (-1, 0)


def _share_points(change: Change, lowest: int, highest: int, elements: int) -> tuple[tuple[float, float | None], ...]:
    counts = [change.exponents.get(exponent, (0, 0.0))[0] for exponent in range(lowest, highest + 1)]
    return tuple((lowest + i, count / elements if elements else 0.0) for i, count in enumerate(counts))
