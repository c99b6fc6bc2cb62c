"""What the Stats screen makes of a record, whatever the record is of; and which record it takes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mergegraph_tui.model.by_layer import layer_plot
from mergegraph_tui.model.checking import check_text
from mergegraph_tui.model.detail import detail_lines
from mergegraph_tui.model.document import Document
from mergegraph_tui.model.exporting import KINDS, export
from mergegraph_tui.model.heat import choices, picture
from mergegraph_tui.model.loaded import LoadedRecord, load_record
from mergegraph_tui.model.records import measured_file, own_record, records
from mergegraph_tui.model.tensor_rows import by_difference, by_metric, by_rule, comparison_lines

from mergegraph.errors import Problem
from mergegraph.stats.files import STATS
from mergegraph.stats.metrics import METRICS
from mergegraph.stats.record import Record, TensorRecord
from tests.stats import made
from tests.tui.conftest import TWO_TUNED

NAMES = ("encoder.layers.0.mlp.fc1.weight", "decoder.layers.0.mlp.fc1.weight", "decoder.layers.1.norm.weight", "odd")
SHAPES = ((6, 5), (6, 5), (7,), (3,))


def model(seed: int) -> made.Model:
    torch.manual_seed(seed)
    return {name: torch.randn(shape) for name, shape in zip(NAMES, SHAPES, strict=True)}


def record(kind: str) -> Record:
    base, sources = model(0), {"a": model(1), "b": model(2)}
    if kind == "empty":
        return Record("", ("a",), "", ())
    if kind == "skipped":
        return Record("base", ("a",), "out", (TensorRecord("x", "int8", (3,), skipped="it is not floating point"),))
    if kind == "one":
        return made.record({"a": model(1)}, base)
    return made.record(sources, None if kind == "no base" else base, model(3) if kind == "merged" else None)


@pytest.mark.parametrize("kind", ["merged", "no result", "no base", "one", "skipped", "empty"])
def test_every_record_is_shown(kind: str, tmp_path: Path) -> None:
    loaded = LoadedRecord(tmp_path / "x.json", None, record(kind)).prepare()
    for choice in choices(loaded):
        for other in (None, loaded):
            found = picture(loaded, choice, other)
            assert len(found.row_names) == len(found.rows)
            layer_plot(loaded, choice, "", other)
        assert all(len(row.cells) == len(by_metric(loaded, choice).head) for row in by_metric(loaded, choice).rows)
        assert not any(row.cells[3].strip("+-0.%") for row in by_difference(loaded, loaded, choice).rows)
        assert comparison_lines(loaded, loaded, choice)
    by_rule(loaded)
    for tensor in loaded.record.tensors:
        for ascii_only in (False, True):
            text = "\n".join(
                "".join(part for part, _ in line) for line in detail_lines(loaded, tensor, 60, ascii_only=ascii_only)
            )
            assert tensor.name in text
            assert all(
                metric.label in text for metric in METRICS.values() if kind == "merged" and metric.per == "tensor"
            )


def test_records_without_a_common_tensor_are_compared_as_wholes_alone(tmp_path: Path) -> None:
    """Cells of the same place have nothing in common then: a layer of a vision model and one of a language model."""
    one = record("merged")
    renamed = tuple(replace(each, name=each.name.replace(".weight", ".other_weight")) for each in one.tensors[:3])
    loaded = LoadedRecord(tmp_path / "x.json", None, one).prepare()
    other = LoadedRecord(tmp_path / "y.json", None, replace(one, tensors=renamed)).prepare()
    assert loaded.grid.cells.keys() & other.grid.cells.keys(), "they meet in cells"
    for choice in choices(loaded):
        assert picture(loaded, choice, loaded).cells
        assert not picture(loaded, choice, other).cells
        assert layer_plot(loaded, choice, "", other).lines[1].values == (None,) * len(loaded.layers)
    said = "\n".join(part for line in comparison_lines(loaded, other, choices(loaded)[0]) for part, _ in line)
    assert "no tensor is in both" in said


def test_rows_of_two_towers_are_told_apart(tmp_path: Path) -> None:
    loaded = LoadedRecord(tmp_path / "x.json", None, record("merged"))
    assert picture(loaded, choices(loaded)[0]).row_names == ("decoder 0", "decoder 1", "encoder 0", "rest")


def test_files_are_written_once_and_replaced_when_asked(tmp_path: Path) -> None:
    loaded = LoadedRecord(tmp_path / "x.json", None, record("merged"))
    choice = choices(loaded)[0]
    for kind in KINDS:
        assert export(loaded, choice, tmp_path / f"a.{kind}") is None
        refused = export(loaded, choice, tmp_path / f"a.{kind}")
        assert isinstance(refused, Problem)
        assert export(loaded, choice, tmp_path / f"a.{kind}", replace=True) is None
    assert isinstance(load_record(tmp_path / "a.json"), LoadedRecord)
    assert isinstance(load_record(tmp_path / "a.csv"), Problem)
    assert (tmp_path / "a.svg").read_text().count("<rect") == 1 + len(picture(loaded, choice).cells)
    assert isinstance(export(loaded, choice, tmp_path / "a.doc"), Problem)
    assert isinstance(export(loaded, choice, tmp_path / "nowhere" / "a.csv"), Problem)


def test_the_newest_record_of_this_text_is_taken(
    tmp_path: Path, record_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "merge.yaml").write_text(TWO_TUNED)
    document = Document.open(tmp_path / "merge.yaml")
    assert isinstance(document, Document)
    checked = check_text(document.text, document.path)
    assert own_record(document, checked) is None
    of_output, of_text = tmp_path / "out" / "merged" / STATS, measured_file(document)
    for number, path in enumerate((of_output, of_text)):
        path.parent.mkdir(parents=True)
        path.write_bytes(record_file.read_bytes())
        os.utime(path, (number, number))
    assert own_record(document, checked) == of_text
    assert [each.path for each in records(document, checked)] == [of_output, of_text]
    document.edit(TWO_TUNED.replace("0.6", "0.5"), "half")
    assert own_record(document, checked) == of_output
    document.undo()
    assert own_record(document, checked) == of_text
