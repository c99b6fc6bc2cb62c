"""One tensor of a record on a terminal: every metric, a histogram of its changes, and their energy curves."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from mergegraph.cli.stats_text import add, columns, words
from mergegraph.errors import on_one_line
from mergegraph.stats.energy import curve, energy_kept
from mergegraph.stats.metrics import METRICS, Missing, shown, subjects
from mergegraph.stats.record import Change, Record, TensorRecord
from mergegraph.stats.spectral import NOT_ASKED, lora_words
from mergegraph.stats.standing_out import standing_out
from mergegraph.stats.summary import whole

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_BAR = 40
_ROWS = 24
"""Exponents shown; smaller ones are one row."""
_PLACES = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32)
"""Of the singular values that are shown, the largest being the first."""
_POINTS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7)


def show_tensor(console: Console, record: Record, name: str) -> None:
    """The tensor `name`, which the record has."""
    tensor = next(each for each in record.tensors if each.name == name)
    shape = " × ".join(map(str, tensor.shape)) or "one number"
    console.print(
        Text(on_one_line(name), "bold"), Text(f"{tensor.dtype}  {shape}  {tensor.elements:,} elements", "dim")
    )
    if tensor.skipped:
        console.print(words(f"not looked at: {tensor.skipped}"))
        return
    for each in standing_out(record):
        if each.tensor is tensor:
            console.print(Text(f"stands out, {each.rule}: {on_one_line(each.says)}"))
    _metrics(console, record, tensor)
    names = [*record.sources, *([record.result] if record.result else [])]
    for source, change in zip(names, tensor.changes, strict=True):
        _histogram(console, on_one_line(source), change, tensor.elements)
        _energy(console, change, tensor.elements)
    _spectra(console, record, tensor)


def _spectra(console: Console, record: Record, tensor: TensorRecord) -> None:
    """The leading singular values of every change, and whether a source's looks like a LoRA."""
    found = tensor.spectral
    reason = f"{NOT_ASKED} (--tier 2)" if found is None else found.skipped
    if found is None or reason:
        console.print()
        console.print(words(f"no singular values: {reason}", "dim"))
        return
    for number, (name, spectrum) in enumerate(zip((*record.sources, record.result), found.changes, strict=False)):
        console.print()
        console.print(Text(f"{on_one_line(name)}: singular values", "bold"))
        if not spectrum.energy > 0.0:
            console.print(Text("nothing changed", "dim"))
            continue
        for place in _PLACES:
            if place <= len(spectrum.values):
                value = spectrum.values[place - 1]
                console.print(Text(f"{place:>12} {_bar(value / spectrum.values[0])} {shown(value):>8}"))
        held = 1.0 - spectrum.outside / spectrum.energy
        lora = f"; {lora_words(tensor, number)}" if number < len(record.sources) else ""
        console.print(Text(f"{shown(held, 'share')} of the energy{lora}", "dim"))


def _metrics(console: Console, record: Record, tensor: TensorRecord) -> None:
    table, total = columns(("metric", "of", "value", "by noise")), whole(record)
    for metric in METRICS.values():
        for number, subject in enumerate(subjects(metric, record)):
            value, floor = metric.value(tensor, subject, total), metric.floor(tensor, subject)
            text = f"– ({value.reason})" if isinstance(value, Missing) else shown(value, metric.unit)
            noise = f"{shown(floor.expected, metric.unit)} ± {shown(floor.spread, metric.unit)}" if floor else ""
            add(table, "" if number else metric.label, subject.label, text, noise)
    console.print(table)


def _histogram(console: Console, name: str, change: Change, elements: int) -> None:
    """Elements by size, one row a power of two."""
    console.print()
    console.print(Text(f"{name}: elements by |τ|", "bold"))
    top = sorted(change.exponents, reverse=True)
    rows = [(f"2^{exponent}", change.exponents[exponent][0]) for exponent in top[:_ROWS]]
    if top[_ROWS:]:
        rows.append((f"below 2^{top[_ROWS - 1]}", sum(change.exponents[exponent][0] for exponent in top[_ROWS:])))
    rows.append(("zero", change.zeros))
    most = max(count for _, count in rows) or 1
    for label, count in rows:
        share = shown(count / elements if elements else 0.0, "share")
        console.print(Text(f"{label:>12} {_bar(count / most)} {share:>8}"))


def _energy(console: Console, change: Change, elements: int) -> None:
    """The energy that the largest elements hold, at a few densities."""
    if len(curve(change, elements)) < 2:
        return
    console.print(Text("energy in the largest elements", "bold"))
    for share in _POINTS:
        kept = energy_kept(change, elements, share) or 0.0
        console.print(Text(f"{shown(share, 'share'):>12} {_bar(kept)} {shown(kept, 'share'):>8}"))


def _bar(share: float) -> str:
    """`share` of a bar, to an eighth of a character."""
    eighths = round(share * _BAR * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(_BAR)
