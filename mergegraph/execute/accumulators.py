"""Which accumulator finds which statistic."""

from __future__ import annotations

from mergegraph.execute.quantile import Quantile
from mergegraph.execute.reduce import Accumulator, Sum
from mergegraph.expr import Value
from mergegraph.plan.steps import Reduction


def accumulator(kind: str, parameters: tuple[tuple[str, Value], ...]) -> Accumulator:
    """A new accumulator for a statistic of `mergegraph.statistic`."""
    return Quantile(dict(parameters)) if kind == "abs_quantile" else Sum(kind)


def of_reduction(reduction: Reduction) -> Accumulator:
    """A new accumulator for a program's own statistic."""
    return accumulator(reduction.kind, reduction.parameters)
