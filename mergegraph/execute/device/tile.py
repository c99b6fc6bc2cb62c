"""One tile of a program on a device: raw bytes are there already, and what comes out stays there.

Nothing is read from the device on the way, so a lane gets the steps of many tiles while it is busy. What a person must
know of (values that are not finite, that did not fit) is counted there and comes back with the bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mergegraph.execute.device.noise import draw_equal, fill_uniform
from mergegraph.execute.device.reducing import Deliver, Results, Rooms, reduce_tile
from mergegraph.execute.evaluate import TileKernel, TileSteps
from mergegraph.execute.finished import Finished, Statistics
from mergegraph.execute.rounding import as_single_to_odd
from mergegraph.execute.views import TORCH_DTYPES
from mergegraph.plan.extent import Extent
from mergegraph.plan.program import Computation
from mergegraph.plan.staging import aligned
from mergegraph.plan.steps import Reduce, Store

_FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)


class DeviceOps:
    """The torch module, whose new tensors are on a device."""

    def __init__(self, device: torch.device) -> None:
        for name in ("zeros", "ones", "empty", "full", "eye", "arange", "tensor"):
            setattr(self, name, partial(_made_on, getattr(torch, name), device))

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def _made_on(make: Any, device: torch.device, *arguments: Any, **named: Any) -> Tensor:
    made: Tensor = make(*arguments, **{"device": device, **named})
    return made


@dataclass
class DeviceKernel(TileKernel):
    """What a method's `tile` is given on a device."""

    rooms: Rooms | None = None

    def uniform(self, out: Tensor) -> Tensor:
        fill_uniform(out.view(-1), self.noise_key, self.start, self.spare[0].view(-1))
        return out

    def draw_equal(self, operand: Tensor, size: float, share: float) -> None:
        assert self.rooms is not None
        rooms = (self.rooms.wide, self.rooms.narrow, self.rooms.flags)
        draw_equal(self.out.view(-1), operand.view(-1), size, share, self.noise_key, self.start, rooms)


@dataclass(frozen=True)
class DeviceMemory:
    """What a device computes in, tile after tile: slots, and scratch in pieces."""

    slots: Tensor
    rooms: Rooms
    ops: DeviceOps


@dataclass(frozen=True)
class Counted:
    """Where the host finds how many values of a root were finite, and how many fitted its dtype."""

    root: int
    fitting: Tensor

    def nonfinite(self, elements: int) -> int:
        return elements - int(self.fitting[0])

    def overflowed(self) -> int:
        return int(self.fitting[0]) - int(self.fitting[1])


class DeviceTile(TileSteps):
    """The steps of one tile on a device. `raw` and `outs` are uint8, by number of the read or root."""

    def __init__(
        self,
        work: Computation,
        start: int,
        elements: int,
        cut: Extent,
        statistics: Statistics,
        memory: DeviceMemory,
        raw: Mapping[int, Tensor],
        outs: Mapping[int, Tensor],
        results: Results,
    ) -> None:
        super().__init__(work, start, elements, cut, statistics)
        self.leaf, self.memory, self.raw, self.outs, self.results = cut.leaf, memory, raw, outs, results
        self.kernel = partial(DeviceKernel, rooms=memory.rooms)
        self.delivered: list[Deliver] = []
        self.counted: list[Counted] = []
        step = aligned(elements * self.dtype.itemsize)
        self.slots = [
            memory.slots[index * step : index * step + elements * self.dtype.itemsize].view(self.dtype)
            for index in range(work.program.slots)
        ]

    @property
    def ops(self) -> Any:
        return self.memory.ops

    def perform(self, index: int) -> None:
        """All steps of pass `index`."""
        for step in self.work.program.passes[index]:
            if self.unfed and not isinstance(step, Reduce):
                self.feed()
            self.run(step)
        self.feed()

    def feed(self) -> None:
        self.delivered += [
            reduce_tile(feeding, self.start, self.leaf, self.results, self.memory.rooms) for feeding in self.unfed
        ]
        self.unfed = []

    def fetch(self, slot: int, read: int) -> None:
        self.slots[slot].copy_(self.raw[read].view(TORCH_DTYPES[self.reads[read].dtype]))

    def store(self, step: Store) -> Finished | None:
        """Round, and count what is finite and what fits, in pieces."""
        value, rounded = self.slots[step.slot], self.outs[step.root].view(TORCH_DTYPES[step.dtype])
        there, here = self.results.take(2, torch.int64)
        there.zero_()
        rooms = self.memory.rooms
        for first in range(0, self.elements, rooms.elements):
            _round(value[first : first + rooms.elements], rounded[first : first + rooms.elements], there, rooms)
        self.counted.append(Counted(step.root, here))
        return None


def _round(value: Tensor, rounded: Tensor, fitting: Tensor, rooms: Rooms) -> None:
    """To nearest, as `execute.rounding.round_once`; adds to the two numbers of `fitting`."""
    count, dtype = value.numel(), rounded.dtype
    sizes, flags = rooms.wide.view(value.dtype)[:count], rooms.flags.view(torch.bool)[:count]
    torch.abs(value, out=sizes)
    torch.le(sizes, torch.finfo(value.dtype).max, out=flags)
    fitting[0].add_(flags.sum())
    if dtype in _FLOAT8:
        limit = torch.finfo(dtype).max
        torch.le(sizes, limit, out=flags)
        fitting[1].add_(flags.sum())
        narrowed = torch.clamp(value, -limit, limit, out=sizes)
        rounded.copy_(_single(narrowed, dtype))
        return
    rounded.copy_(_single(value, dtype))
    if dtype == value.dtype:
        fitting[1].add_(flags.sum())
        return
    stored = rooms.narrow.view(dtype)[:count]
    torch.abs(rounded, out=stored)
    torch.le(stored, torch.finfo(dtype).max, out=flags)
    fitting[1].add_(flags.sum())


def _single(value: Tensor, dtype: torch.dtype) -> Tensor:
    """What torch rounds to `dtype` in one step."""
    narrow = dtype not in (torch.float32, torch.float64)
    return as_single_to_odd(value) if value.dtype == torch.float64 and narrow else value
