"""One tensor in full, as lines: what it is, why it stands out, its metrics with what noise gives, its changes by size.

A line is parts of text with the key of their style.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mergegraph.errors import on_one_line
from mergegraph.stats.energy import energy_kept
from mergegraph.stats.metrics import METRICS, Metric, Missing, Subject, shown, subjects
from mergegraph.stats.record import Change, TensorRecord
from mergegraph_tui.model.heat import FIRST
from mergegraph_tui.model.loaded import LoadedRecord
from mergegraph_tui.model.plot import Painted, Plot, PlotLine, plot_rows

Part = tuple[str, str]
Line = tuple[Part, ...]

_BLOCKS = " ▁▂▃▄▅▆▇█"
_ASCII_BLOCKS = " .:-=+*#@"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_HEIGHT = 3
_LEAST_LABEL, _MOST_LABEL = 19, 34
_BESIDE_LABEL = 24
"""Of a line of numbers: the value, and what noise gives."""
_POINTS = tuple(share / 20 for share in range(21))


def detail_lines(
    loaded: LoadedRecord, tensor: TensorRecord, width: int, *, ascii_only: bool = False, note: str = ""
) -> list[Line]:
    """`width`: of the pane; `note`: what is said behind the name, "1 of 2 here"."""
    return list(_lines(loaded, tensor, max(width, 24), ascii_only=ascii_only, note=note))


def _lines(loaded: LoadedRecord, tensor: TensorRecord, width: int, *, ascii_only: bool, note: str) -> Iterator[Line]:
    by, dot = (" x ", " - ") if ascii_only else (" × ", " · ")
    yield ((on_one_line(tensor.name), "strong"),)
    shape = by.join(map(str, tensor.shape)) or "one number"
    counted = f"{dot}{tensor.counted:,} counted" if 0 < tensor.counted < tensor.elements else ""
    yield ((f"{shape}{dot}{tensor.dtype}{dot}{tensor.elements:,} elements{counted}", "dim"),)
    if note:
        yield ((note, "dim"),)
    if tensor.skipped:
        yield ((f"not looked at: {tensor.skipped}", "warning"),)
        return
    for each in loaded.standing_out:
        if each.tensor.name == tensor.name:
            yield ((f"{'!' if ascii_only else '▲'} {each.rule}: ", "warning"), (on_one_line(each.says), ""))
            yield ((f"  {each.why}", "dim"),)
    yield ()
    room = min(max(_LEAST_LABEL, width - _BESIDE_LABEL), _MOST_LABEL)
    yield ((f"{'':<{room}} {'value':>8}  noise alone", "dim"),)
    yield from _metrics(loaded, tensor, [METRICS[name] for name in FIRST], room, ascii_only=ascii_only)
    yield from _pictures(loaded, tensor, width, ascii_only=ascii_only)
    yield ()
    others = [metric for name, metric in METRICS.items() if name not in FIRST]
    yield from _metrics(loaded, tensor, others, room, ascii_only=ascii_only)


def _metrics(
    loaded: LoadedRecord, tensor: TensorRecord, metrics: Sequence[Metric], room: int, *, ascii_only: bool
) -> Iterator[Line]:
    for metric in metrics:
        about = subjects(metric, loaded.record)
        if len(about) > 1:
            yield ((metric.label, "dim"),)
        for subject in about:
            label = f"  {on_one_line(subject.label)}" if len(about) > 1 else metric.label
            yield _metric(loaded, tensor, metric, subject, f"{label[:room]:<{room}} ", ascii_only=ascii_only)


def _metric(
    loaded: LoadedRecord, tensor: TensorRecord, metric: Metric, subject: Subject, label: str, *, ascii_only: bool
) -> Line:
    """Its value, and what noise alone would give."""
    value, floor = metric.value(tensor, subject, loaded.total.all), metric.floor(tensor, subject)
    head: Part = (label, "dim")
    if isinstance(value, Missing):
        return head, (f"{'-' if ascii_only else '–':>8}", ""), (f"  {value.reason}", "dim")
    is_noise = floor is not None and abs(value - floor.expected) <= 3 * floor.spread
    noise = ""
    if floor is not None:
        spread = "" if floor.spread == 0 else f" {'+-' if ascii_only else '±'} {shown(floor.spread, metric.unit)}"
        noise = f"  {shown(floor.expected, metric.unit)}{spread}".replace(" %", "%")
    return head, (f"{shown(value, metric.unit):>8}", "dim" if is_noise else "strong"), (noise, "dim")


def _pictures(loaded: LoadedRecord, tensor: TensorRecord, width: int, *, ascii_only: bool) -> Iterator[Line]:
    record = loaded.record
    names = [*record.sources, *([record.result] if record.result else [])]
    changes = [(on_one_line(name), change) for name, change in zip(names, tensor.changes, strict=True)]
    exponents = _exponents([change for _, change in changes])
    if not exponents:
        return
    yield ()
    yield (("elements by size of change (share of all)", "dim"),)
    for number, (name, change) in enumerate(changes):
        yield from _histogram(name, number, change, tensor.elements, exponents, width, ascii_only=ascii_only)
    yield ()
    yield (("energy in the largest elements", "dim"),)
    lines = tuple(
        PlotLine(name, tuple(0.0 if share == 0 else energy_kept(change, tensor.elements, share) for share in _POINTS))
        for name, change in changes
    )
    labels = tuple(f"{share:.0%}" for share in _POINTS)
    plot = Plot(lines, labels, x_title="of all", unit_share=True)
    yield from (painted_line(row) for row in plot_rows(plot, width, 8, ascii_only=ascii_only))


def _histogram(
    name: str, number: int, change: Change, elements: int, exponents: range, width: int, *, ascii_only: bool
) -> Iterator[Line]:
    """One column (or two, where there is room) a power of two."""
    blocks = _ASCII_BLOCKS if ascii_only else _BLOCKS
    each = 3 if len(exponents) * 3 + 12 <= width else 2 if len(exponents) * 2 + 12 <= width else 1
    shares = [change.exponents.get(e, (0, 0.0))[0] / elements for e in exponents]
    top = max(max(shares), 1e-12)
    for row in range(_HEIGHT, 0, -1):
        bars = "".join(
            blocks[max(0, min(8, round((share / top * _HEIGHT - (row - 1)) * 8)))] * each for share in shares
        )
        label = name[:11] if row == _HEIGHT else f"top {shown(top, 'share')}" if row == 2 else ""
        zero = f"  zero {shown(change.zeros / elements, 'share')}" if row == 1 and change.zeros else ""
        yield (f"{label:<12}", "dim"), (bars, f"line-{number}"), (zero, "dim")
    first, last = (f"2^{e}" if ascii_only else f"2{str(e).translate(_SUPERSCRIPT)}" for e in
                   (exponents[0], exponents[-1] + 1))  # fmt: skip
    yield ((f"{'':<12}{first}{last:>{max(1, len(exponents) * each - len(first))}}", "dim"),)


def _exponents(changes: Sequence[Change]) -> range:
    """The powers of two that hold one element of a thousand or more, in any change."""
    found = [
        exponent
        for change in changes
        for exponent, (count, _) in change.exponents.items()
        if count * 1_000 >= sum(n for n, _ in change.exponents.values())
    ]
    return range(min(found), max(found) + 1) if found else range(0)


def painted_line(row: Sequence[Painted]) -> Line:
    """Characters with styles, those of one style together."""
    parts: list[Part] = []
    for character, key in row:
        if parts and parts[-1][1] == key:
            parts[-1] = (parts[-1][0] + character, key)
        else:
            parts.append((character, key))
    return tuple(parts)
