"""A record of statistics as the Stats screen looks at it: with its sums by layer and kind, found out once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path

from mergegraph.errors import MergegraphError, Problem
from mergegraph.stats.files import STATS, load
from mergegraph.stats.record import Record, TensorRecord
from mergegraph.stats.standing_out import StandingOut, standing_out
from mergegraph.stats.summary import OUTSIDE, Grid, Sums, grid, places, sums
from mergegraph_tui.model.files import Stamp, stamp

_DIGEST = re.compile(r"-[0-9a-f]{16}(?=-|$)")
"""That of a text in the name of a file that `records.measured_file` gives."""
Cell = tuple[str, str]
"""Row (a layer, or `OUTSIDE`) and column (a kind, with its part)."""


@dataclass(frozen=True, eq=False)
class LoadedRecord:
    """`path`: the file; `stamp`: how it was when it was read. Equal to itself alone, so that what is made of it can be
    kept."""

    path: Path
    stamp: Stamp | None
    record: Record = field(repr=False)

    @property
    def name(self) -> str:
        """What it is called: the folder of an output, else the file; of a recipe that was measured, the recipe."""
        return self.path.parent.name if self.path.name == STATS else _DIGEST.sub("", self.path.stem)

    @property
    def said(self) -> str:
        """The name beside that of another; of what was measured with its time, since a recipe is measured often."""
        if self.stamp is None or not _DIGEST.search(self.path.stem):
            return self.name
        return f"{self.name} {datetime.fromtimestamp(self.stamp.modified_ns / 1e9):%H:%M}"

    @cached_property
    def grid(self) -> Grid:
        return grid(self.record)

    @cached_property
    def total(self) -> Sums:
        return sums(self.record.tensors, "whole model")

    @cached_property
    def standing_out(self) -> tuple[StandingOut, ...]:
        return tuple(standing_out(self.record))

    @cached_property
    def by_name(self) -> Mapping[str, TensorRecord]:
        return {tensor.name: tensor for tensor in self.record.tensors}

    @cached_property
    def place_of(self) -> Mapping[str, Cell]:
        """The cell of every tensor, by name."""
        return places(self.record)

    @cached_property
    def tensors_in(self) -> Mapping[Cell, tuple[TensorRecord, ...]]:
        found: dict[Cell, list[TensorRecord]] = {}
        for tensor in self.record.tensors:
            found.setdefault(self.place_of[tensor.name], []).append(tensor)
        return {cell: tuple(tensors) for cell, tensors in found.items()}

    @cached_property
    def by_kind(self) -> Mapping[str, Mapping[str, Sums]]:
        """Kind to layer to the tensors of that kind there, as one; of kinds that are in layers."""
        found: dict[str, dict[str, list[TensorRecord]]] = {}
        for (row, column), tensors in self.tensors_in.items():
            if row != OUTSIDE:
                found.setdefault(column.partition(" ")[0], {}).setdefault(row, []).extend(tensors)
        return {kind: {row: sums(tensors) for row, tensors in rows.items()} for kind, rows in found.items()}

    @property
    def layers(self) -> tuple[str, ...]:
        """The rows that are layers."""
        return tuple(row for row in self.grid.rows if row != OUTSIDE)

    def shares(self, other: LoadedRecord, row: str, column: str | None = None) -> bool:
        """Whether a tensor of a cell, or of a row, is in the other record too: else their numbers are of two things."""
        columns = self.grid.columns if column is None else (column,)
        cells = (self.tensors_in.get((row, each), ()) for each in columns)
        return any(tensor.name in other.by_name for tensors in cells for tensor in tensors)

    def prepare(self) -> LoadedRecord:
        """Find out what the screen shows first, in the thread that reads the file."""
        _ = (self.grid, self.total, self.tensors_in, self.by_kind, self.standing_out)
        return self


def load_record(path: Path) -> LoadedRecord | Problem:
    """The record in a file, or beside an output; why it cannot be read."""
    file = path / STATS if path.is_dir() else path
    found = stamp(file)
    try:
        return LoadedRecord(file, found, load(file)).prepare()
    except MergegraphError as error:
        return error.problems[0]
