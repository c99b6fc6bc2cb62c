"""What an evaluation gave: numbers by name, or the reason why there are none.

An evaluator answers with a JSON object of numbers, `{"accuracy": 97.5, "loss": 0.13, "accuracy@shifted": 88.0}`
(`@` names a slice), and may add

    examples     {"loss": [0.01, …]}: the metric for every example, whose mean it is
    predictions  {"": {"labels": [3, …], "probabilities": [[0.1, …], …]}}: by slice, "" for all; accuracy, loss and
                 calibration_error follow from them where they are not given

Anything else is refused, with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from mergegraph.search.predictions import Predictions, read_predictions

PARTS = ("examples", "predictions")
_MEAN_TOLERANCE = 1e-3
"""An evaluator may round."""
_LARGEST = 1e100


@dataclass(frozen=True)
class Outcome:
    """`rejected` is the reason, "" for an outcome that counts."""

    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    examples: Mapping[str, Sequence[float]] = field(default_factory=dict[str, Sequence[float]])
    predictions: Mapping[str, Predictions] = field(default_factory=dict[str, Predictions])
    rejected: str = ""
    seconds: float = 0.0
    model_bytes: int = 0


class BadResult(ValueError):
    """The evaluator's answer breaks the contract; the message says how."""


def read_outcome(answer: object) -> Outcome:
    """The outcome that `answer` says. BadResult where it is none."""
    if not isinstance(answer, dict):
        raise BadResult(f"the result is no JSON object but {_kind(answer)}")
    said = cast("dict[str, Any]", answer)
    predictions = _predictions(said.get("predictions", {}))
    metrics = {name: _number(name, value) for name, value in said.items() if name not in PARTS}
    examples = _examples(said.get("examples", {}), metrics)
    for slice_name, each in predictions.items():
        for name, (value, by_example) in each.metrics().items():
            full = f"{name}@{slice_name}" if slice_name else name
            if full not in metrics:
                metrics[full] = value
                if by_example is not None:
                    examples[full] = by_example
    return Outcome(metrics, examples, predictions)


def _number(name: str, value: object) -> float:
    if isinstance(value, dict) and "not_finite" in value:
        raise BadResult(f'"{name}" is {cast("dict[str, Any]", value)["not_finite"]}')
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadResult(f'"{name}" is {_kind(cast("object", value))}, not a number')
    if not abs(value) <= _LARGEST:
        raise BadResult(f'"{name}" is {_digits(value)}')
    return float(value)


def _digits(value: float) -> str:
    """A number that is not finite, or so large that sums and squares of such would not be."""
    if isinstance(value, float):
        return f"{value:g}" + (f", and more than {_LARGEST:g} cannot be counted with" if math.isfinite(value) else "")
    return f"a whole number of {len(str(abs(value)))} digits"


def _examples(value: object, metrics: Mapping[str, float]) -> dict[str, Sequence[float]]:
    if not isinstance(value, dict):
        raise BadResult(f'"examples" is {_kind(value)}, not a mapping of lists')
    examples: dict[str, Sequence[float]] = {}
    for name, each in cast("dict[str, object]", value).items():
        if name not in metrics:
            raise BadResult(f'there are examples of "{name}", which is no metric of the result')
        if not isinstance(each, list) or not each:
            raise BadResult(f'the examples of "{name}" are {_kind(cast("object", each))}, not a list of numbers')
        numbers = [_number(f"examples.{name}", item) for item in cast("list[object]", each)]
        mean = math.fsum(numbers) / len(numbers)
        if abs(mean - metrics[name]) > _MEAN_TOLERANCE * max(1.0, abs(mean)):
            raise BadResult(f'"{name}" is {metrics[name]!r}, and the mean of its examples is {mean!r}')
        examples[name] = numbers
    return examples


def _predictions(value: object) -> dict[str, Predictions]:
    if not isinstance(value, dict):
        raise BadResult(f'"predictions" is {_kind(value)}, not a mapping by slice')
    read: dict[str, Predictions] = {}
    for name, each in cast("dict[str, object]", value).items():
        try:
            read[name] = read_predictions(each)
        except ValueError as error:
            raise BadResult(f'predictions of slice "{name}": {error}') from error
    return read


def _kind(value: object) -> str:
    names: tuple[tuple[type, str], ...] = (
        (dict, "a mapping"), (list, "a list"), (str, "text"), (bool, "a truth value"), (type(None), "nothing"),
    )  # fmt: skip
    return next((name for kind, name in names if isinstance(value, kind)), "a number")
