"""What follows from predicted probabilities: accuracy, loss, calibration error; and ensembles of several models.

float64 throughout. Accuracy and calibration error are percent, the loss is nats.

    calibration error   Σ_b n_b/n · |accuracy_b - confidence_b| over 15 bins of equal width of the highest probability
                        (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, arXiv 1706.04599)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BINS = 15
_SUM_TOLERANCE = 1e-3
_DERIVED: Mapping[str, int] = {"accuracy": 1, "loss": -1, "calibration_error": -1}


@dataclass(frozen=True)
class Predictions:
    """`probabilities` `[examples, classes]`, `labels` `[examples]`."""

    probabilities: NDArray[np.float64]
    labels: NDArray[np.int64]

    def metrics(self) -> dict[str, tuple[float, list[float] | None]]:
        """Each metric, with its value for every example where it is their mean."""
        right = 100.0 * (self.probabilities.argmax(1) == self.labels)
        losses = -_log(self.probabilities[range(len(self.labels)), self.labels])
        return {
            "accuracy": (_mean(right), right.tolist()),
            "loss": (_mean(losses), losses.tolist()),
            "calibration_error": (calibration_error(self), None),
        }

    def to_json(self) -> dict[str, Any]:
        return {"labels": self.labels.tolist(), "probabilities": self.probabilities.tolist()}


def direction(metric: str, known: Mapping[str, int]) -> int:
    """1 where more is better, -1 where less is, 0 where nobody says. A slice goes as its metric does."""
    whole = metric.partition("@")[0]
    return next((table[name] for table in (known, _DERIVED) for name in (metric, whole) if name in table), 0)


def read_predictions(value: object) -> Predictions:
    """ValueError says what is wrong: shapes, labels out of range, rows that do not add up to one."""
    import numpy as np

    if not isinstance(value, dict) or cast("dict[str, Any]", value).keys() != {"labels", "probabilities"}:
        raise ValueError("they have `labels` and `probabilities`, nothing else")
    said = cast("dict[str, Any]", value)
    try:
        probabilities = np.array(said["probabilities"], dtype=np.float64)
        labels = np.array(said["labels"])
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError("`probabilities` is a list of lists of numbers, all of one length") from error
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or not probabilities.size:
        raise ValueError(f"shapes {list(probabilities.shape)} of probabilities and {list(labels.shape)} of labels")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= probabilities.shape[1]:
        raise ValueError(f"labels are whole numbers from 0 to {probabilities.shape[1] - 1}")
    if not np.isfinite(probabilities).all() or (probabilities < 0).any():
        raise ValueError("a probability is negative or not finite")
    if (np.abs(probabilities.sum(1) - 1) > _SUM_TOLERANCE).any():
        raise ValueError("the probabilities of an example do not add up to 1")
    return Predictions(probabilities, labels.astype(np.int64))


def calibration_error(predictions: Predictions) -> float:
    """Percent. A confidence on the border of two bins belongs to the lower one."""
    import numpy as np

    confidence = predictions.probabilities.max(1)
    right = predictions.probabilities.argmax(1) == predictions.labels
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    gaps = (abs(math.fsum(right[bins == b]) - math.fsum(confidence[bins == b])) for b in range(BINS))
    return 100.0 * math.fsum(gaps) / len(right)


def averaged(members: Sequence[Predictions]) -> Predictions:
    """The mean of the members' probabilities. ValueError where they are of other examples."""
    import numpy as np

    _require_same_examples(members)
    return Predictions(np.mean([member.probabilities for member in members], axis=0), members[0].labels)


def majority(members: Sequence[Predictions]) -> Predictions:
    """The share of the members that vote for each class; a tie goes to the class with the higher mean probability.

    The loss of such shares is infinite where no member votes for the right class, so only the accuracy says something.
    """
    import numpy as np

    _require_same_examples(members)
    votes = np.zeros_like(members[0].probabilities)
    for member in members:
        votes[range(len(votes)), member.probabilities.argmax(1)] += 1
    mean = np.mean([member.probabilities for member in members], axis=0)
    chosen = np.where(votes == votes.max(1, keepdims=True), mean, -1).argmax(1)
    return Predictions(np.eye(votes.shape[1])[chosen], members[0].labels)


def _require_same_examples(members: Sequence[Predictions]) -> None:
    import numpy as np

    for member in members[1:]:
        same_shape = member.probabilities.shape == members[0].probabilities.shape
        if not same_shape or not np.array_equal(member.labels, members[0].labels):
            raise ValueError("the members were evaluated on different examples")


def _log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Natural logarithm; of zero that of the smallest float, so that a loss stays finite."""
    import numpy as np

    return np.log(np.maximum(values, np.finfo(np.float64).tiny))


def _mean(values: NDArray[np.float64]) -> float:
    return math.fsum(values.tolist()) / len(values)
