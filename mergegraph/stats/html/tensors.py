"""The part of a report about single tensors: a table that sorts, and each tensor in full, with pictures.

A file stays small: with many tensors the table has the ones that stand out and those with the largest changes, and
fewer of them in full. The report says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mergegraph.stats import gram
from mergegraph.stats.html.charts import energy, histogram, spectrum
from mergegraph.stats.html.elements import number, short, table, text
from mergegraph.stats.metrics import (
    METRICS,
    Metric,
    Missing,
    Per,
    Subject,
    Value,
    left_out_words,
    some_subjects,
    subjects,
)
from mergegraph.stats.pooling import Sums
from mergegraph.stats.record import Record, TensorRecord
from mergegraph.stats.spectral import lora_words
from mergegraph.stats.standing_out import StandingOut

_SORTS: tuple[Per, ...] = ("change", "source", "pair", "tensor")
ROWS = 400
DETAILS = 60
MOST_ROWS = 16
"""Sources or pairs of a metric; with ten sources there are 45 pairs."""
DEVIATIONS = 3.0
"""Within so many of what noise gives, a value in the table is pale."""

_COLUMNS = (
    "relative", "share", "kurtosis", "density_90", "cosine", "sign_conflict", "weight_cosine", "asymmetry",
    "trim_loss", "election_loss", "drop_error", "retention", "residual", "cast_loss", "stable_rank", "leading_energy",
    "overlap_left",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Chosen:
    """`rows` are in the table, `details` in full; `of` tensors were looked at."""

    rows: tuple[TensorRecord, ...]
    details: Mapping[str, int]
    of: int

    @property
    def note(self) -> str:
        """What is pale, and what was left out."""
        pale = f"Pale: within {DEVIATIONS:g} deviations of what noise gives, which a cell tells when pointed at."
        if len(self.details) == self.of:
            return pale
        return (
            f"{pale} Of {self.of:,} tensors the table has {len(self.rows):,} and {len(self.details):,} are shown in "
            "full: those that stand out, then those with the largest changes."
        )


def choose(record: Record, found: Sequence[StandingOut]) -> Chosen:
    counted = [tensor for tensor in record.tensors if not tensor.skipped]
    odd = dict.fromkeys(each.tensor.name for each in found)
    rank = {name: i for i, name in enumerate(odd)}
    ordered = sorted(counted, key=lambda t: (rank.get(t.name, len(rank)), -_moved(t)))
    rows = {t.name for t in ordered[:ROWS]}
    details = {t.name for t in ordered[:DETAILS]}
    shown_rows = tuple(t for t in counted if t.name in rows)
    numbers = {t.name: i for i, t in enumerate(t for t in counted if t.name in details)}
    return Chosen(shown_rows, numbers, len(counted))


def tensor_table(record: Record, chosen: Chosen, total: Sums) -> str:
    """One row a tensor; of a metric with several values the result's, else the one most worth a look."""
    metrics = [METRICS[name] for name in _COLUMNS if subjects(METRICS[name], record)]
    head = ["tensor", "kind", "layer", "elements", *(_headed(metric, record) for metric in metrics)]
    rows = [
        [
            f'<th scope="row">{linked(tensor.name, chosen)}</th>',
            f"<td>{text(tensor.role.kind)}</td>",
            _sorted(-1.0 if tensor.role.layer is None else float(tensor.role.layer), tensor.role.layer),
            _sorted(float(tensor.elements), f"{tensor.elements:,}"),
            *(_measured(*_telling(metric, record, tensor, total), tensor, metric) for metric in metrics),
        ]
        for tensor in chosen.rows
    ]
    heads = "".join(f'<th scope="col"><button type="button">{each}</button></th>' for each in head)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return (
        f'<div class="scroll tall"><table class="plain sort"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def in_full(record: Record, chosen: Chosen, found: Iterable[StandingOut], total: Sums) -> str:
    rules: dict[str, list[StandingOut]] = {}
    for each in found:
        rules.setdefault(each.tensor.name, []).append(each)
    return "".join(
        _detail(record, tensor, chosen.details[tensor.name], rules.get(tensor.name, ()), total)
        for tensor in chosen.rows
        if tensor.name in chosen.details
    )


def linked(name: str, chosen: Chosen) -> str:
    """The tensor's name, as a link to it in full where it is there."""
    place = chosen.details.get(name)
    return text(name) if place is None else f'<a href="#t{place}">{text(name)}</a>'


def _detail(record: Record, tensor: TensorRecord, number_: int, rules: Sequence[StandingOut], total: Sums) -> str:
    shape = " × ".join(map(str, tensor.shape)) or "one number"
    names = [*record.sources, *([record.result] if record.result else [])]
    changes = list(zip(names, tensor.changes, strict=True))
    fired = "".join(f"<li><b>{text(each.rule)}</b>: {text(each.says)}. {text(each.why)}.</li>" for each in rules)
    return (
        f'<details id="t{number_}"><summary>{text(tensor.name)} <small>{text(tensor.dtype)} {text(shape)}</small>'
        f"</summary>{f'<ul>{fired}</ul>' if fired else ''}"
        f'<div class="two"><figure><figcaption>Elements by size of their change</figcaption>'
        f"{histogram(changes, tensor.elements)}</figure><figure><figcaption>Energy in the largest elements</figcaption>"
        f"{energy(changes, tensor.elements)}</figure>{_spectra(record, tensor)}</div>"
        + "".join(_values(record, tensor, total, per) for per in _SORTS)
        + "</details>"
    )


def _spectra(record: Record, tensor: TensorRecord) -> str:
    """The leading singular values; why there are none, where they were asked for."""
    found = tensor.spectral
    if found is None:
        return ""
    if found.skipped:
        return f'<p class="note">No singular values: {text(found.skipped)}.</p>'
    words = "".join(
        f"<li>{text(name)}: {text(lora_words(tensor, number))}</li>"
        for number, (name, each) in enumerate(zip(record.sources, found.sources, strict=True))
        if each.energy > 0.0
    )
    return (
        f"<figure><figcaption>Leading singular values</figcaption>"
        f"{spectrum(list(zip((*record.sources, record.result), found.changes, strict=False)))}</figure>"
        + (f'<ul class="note">{words}</ul>' if words else "")
    )


def _values(record: Record, tensor: TensorRecord, total: Sums, per: Per) -> str:
    """The metrics of one sort, one row for each source or pair."""
    metrics = [metric for metric in METRICS.values() if metric.per == per and subjects(metric, record)]
    if not metrics:
        return ""
    longest = max(metrics, key=lambda metric: len(subjects(metric, record)))
    chosen, others = some_subjects(longest, record, MOST_ROWS)
    head = ["", *(f'<span title="{text(metric.formula)}">{text(metric.label_in(record))}</span>' for metric in metrics)]
    rows = [[text(subject.label), *(_of(metric, tensor, subject, total) for metric in metrics)] for subject in chosen]
    rows += [[text(left_out_words(others)), *[""] * len(metrics)]] if others else []
    return table(head, rows)


def _of(metric: Metric, tensor: TensorRecord, subject: Subject, total: Sums) -> str:
    value = metric.value(tensor, subject, total.all)
    if isinstance(value, Missing):
        return f'<span title="{text(value.reason)}">–</span>'
    noise = metric.noise_words(tensor, subject)
    return short(value, metric.unit) + (f"<br><small>{text(noise)}</small>" if noise else "")


def _telling(metric: Metric, record: Record, tensor: TensorRecord, total: Sums) -> tuple[Value, Subject]:
    """The one value for a table's column, and what it is of."""
    every = subjects(metric, record)
    chosen = every[-1:] if metric.per == "change" and record.result else every
    values = [(metric.value(tensor, subject, total.all), subject) for subject in chosen]
    having = [(value, subject) for value, subject in values if not isinstance(value, Missing)]
    if not having:
        return values[0]
    if metric.worth == "low":
        return min(having, key=lambda each: each[0])
    if metric.worth == "far":
        centre = metric.centre if metric.centre is not None else 1.0
        return max(having, key=lambda each: abs(each[0] - centre))
    return max(having, key=lambda each: each[0])


def _headed(metric: Metric, record: Record) -> str:
    several = len(subjects(metric, record)) > 1 and not (metric.per == "change" and record.result)
    words = {"low": "lowest", "far": "furthest", "high": "highest", "none": "highest"}[metric.worth]
    return text(metric.label_in(record)) + (f" ({words})" if several else "")


def _measured(value: Value, subject: Subject, tensor: TensorRecord, metric: Metric) -> str:
    """Pale where it says no more than noise does."""
    if isinstance(value, Missing):
        return f'<td class="n" title="{text(value.reason)}">–</td>'
    floor = metric.floor(tensor, subject)
    is_noise = floor is not None and abs(value - floor.expected) <= DEVIATIONS * floor.spread
    noise = "" if floor is None else f' title="noise {text(metric.noise_words(tensor, subject))}"'
    return f'<td class="n{" dim" if is_noise else ""}" data-v="{number(value)}"{noise}>{short(value, metric.unit)}</td>'


def _sorted(key: float, shown: object) -> str:
    return f'<td class="n" data-v="{number(key)}">{"–" if shown is None else text(shown)}</td>'


def _moved(tensor: TensorRecord) -> float:
    """‖τ*‖², else the largest of the sources'."""
    energies = [gram.inner(tensor, i + 1, i + 1) for i in range(len(tensor.changes))]
    return energies[-1] if tensor.outcome is not None else max(energies)
