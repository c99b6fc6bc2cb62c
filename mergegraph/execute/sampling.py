"""Which elements of a large tensor are counted, and the parts of them that are counted together.

A tensor is cut into strata of `stride` elements in a row, and one element of each is chosen by a hash of its place. So
every row and column comes in by its share however values lie, and elements are as good as independent, which whole
strips are not. The choice follows from the tensor's size alone.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from mergegraph.execute.counting import PIECE_ELEMENTS, RUN_ELEMENTS
from mergegraph.execute.noise import MIXED
from mergegraph.plan.memory import DIRECT_STRIDE, STRIDES_KEPT


def chosen_of(run: int, length: int, stride: int) -> int:
    """How many elements of run number `run`, of `length`, are counted. A stratum that is cut short may have none."""
    whole, rest = divmod(length, stride)
    return whole + (rest > 0 and _place(run, whole, stride) < rest)


@lru_cache(maxsize=STRIDES_KEPT)
def places_of(stride: int) -> Tensor:
    """Where in its run each chosen element lies, for `stride` runs, after which they repeat."""
    strata = np.arange(0, RUN_ELEMENTS, stride, dtype=np.int32)
    inside = (MIXED & np.uint32(stride - 1)).astype(np.int32).reshape(stride, -1)
    return torch.from_numpy((inside + strata).reshape(-1))  # pyright: ignore[reportUnknownMemberType]


def _place(run: int, stratum: int, stride: int) -> int:
    """Where in its stratum the chosen element lies."""
    return int(MIXED[run % stride * (RUN_ELEMENTS // stride) + stratum]) & (stride - 1)


class Samples:
    """Samples of runs, in any order: those of `together` neighbours are handed out as one as soon as all are there.

    What is summed of them is then the same whatever the tiles were; and 128 elements at a time would take 20 times as
    long as 4,096.
    """

    def __init__(self, stride: int) -> None:
        self.together = max(1, stride * PIECE_ELEMENTS // RUN_ELEMENTS) if stride > DIRECT_STRIDE else 1
        self._waiting: dict[int, dict[int, tuple[int, Tensor]]] = {}
        self._lock = threading.Lock()

    def add(self, first: int, of: int, sizes: Sequence[int], sample: Tensor) -> Iterator[tuple[int, Tensor]]:
        """The samples of runs from number `first` on, of `of`; `sizes` of each, one after the other in the columns of
        `sample`. (number, columns) of each group that is whole now."""
        last, column = first + len(sizes), 0
        for group in range(first // self.together, -(-last // self.together)):
            begin, end = group * self.together, min((group + 1) * self.together, of)
            here = sizes[max(begin - first, 0) : end - first]
            part = sample[:, column : column + sum(here)]
            column += sum(here)
            whole = part if len(here) == end - begin else self._joined(group, end - begin, first, len(here), part)
            if whole is not None and whole.shape[1]:
                yield group, whole

    def _joined(self, group: int, runs: int, first: int, count: int, part: Tensor) -> Tensor | None:
        with self._lock:
            held = self._waiting.setdefault(group, {})
            held[first] = count, part.clone()
            if sum([number for number, _ in held.values()]) < runs:
                return None
            del self._waiting[group]
        return torch.cat([held[start][1] for start in sorted(held)], dim=1)
