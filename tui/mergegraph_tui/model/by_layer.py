"""What is drawn from layer to layer: a metric of each kind of tensor, or of two records."""

from __future__ import annotations

from functools import lru_cache

from mergegraph.stats.compare import same_subject
from mergegraph.stats.metrics import Missing, Value
from mergegraph_tui.model.heat import Choice, of
from mergegraph_tui.model.loaded import LoadedRecord
from mergegraph_tui.model.plot import Plot, PlotLine

_KINDS = ("attention", "mlp", "expert", "norm", "other", "embedding", "head")


def layer_plot(loaded: LoadedRecord, choice: Choice, mark: str, other: LoadedRecord | None = None) -> Plot:
    """A line a kind; with another record one line for each of the two, over all kinds. `mark`: the row pointed at."""
    layers = loaded.layers
    place = layers.index(mark) if mark in layers else None
    return Plot(_lines(loaded, choice, other), layers, place, unit_share=choice.metric.unit == "share")


@lru_cache(maxsize=8)
def _lines(loaded: LoadedRecord, choice: Choice, other: LoadedRecord | None) -> tuple[PlotLine, ...]:
    layers = loaded.layers
    if other is not None:
        return _whole("A", loaded, choice, layers), _compared(loaded, other, choice, layers)
    kinds = sorted(loaded.by_kind, key=_KINDS.index)
    found = [
        PlotLine(kind, tuple(
            _number(of(choice.metric, choice.subject, loaded.by_kind[kind].get(layer), loaded.total))
            for layer in layers
        ))
        for kind in kinds
    ]  # fmt: skip
    return tuple(line for line in found if any(each is not None for each in line.values))


def _whole(name: str, loaded: LoadedRecord, choice: Choice, layers: tuple[str, ...]) -> PlotLine:
    values = (of(choice.metric, choice.subject, loaded.grid.by_row.get(layer), loaded.total) for layer in layers)
    return PlotLine(f"{name} {loaded.said}", tuple(map(_number, values)))


def _compared(loaded: LoadedRecord, other: LoadedRecord, choice: Choice, layers: tuple[str, ...]) -> PlotLine:
    subject = same_subject(choice.metric, loaded.record, choice.subject, other.record)
    if subject is None:
        return PlotLine(f"B {other.said}", (None,) * len(layers))
    line = _whole("B", other, Choice(choice.metric, subject), layers)
    values = (each if loaded.shares(other, row) else None for row, each in zip(layers, line.values, strict=True))
    return PlotLine(line.name, tuple(values))


def _number(value: Value) -> float | None:
    return None if isinstance(value, Missing) else value
