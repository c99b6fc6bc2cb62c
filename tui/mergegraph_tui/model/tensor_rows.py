"""Tables of tensors: by a metric, by what stands out, by how much two records differ. Rows are texts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from textwrap import wrap

from mergegraph.errors import on_one_line
from mergegraph.naming import role
from mergegraph.stats.compare import compare, same_subject
from mergegraph.stats.html.series import difference
from mergegraph.stats.metrics import METRICS, Missing, Value, shown
from mergegraph.units import format_count
from mergegraph_tui.model.detail import Line
from mergegraph_tui.model.heat import FIRST, Choice, choices, text_of
from mergegraph_tui.model.loaded import LoadedRecord

MOST_ROWS = 400
_MOST_COLUMNS = 6


@dataclass(frozen=True, slots=True)
class TensorRow:
    """`tensor`: its name, also the row's key."""

    tensor: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TensorTable:
    """`left_out`: rows that there were no room for."""

    head: tuple[str, ...]
    rows: tuple[TensorRow, ...]
    left_out: int = 0


@lru_cache(maxsize=4)
def by_metric(loaded: LoadedRecord, choice: Choice) -> TensorTable:
    """The tensors, those that are most worth a look first, with the metrics that are shown first."""
    columns = _columns(loaded, choice)
    total = loaded.total.all
    found = [
        (tensor.name, [each.metric.value(tensor, each.subject, total) for each in columns])
        for tensor in loaded.record.tensors
        if not tensor.skipped
    ]
    found.sort(key=lambda each: (_rank(choice, each[1][0]), each[0]))
    rows = [
        TensorRow(name, (short_name(loaded, name), *map(_text, values, (c.metric.unit for c in columns))))
        for name, values in found[:MOST_ROWS]
    ]
    return TensorTable(("tensor", *(_head(each) for each in columns)), tuple(rows), len(found) - len(rows))


def _columns(loaded: LoadedRecord, choice: Choice) -> list[Choice]:
    """What is shown, then the first metrics; of a metric of changes the result's."""
    every = choices(loaded)
    first = {each.metric.name: each for each in reversed(every)}
    others = [
        each
        for each in every
        if each.metric.name in FIRST
        and each != choice
        and (each.metric.per != "change" or first[each.metric.name] == each)
    ]
    return [choice, *others][:_MOST_COLUMNS]


def _head(choice: Choice) -> str:
    return f"{choice.metric.name.replace('_', ' ')} {on_one_line(choice.subject.label)}".strip()


@lru_cache(maxsize=4)
def by_rule(loaded: LoadedRecord) -> TensorTable:
    """What stands out, with the rule that fired and its numbers, the strongest first."""
    every = loaded.standing_out
    rows = [
        TensorRow(each.tensor.name, (short_name(loaded, each.tensor.name), each.rule, on_one_line(each.says), each.why))
        for each in every[:MOST_ROWS]
    ]
    return TensorTable(("tensor", "rule", "numbers", "why"), tuple(rows), len(every) - len(rows))


@lru_cache(maxsize=4)
def by_difference(a: LoadedRecord, b: LoadedRecord, choice: Choice) -> TensorTable:
    """The tensors that both have, those that differ most in a metric first."""
    subject = same_subject(choice.metric, a.record, choice.subject, b.record)
    head = ("tensor", "A", "B", "A - B")
    if subject is None:
        return TensorTable(head, ())
    found: list[tuple[float, str, Value, Value]] = []
    for name, tensor in a.by_name.items():
        if name in b.by_name:
            ours = choice.metric.value(tensor, choice.subject, a.total.all)
            theirs = choice.metric.value(b.by_name[name], subject, b.total.all)
            if not isinstance(apart := difference(ours, theirs), Missing):
                found.append((apart, name, ours, theirs))
    found.sort(key=lambda each: (-abs(each[0]), each[1]))
    unit = choice.metric.unit
    rows = [
        TensorRow(
            name, (short_name(a, name), shown(ours, unit), shown(theirs, unit), text_of(apart, unit, signed=True))
        )
        for apart, name, ours, theirs in found[:MOST_ROWS]
    ]
    return TensorTable(head, tuple(rows), len(found) - len(rows))


