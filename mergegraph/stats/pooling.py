"""Many tensors as one: sums add up, so what follows from them is of all elements, not a mean over tensors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

from mergegraph.stats.adding import added
from mergegraph.stats.metrics import Metric
from mergegraph.stats.record import (
    Change,
    Forecast,
    Mass,
    Outcome,
    Pair,
    Spectral,
    TensorRecord,
    Thinned,
    Together,
)

_MIXED = "mixed"
_NO_MATRIX = "singular values are of one matrix, not of several"


@dataclass(frozen=True, slots=True)
class Sums:
    """Tensors added up: all of them, and the matrices among them; None where there is none."""

    all: TensorRecord | None
    matrices: TensorRecord | None

    def asked(self, metric: Metric) -> TensorRecord | None:
        """The one that `metric` is to be asked of."""
        return self.matrices if metric.matrices_only else self.all


def pooled(tensors: Iterable[TensorRecord], *, matrices_only: bool = False, name: str = "") -> TensorRecord | None:
    """All that were looked at, as one tensor of as many elements; None where there is none."""
    parts = [t for t in tensors if not t.skipped and (not matrices_only or len(t.shape) >= 2)]
    if not parts:
        return None
    if len(parts) == 1:
        return parts[0]
    elements = sum(part.elements for part in parts)
    return TensorRecord(
        name,
        _one({part.dtype for part in parts}),
        # Matrices together are a matrix still: only those have a cosine of full weights.
        (elements, 1) if all(len(part.shape) >= 2 for part in parts) else (elements,),
        tuple(added(column) for column in zip(*(part.gram for part in parts), strict=True)),
        tuple(_changes(column) for column in zip(*(part.changes for part in parts), strict=True)),
        _pairs([part.pairs for part in parts if part.pairs is not None]),
        _together([part.together for part in parts if part.together is not None]),
        _outcome([part.outcome for part in parts if part.outcome is not None]),
        counted=sum(part.counted for part in parts),
        thinned=_thinned([part.thinned for part in parts if part.thinned]),
        spectral=Spectral(skipped=_NO_MATRIX) if any(part.spectral is not None for part in parts) else None,
        stored=tuple([_one(set(column)) for column in zip(*(part.stored for part in parts), strict=True)])
        if all(part.stored for part in parts) else (),
    )  # fmt: skip


def _one(dtypes: set[str]) -> str:
    return dtypes.pop() if len(dtypes) == 1 else _MIXED


def sums(tensors: Iterable[TensorRecord], name: str = "") -> Sums:
    """Of a record's tensors, once for all metrics."""
    looked = [tensor for tensor in tensors if not tensor.skipped]
    matrices = pooled([tensor for tensor in looked if len(tensor.shape) >= 2], name=name)
    others = pooled([tensor for tensor in looked if len(tensor.shape) < 2], name=name)
    if others is None:
        return Sums(matrices, matrices)
    return Sums(others if matrices is None else pooled([matrices, others], name=name), matrices)


def joined(parts: Iterable[Sums], name: str = "") -> Sums:
    """Sums of other tensors added up."""
    having = [part for part in parts if part.all is not None]
    every = pooled([part.all for part in having if part.all is not None], name=name)
    if all(part.matrices is part.all for part in having):
        return Sums(every, every)
    return Sums(every, pooled([part.matrices for part in having if part.matrices is not None], name=name))


def _changes(changes: Sequence[Change]) -> Change:
    counts: defaultdict[int, int] = defaultdict(int)
    energies: defaultdict[int, float] = defaultdict(float)
    for change in changes:
        for exponent, (count, energy) in change.exponents.items():
            counts[exponent] += count
            energies[exponent] += energy
    return Change(
        added(c.total for c in changes),
        added(c.absolute for c in changes),
        added(c.third for c in changes),
        added(c.fourth for c in changes),
        max(c.largest for c in changes),
        sum(c.zeros for c in changes),
        sum(c.nonfinite for c in changes),
        {exponent: (count, energies[exponent]) for exponent, count in counts.items()},
    )


def _pairs(all_pairs: Sequence[Mapping[tuple[int, int], Pair]]) -> dict[tuple[int, int], Pair] | None:
    if not all_pairs:
        return None
    found: dict[tuple[int, int], Pair] = {}
    for pairs in all_pairs:
        for key, pair in pairs.items():
            before = found.get(key, Pair(0, 0))
            found[key] = Pair(before.both + pair.both, before.opposite + pair.opposite)
    return found


def _together(parts: Sequence[Together]) -> Together | None:
    if not parts:
        return None
    winners = tuple(map(sum, zip(*(part.winners for part in parts), strict=True)))
    return Together(added(part.absolute_of_sum for part in parts), winners)


def _thinned(parts: Sequence[tuple[Thinned, ...]]) -> tuple[Thinned, ...]:
    return tuple(
        [
            Thinned(
                _summed(Mass, [each.trim for each in of_source if each.trim is not None]),
                _summed(Mass, [each.election for each in of_source if each.election is not None]),
                _summed(Forecast, [each.drop for each in of_source if each.drop is not None]),
            )
            for of_source in zip(*parts, strict=True)
        ]
    )


_Sum = TypeVar("_Sum", Mass, Forecast)


def _summed(kind: type[_Sum], parts: Sequence[_Sum]) -> _Sum | None:
    """Numbers added up field by field; None where there are none."""
    names = [each.name for each in fields(kind)]
    return kind(*[added(getattr(part, name) for part in parts) for name in names]) if parts else None


def _outcome(parts: Sequence[Outcome]) -> Outcome | None:
    if not parts:
        return None
    return Outcome(
        sum(part.outside for part in parts),
        added(part.cast_error for part in parts),
        sum(part.rounded_away for part in parts),
        sum(part.overflowed for part in parts),
    )
