"""What an evaluation found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Score:
    """`correct` of `count` predictions (images, or next tokens); `loss` is the mean cross-entropy in nats."""

    loss: float
    correct: int
    count: int

    @property
    def accuracy(self) -> float:
        """Percent, 0 to 100."""
        return 100 * self.correct / self.count
