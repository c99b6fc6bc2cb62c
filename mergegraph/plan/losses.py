"""What a recipe takes from the changes of its sources: where it trims, elects or drops, and what is summed to know it.

The steps are found in the expression of a tensor, by what their kernels say of themselves (`methods.kernel.Loss`). A
step counts for each source that its operand is made of. Computes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mergegraph.expr import Apply, Expr, Read
from mergegraph.methods.electing import elected_sign, vote_of
from mergegraph.methods.registry import kernels
from mergegraph.methods.thinning import RestoreSum
from mergegraph.walking import reads, walk

Sum = tuple[Literal["abs_sum", "dot"], tuple[Expr, ...]]
"""A sum over all elements of a tensor (see `mergegraph.statistic`): Σ |x|, Σ x y."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A step by which `sources` lose mass. By their numbers among the sums: `before` of Σ |x|, `after` of what remains
    of it times `factor`; with an election that is the sum of sign times x, `factor` 1 or -1."""

    by: Literal["trim", "election"]
    sources: tuple[int, ...]
    before: int
    after: int
    factor: float


@dataclass(frozen=True, slots=True)
class Dropped:
    """A step that keeps each element of what `sources` change with probability `density`, times `scale`."""

    sources: tuple[int, ...]
    density: float
    scale: float


@dataclass(frozen=True, slots=True)
class Losses:
    """Of one tensor. `sums`: what is to be summed, each once."""

    taken: tuple[Taken, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    sums: tuple[Sum, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.taken or self.dropped)


NO_LOSSES = Losses()


@dataclass
class _Summed:
    """Sums that are asked for, numbered."""

    numbers: dict[Sum, int] = field(default_factory=dict[Sum, int])

    def number(self, kind: Literal["abs_sum", "dot"], *exprs: Expr) -> int:
        return self.numbers.setdefault((kind, exprs), len(self.numbers))


def losses(root: Expr, base: Expr | None, changes: Sequence[Expr]) -> Losses:
    """Of a tensor that `root` computes from the `changes` of its sources."""
    steps = [part for part in walk(root) if isinstance(part, Apply) and kernels()[part.kernel].loses]
    if not steps:
        return NO_LOSSES
    origins = _Origins(base, changes)
    restored = {x.operands[0] for x in walk(root) if isinstance(x, Apply) and x.kernel == RestoreSum.name}
    summed = _Summed()
    taken: list[Taken] = []
    dropped: list[Dropped] = []
    for step in steps:
        match kernels()[step.kernel].loses:
            case "trim":
                taken.append(_trim(step, origins, summed))
            case "election":
                taken += _election(step, origins, summed)
            case _:
                dropped.append(_drop(step, origins, is_restored=step in restored))
    return Losses(tuple(taken), tuple(dropped), tuple(summed.numbers))


class _Origins:
    """Which sources an expression is made of: those of which it reads what the base has not."""

    def __init__(self, base: Expr | None, changes: Sequence[Expr]) -> None:
        base_reads = set[Read]() if base is None else set(reads(base))
        self._own = [set(reads(change)) - base_reads for change in changes]

    def of(self, expr: Expr) -> tuple[int, ...]:
        below = set(reads(expr))
        return tuple([number for number, own in enumerate(self._own) if own & below])


def _trim(step: Apply, origins: _Origins, summed: _Summed) -> Taken:
    before = step.operands[0]
    scale = dict(step.parameters).get("scale", 1.0)
    sums = summed.number("abs_sum", before), summed.number("abs_sum", step)
    return Taken("trim", origins.of(before), *sums, 1 / float(scale))


def _election(step: Apply, origins: _Origins, summed: _Summed) -> Iterator[Taken]:
    sign = elected_sign(step)
    for index, operand in enumerate(step.operands):
        if sources := origins.of(operand):
            sums = summed.number("abs_sum", operand), summed.number("dot", sign, operand)
            yield Taken("election", sources, *sums, 1.0 if vote_of(step, index) > 0 else -1.0)


def _drop(step: Apply, origins: _Origins, *, is_restored: bool) -> Dropped:
    """Scaled to the sum that there was, what is kept is as good as divided by the density."""
    options = dict(step.parameters)
    density = float(options["density"])
    return Dropped(origins.of(step.operands[0]), density, 1 / density if is_restored else float(options["scale"]))
