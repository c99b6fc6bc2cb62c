"""Which part of the shards somebody makes, as in `--shards 3/8`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Share:
    """`number` of `count` parts of the shards, as in 3/8; both count from 1."""

    number: int
    count: int

    def of(self, shards: Sequence[T]) -> tuple[T, ...]:
        """Every `count`-th shard, so that all parts have alike many of every output."""
        return tuple(shards[self.number - 1 :: self.count])

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"
