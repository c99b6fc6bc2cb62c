"""An NVIDIA device through torch: lanes are streams, pinned memory is pages of this process that the driver locks."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import torch
from torch import Tensor

from mergegraph.errors import DoesNotFit, Problem
from mergegraph.execute.device import Event, Lane
from mergegraph.units import format_bytes


class CudaEvent:
    """A CUDA event; who waits for it sleeps."""

    def __init__(self, stream: torch.cuda.Stream) -> None:
        self.event = torch.cuda.Event(blocking=True)
        self.event.record(stream)

    def wait(self) -> None:
        self.event.synchronize()


class CudaLane:
    """A stream of one device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: torch.cuda.Stream = torch.cuda.Stream(device)

    def submit(self, work: Callable[[], None]) -> None:
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            work()

    def copy(self, into: Tensor, source: Tensor) -> None:
        self.submit(lambda: _copied(into, source))

    def record(self) -> Event:
        return CudaEvent(self._stream)

    def after(self, event: Event) -> None:
        assert isinstance(event, CudaEvent)
        self._stream.wait_event(event.event)


def _copied(into: Tensor, source: Tensor) -> None:
    into.copy_(source, non_blocking=True)


class CudaDevice:
    """Device number `index`."""

    def __init__(self, index: int) -> None:
        self.name = f"cuda:{index}"
        self.torch_device = torch.device("cuda", index)
        self._pinned: list[Tensor] = []

    def free_bytes(self) -> int:
        """What the driver has free, and what torch holds without using it."""
        free, _ = torch.cuda.mem_get_info(self.torch_device)
        idle = torch.cuda.memory_reserved(self.torch_device) - torch.cuda.memory_allocated(self.torch_device)
        return free + idle

    def memory(self, nbytes: int) -> Tensor:
        return torch.empty(nbytes, dtype=torch.uint8, device=self.torch_device)

    def pinned(self, nbytes: int) -> Tensor:
        """Own pages, since torch rounds what it pins up to a power of two."""
        pages = mmap.mmap(-1, max(-(-nbytes // mmap.PAGESIZE), 1) * mmap.PAGESIZE)
        memory = torch.frombuffer(pages, dtype=torch.uint8)
        code = int(_runtime().cudaHostRegister(memory.data_ptr(), memory.numel(), 0))
        if code:
            raise DoesNotFit(
                Problem(
                    f"{format_bytes(memory.numel())} of memory cannot be locked for {self.name}.",
                    why=f"the CUDA driver refused it (error {code})",
                    fix="a smaller --budget, or --device cpu",
                )
            )
        self._pinned.append(memory)
        return memory[:nbytes]

    def lane(self) -> Lane:
        return CudaLane(self.torch_device)

    def peak_bytes(self) -> int:
        return torch.cuda.max_memory_allocated(self.torch_device)

    def close(self) -> None:
        with suppress(RuntimeError):  # what failed on the device was said already
            torch.cuda.synchronize(self.torch_device)
        while self._pinned:
            _runtime().cudaHostUnregister(self._pinned.pop().data_ptr())


def _runtime() -> Any:
    """The CUDA runtime as torch binds it."""
    return cast(Any, torch.cuda.cudart())  # pyright: ignore[reportUnknownMemberType]