@lru_cache(maxsize=4)
def comparison_lines(a: LoadedRecord, b: LoadedRecord, choice: Choice, width: int = 60) -> tuple[Line, ...]:
    """Two records in words: what they are, the metric over all tensors, and where they differ most. In a narrow pane
    names are cut, never numbers."""
    room = max(12, min(30, width - 28))
    found = compare(a.record, b.record)
    lines: list[Line] = [*_named("A", a, width), *_named("B", b, width), ()]
    is_apart = not a.by_name.keys() & b.by_name.keys()
    alone = [f"{len(names)} only in {which}" for which, names in (("A", found.only_a), ("B", found.only_b)) if names]
    notes = ["no tensor is in both: only the wholes can be compared"] if is_apart else []
    notes += [*(f"note: {on_one_line(note)}" for note in found.notes), *([", ".join(alone)] if alone else [])]
    lines += [((line, "warning"),) for note in notes for line in wrap(note, width - 2, subsequent_indent="  ")]
    lines.append(((f"{'whole model':<{room}} {'A':>8} {'B':>8} {'A - B':>9}", "dim"),))
    first = [each for name in (choice.metric.name, *FIRST) for each in found.whole if each.metric is METRICS[name]]
    for metric, of_metric in groupby(dict.fromkeys(first), key=lambda each: each.metric):
        compared = list(of_metric)
        subjects = [on_one_line(each.subject) for each in compared]
        is_short = len(compared) == 1 and len(f"{metric.label} {subjects[0]}") <= room
        labels = [f"{metric.label} {subjects[0]}"] if is_short else [f"  {subject}" for subject in subjects]
        lines += [] if is_short else [((metric.label, "dim"),)]
        for label, each in zip(labels, compared, strict=True):
            apart = text_of(difference(each.a, each.b), metric.unit, signed=True)
            values = f"{shown(each.a, metric.unit):>8} {shown(each.b, metric.unit):>8} {apart:>9}"
            lines.append(
                ((f"{_cut(label, room):<{room}} ", "dim"), (values, "strong" if metric is choice.metric else ""))
            )
    table = by_difference(a, b, choice)
    if table.rows:
        lines += [(), ((f"most different: {choice.title}", "dim"),)]
        for row in table.rows[:12]:
            name, ours, theirs, apart = row.cells
            lines.append(((f"{_cut(name, room):<{room}} ", ""), (f"{ours:>8} {theirs:>8} {apart:>9}", "")))
    return tuple(lines)


def _cut(text: str, room: int) -> str:
    """At most `room` cells of it; that it goes on is said."""
    return text if len(text) <= room else f"{text[: room - 1]}…"


def short_name(loaded: LoadedRecord, name: str) -> str:
    """`L9 mlp up` for a tensor that its cell tells; else what its name has behind the layer."""
    row, column = loaded.place_of[name]
    if row not in loaded.layers:
        return on_one_line(name.removesuffix(".weight"))
    if len(loaded.tensors_in[row, column]) == 1:
        return f"L{row} {column}"
    named = role(name)
    return f"L{row} {on_one_line(name.removesuffix('.weight')[len(f'{named.tower}.{named.layer}.') :])}"


def _named(which: str, loaded: LoadedRecord, width: int) -> list[Line]:
    of = f"{format_count(len(loaded.record.tensors), 'tensor')}, of {', '.join(loaded.record.sources)}"
    start = f"{which}  {loaded.said}"
    if len(start) + len(of) + 4 <= width:
        return [((start, "strong"), (f"  {of}", "dim"))]
    rest = wrap(of, width - 2, initial_indent="   ", subsequent_indent="   ")
    return [((start, "strong"),), *(((line, "dim"),) for line in rest)]


def _rank(choice: Choice, value: Value) -> float:
    """What is most worth a look has the lowest."""
    if isinstance(value, Missing):
        return float("inf")
    if choice.metric.worth == "low":
        return value
    centre = choice.metric.centre if choice.metric.centre is not None else 1.0
    return -abs(value - centre) if choice.metric.worth == "far" else -value


def _text(value: Value, unit: str) -> str:
    return f"{shown(value, 'share' if unit == 'share' else 'count' if unit == 'count' else 'number'):>8}"
