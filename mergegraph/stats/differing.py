"""A comparison of two records as CSV or JSON: the whole model metric by metric, then the tensors by one metric."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence

from mergegraph.stats.compare import Comparison, Difference
from mergegraph.stats.metrics import METRICS, SUMMARY, Missing, Value

_COLUMNS = ("tensor", "metric", "of", "first", "second", "difference", "noise")


def differing(comparison: Comparison, metric: str = "") -> list[Difference]:
    """The tensors that differ in `metric`, or in the first of the summary in which any do; the furthest first."""
    for name in [metric] if metric else SUMMARY:
        if tensors := comparison.tensors(METRICS[name]):
            return tensors
    return []


def comparison_csv(comparison: Comparison, metric: str = "") -> str:
    """One row a difference; `tensor` is empty where it is of the whole model, a number where there is none."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    for each in (*comparison.whole, *differing(comparison, metric)):
        table.writerow(["" if cell is None else cell for cell in _cells(each)])
    return text.getvalue()


def comparison_json(comparison: Comparison, metric: str = "") -> bytes:
    """The same rows as objects, with null where there is no number, beside what is said of the two records."""

    def rows(differences: Sequence[Difference]) -> list[dict[str, object]]:
        return [dict(zip(_COLUMNS, _cells(each), strict=True)) for each in differences]

    content = {
        "notes": list(comparison.notes),
        "only_first": list(comparison.only_a),
        "only_second": list(comparison.only_b),
        "whole": rows(comparison.whole),
        "tensors": rows(differing(comparison, metric)),
    }
    return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _cells(each: Difference) -> tuple[str | float | None, ...]:
    numbers = (_number(each.a), _number(each.b), _number(each.difference), _number(each.noise))
    return (each.tensor, each.metric.name, each.subject, *numbers)


def _number(value: Value | None) -> float | None:
    return None if value is None or isinstance(value, Missing) or not math.isfinite(value) else value
