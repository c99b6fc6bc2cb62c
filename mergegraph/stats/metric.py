"""What a metric is: a name, a formula and a way to read it, and its value of a tensor; or `Missing`, with the reason.

On tensors that were added up (`pooling`) the same formulas give the values of the whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from mergegraph.stats.at import At, NoValue
from mergegraph.stats.floors import Floor
from mergegraph.stats.record import Record, TensorRecord

Per = Literal["tensor", "change", "source", "pair", "ordered pair", "models"]
"""Of what there is one value: the tensor; every source and the result; every source; two sources; two sources in either
order; two models, the base among them."""

Unit = Literal["number", "share", "count"]

Worth = Literal["high", "low", "far", "none"]
"""Which values are worth a look: high, low, or far from `centre`."""


@dataclass(frozen=True, slots=True)
class Missing:
    """No value, and why."""

    reason: str


Value = float | Missing


@dataclass(frozen=True, slots=True)
class Subject:
    """What a value is about: indices of changes as `At` takes them, and words for them."""

    label: str
    i: int = 0
    j: int = 0


@dataclass(frozen=True, slots=True)
class Metric:
    """`centre`: the value from which others lie on two sides. `matrices_only`: tensors of one dimension have none.
    `of_models`: the label where there is no base, and what is measured are models themselves."""

    name: str
    label: str
    per: Per
    unit: Unit
    formula: str
    reading: str
    worth: Worth
    measure: Callable[[At], float]
    noise: Callable[[At], Floor] | None = None
    noise_text: str = ""
    centre: float | None = None
    matrices_only: bool = False
    of_models: str = ""

    def label_in(self, record: Record) -> str:
        return self.of_models if self.of_models and not record.base else self.label

    def noise_words(self, tensor: TensorRecord | None, subject: Subject) -> str:
        """`expected ± spread` for people; empty where it is not known."""
        floor = None if tensor is None else self.floor(tensor, subject)
        return "" if floor is None else f"{shown(floor.expected, self.unit)} ± {shown(floor.spread, self.unit)}"

    def value(self, tensor: TensorRecord, subject: Subject, whole: TensorRecord | None = None) -> Value:
        """`whole` is all tensors as one; only shares of the whole need it."""
        if tensor.skipped:
            return Missing(tensor.skipped)
        try:
            value = self.measure(At(tensor, subject.i, subject.j, whole))
        except NoValue as none:
            return Missing(str(none))
        except OverflowError:
            value = math.inf
        return value if math.isfinite(value) else Missing("too large for float64")

    def floor(self, tensor: TensorRecord, subject: Subject) -> Floor | None:
        """What noise would give here; None where that is not known."""
        if self.noise is None or tensor.skipped:
            return None
        try:
            found = self.noise(At(tensor, subject.i, subject.j))
        except (NoValue, OverflowError):
            return None
        return found if math.isfinite(found.expected) and math.isfinite(found.spread) else None


def shown(value: Value, unit: Unit = "number") -> str:
    """For people: `12.3 %`, `1,234`, `0.00123`, `–` where there is no value."""
    if isinstance(value, Missing) or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if unit == "count":
        return f"{value:,.0f}"
    if unit == "share":
        return f"{value * 100:.{0 if abs(value) >= 0.9995 else 1 if abs(value) >= 0.0095 else 2}f} %"
    if value == 0.0:
        return "0"
    if 1e-3 <= abs(value) < 9999.5:
        return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value)) + 1e-9))}f}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"
