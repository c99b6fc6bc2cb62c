"""A record as CSV for other programs, one row a tensor: every metric by name, and the sums they follow from."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict

from mergegraph.stats.at import BASE
from mergegraph.stats.metrics import METRICS, Metric, Missing, Subject, subjects
from mergegraph.stats.pooling import sums
from mergegraph.stats.record import Record, Spectral, TensorRecord


def to_csv(record: Record) -> str:
    """A cell is empty where there is no value. A metric that the record has no subject for has no column."""
    whole = sums(record.tensors).all
    asked = [
        (_column(metric, record, subject), metric, subject)
        for metric in METRICS.values()
        for subject in subjects(metric, record)
    ]
    rows = [_head(each) | _metrics(each, asked, whole) | _sums(record, each) for each in record.tensors]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    table = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def _column(metric: Metric, record: Record, subject: Subject) -> str:
    """`relative(a)`, `cosine(a, b)`, `asymmetry`."""
    names = {BASE: record.base, len(record.sources): record.result, **dict(enumerate(record.sources))}
    about = {"tensor": (), "change": (subject.i,), "source": (subject.i,)}.get(metric.per, (subject.i, subject.j))
    return f"{metric.name}({', '.join(names[each] for each in about)})" if about else metric.name


def _metrics(
    tensor: TensorRecord, asked: Sequence[tuple[str, Metric, Subject]], whole: TensorRecord | None
) -> dict[str, object]:
    values = {column: metric.value(tensor, subject, whole) for column, metric, subject in asked}
    return {column: "" if isinstance(value, Missing) else value for column, value in values.items()}


def _head(tensor: TensorRecord) -> dict[str, object]:
    role = tensor.role
    return {
        "tensor": tensor.name, "dtype": tensor.dtype, "shape": "x".join(map(str, tensor.shape)),
        "elements": tensor.elements, "kind": role.kind, "layer": "" if role.layer is None else role.layer,
        "skipped": tensor.skipped, "counted": tensor.counted or "",
    }  # fmt: skip


def _sums(record: Record, tensor: TensorRecord) -> dict[str, object]:
    """What is kept of it, but for the exponents; nothing where nothing was counted."""
    if tensor.skipped:
        return {}
    row: dict[str, object] = {}
    size = len(tensor.changes) + 1
    places = [(i, j) for i in range(size) for j in range(i, size)]
    row |= {f"gram.{i}.{j}": value for (i, j), value in zip(places, tensor.gram, strict=True)}
    for name, change in zip(_change_names(record, tensor), tensor.changes, strict=True):
        row |= {f"{name}.{what}": value for what, value in asdict(change).items() if what != "exponents"}
    for (i, j), pair in (tensor.pairs or {}).items():
        pairing = f"{record.sources[i]}|{record.sources[j]}"
        row |= {f"{pairing}.both": pair.both, f"{pairing}.opposite": pair.opposite}
    if tensor.together is not None:
        row["absolute_of_sum"] = tensor.together.absolute_of_sum
        winners = zip(record.sources, tensor.together.winners, strict=True)
        row |= {f"{name}.wins": count for name, count in winners}
    row |= {f"result.{what}": value for what, value in asdict(tensor.outcome).items()} if tensor.outcome else {}
    for name, each in zip(record.sources, tensor.thinned, strict=False):
        taken = {what: numbers for what, numbers in asdict(each).items() if numbers is not None}
        row |= {f"{name}.{what}.{of}": value for what, numbers in taken.items() for of, value in numbers.items()}
    return row | (_spectral_row(record, tensor.spectral) if tensor.spectral is not None else {})


def _spectral_row(record: Record, found: Spectral) -> dict[str, object]:
    row: dict[str, object] = {"spectra_skipped": found.skipped}
    for name, spectrum in zip((*record.sources, record.result), found.changes, strict=False):
        row |= {f"{name}.sigma.{n}": value for n, value in enumerate(spectrum.values, 1)}
        row |= {f"{name}.sigma.outside": spectrum.outside, f"{name}.sigma.rounding": spectrum.rounding}
    for (i, j), overlap in found.overlaps.items():
        pairing = f"{record.sources[i]}|{record.sources[j]}"
        row |= {f"{pairing}.overlap.{what}": value for what, value in asdict(overlap).items()}
    return row


def _change_names(record: Record, tensor: TensorRecord) -> Sequence[str]:
    return [*record.sources, record.result][: len(tensor.changes)]
