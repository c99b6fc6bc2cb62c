"""A second place to compute: its memory, its lanes, and the parts of a tile that differ from the processor's.

Nothing here waits for the device but `Event.wait`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor


class Event(Protocol):
    """A point in a lane."""

    def wait(self) -> None:
        """Until the lane has come past it. Raises what failed before it."""
        ...


class Lane(Protocol):
    """Work in order, beside that of other lanes. One thread at a time gives it work."""

    def submit(self, work: Callable[[], None]) -> None:
        """Torch calls on the device's memory. They may run now or later, and are done when the lane gets there."""
        ...

    def copy(self, into: Tensor, source: Tensor) -> None:
        """Between pinned memory and the device's, of one size."""
        ...

    def record(self) -> Event:
        """A point behind all that was given so far."""
        ...

    def after(self, event: Event) -> None:
        """What follows waits for a point in another lane."""
        ...


class Device(Protocol):
    """Memory and lanes of one device."""

    name: str
    torch_device: torch.device

    def free_bytes(self) -> int:
        """What can be allocated now."""
        ...

    def memory(self, nbytes: int) -> Tensor:
        """uint8, on the device. torch.OutOfMemoryError where there is not so much."""
        ...

    def pinned(self, nbytes: int) -> Tensor:
        """uint8, of the host, from which lanes copy without help of the processor; given back by `close`."""
        ...

    def lane(self) -> Lane: ...

    def peak_bytes(self) -> int:
        """The most that was allocated on the device at a time, by this process."""
        ...

    def close(self) -> None:
        """Wait until the device does nothing any more, and give back what was taken."""
        ...
