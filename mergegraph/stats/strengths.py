"""How strongly each source entered a result, kind by kind, read off the inner products."""

from __future__ import annotations

from collections import defaultdict

from mergegraph.stats.hints import Strengths
from mergegraph.stats.metrics import METRICS, Missing, Subject
from mergegraph.stats.pooling import Sums, joined
from mergegraph.stats.record import Record, TensorRecord
from mergegraph.stats.summary import Grid, grid

_EXPLAINED = 1e-4
"""A residual below this share is what float32 products leave of a result that is a plain combination."""


def strengths_of(record: Record, table: Grid | None = None) -> Strengths | None:
    """The strength of each source's change in each kind of tensor; None for kinds where no plain combination explains
    the result, or where it changes from layer to layer. None where there is no base or no result: then a combination
    cannot be told from its inputs, which are nearly parallel. `table`: the record's, where it is known."""
    if not record.base or not record.result:
        return None
    kinds: defaultdict[str, list[Sums]] = defaultdict(list)
    for (_, column), cell in (table or grid(record)).cells.items():
        kinds[column.partition(" ")[0]].append(cell)
    whole = {kind: total for kind, cells in kinds.items() if (total := joined(cells).all) is not None}
    found = {
        name: {kind: _strength(tensor, Subject(name, index)) for kind, tensor in whole.items()}
        for index, name in enumerate(record.sources)
    }
    return {name: {k: v for k, v in by_kind.items() if not isinstance(v, Missing)} for name, by_kind in found.items()}


def _strength(tensor: TensorRecord, source: Subject) -> float | Missing | None:
    """Missing where no source moved."""
    residual, found = METRICS["residual"].value(tensor, Subject("")), METRICS["attribution"].value(tensor, source)
    if isinstance(residual, Missing):
        return residual
    if isinstance(found, Missing):
        return found
    return found if residual <= _EXPLAINED else None
