"""A record as JSON and CSV: it reads back as it was, and nothing else is taken for one."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mergegraph.errors import InputError
from mergegraph.stats.csv_file import to_csv
from mergegraph.stats.files import from_json, to_json
from mergegraph.stats.metrics import METRICS, Missing, subjects
from mergegraph.stats.record import FORMAT, Change, Outcome, Pair, Record, TensorRecord, Together
from mergegraph.stats.summary import whole
from tests.stats.shown import spectral

CHANGE = Change(0.1, 2.5, -3.0, 4.0, 1.5, 7, 1, {-12: (3, 0.25), 1: (2, 8.0)})
RECORD = Record(
    "base", ("a", "b"), "out",
    (
        TensorRecord(
            "model.layers.0.mlp.up_proj.weight", "bfloat16", (3, 5), tuple(float(i) for i in range(10)), (CHANGE,) * 3,
            {(0, 1): Pair(11, 5)}, Together(2.0, (6, 9)), Outcome(2, 0.5, 1), counted=15,
        ),
        TensorRecord("ids", "int64", (2,), skipped="it is int64"),
    ),
    "merge.yaml", ("a lacks x.",),
)  # fmt: skip


def test_a_record_reads_back_as_it_was() -> None:
    assert from_json(to_json(RECORD), "stats.json") == RECORD


def test_what_float64_cannot_hold_reads_back_as_it_was() -> None:
    change = Change(-math.inf, 1.0, math.nan, math.inf, 1.0, 0, 0, {600: (1, math.inf)})
    tensor = TensorRecord("w", "float64", (1,), (math.inf, 0.0, 1.0), (change,), counted=1)
    written = to_json(Record("b", ("a",), "", (tensor,)))
    found = from_json(written, "x").tensors[0]
    assert (found.gram, found.changes[0].exponents) == (tensor.gram, change.exponents)
    assert (found.changes[0].total, found.changes[0].fourth) == (-math.inf, math.inf)
    assert math.isnan(found.changes[0].third)
    json.loads(written, parse_constant=pytest.fail)


def changed(change: Callable[[Any], object]) -> bytes:
    content = json.loads(to_json(RECORD))
    change(content)
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"{", "is no record of statistics: Expecting"),
        (b"[]", "it has no mergegraph_stats"),
        (b'{"mergegraph": 2}', "it has no mergegraph_stats"),
        (changed(lambda c: c.update(mergegraph_stats=2)), "mergegraph_stats 2; this mergegraph reads 1"),
        (changed(lambda c: c.pop("tensors")), "KeyError: 'tensors'"),
        (changed(lambda c: c["tensors"][0].update(counted=-1)), "-1 is no count"),
        (changed(lambda c: c["tensors"][0]["gram"].pop()), "9 products of 3 changes"),
        (changed(lambda c: c["tensors"][0]["changes"][0].update(total="x")), "x is no number"),
    ],
    ids=["torn", "a list", "a provenance", "another version", "no tensors", "negative", "short", "text"],
)
def test_what_is_no_record_is_refused(raw: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said):
        from_json(raw, "stats.json")


def test_the_table_has_a_row_for_every_tensor() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(RECORD))))
    assert [row["tensor"] for row in rows] == [tensor.name for tensor in RECORD.tensors]
    first, second = rows
    assert (first["kind"], first["layer"], first["shape"], first["gram.1.2"]) == ("mlp", "0", "3x5", "5.0")
    assert (first["out.largest"], first["a|b.opposite"], first["b.wins"], first["result.outside"]) == (
        "1.5",
        "5",
        "9",
        "2",
    )
    assert (second["skipped"], second["gram.0.0"]) == ("it is int64", "")


def test_the_table_has_every_metric_by_name() -> None:
    rows, total = list(csv.DictReader(io.StringIO(to_csv(spectral())))), whole(spectral())
    for metric in METRICS.values():
        for subject in subjects(metric, spectral()):
            about = re.findall("french|python|legal|merged|base", subject.label)
            column = f"{metric.name}({', '.join(about)})" if about else metric.name
            for row, tensor in zip(rows, spectral().tensors, strict=True):
                value = metric.value(tensor, subject, total)
                assert row[column] == ("" if isinstance(value, Missing) else str(value)), column


def test_every_field_and_column_is_documented() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/statistics.md").read_text(encoding="utf-8")
    text = page[page.index("## The files") :]
    named = set(re.findall("`([^`]+)`", text))
    content = json.loads(to_json(spectral()))
    thinned, spectra = (next(t[field] for t in content["tensors"] if t.get(field)) for field in ("thinned", "spectral"))
    fields = {*content, *content["tensors"][0], *content["tensors"][0]["changes"][0], *content["tensors"][0]["outcome"]}
    fields |= {*thinned[0], *thinned[0]["trim"], *thinned[0]["drop"], *spectra, *spectra["sources"][0], "skipped"}
    assert fields <= named
    columns = next(csv.reader(io.StringIO(to_csv(spectral()))))
    plain = [column for column in columns if not re.search("[.(]", column) and column not in METRICS]
    assert set(plain) <= named
    assert f"`mergegraph_stats` | {FORMAT}" in text
