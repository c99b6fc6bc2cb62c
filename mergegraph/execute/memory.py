"""The memory of this process as the kernel counts it: VmRSS now, VmHWM at its peak.

Not `ru_maxrss`, which a child inherits from its parent.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import resource
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mergegraph.errors import DoesNotFit, MergegraphError, Problem
from mergegraph.execute import script
from mergegraph.units import format_bytes

_ARENA_MAX, _MMAP_THRESHOLD, _TRIM_THRESHOLD = -8, -3, -1
"""As in glibc's malloc.h."""
_KEPT_BYTES = 4 << 20
_REFUSALS = ("can't allocate memory", "not enough memory", "can't start new thread", "out of memory")
_SHOWN = 200


def resident_bytes() -> int:
    """Resident memory now; 0 where the system does not say."""
    return _status("VmRSS")


def peak_bytes() -> int:
    """The highest resident memory since the process began; 0 where the system does not say."""
    return _status("VmHWM")


@contextmanager
def heap_set_aside() -> Generator[None]:
    """Keep what exists (the plan, mostly) out of the cycle collector's sight while the block runs.

    With 20,000 tensors the collector otherwise walks the plan again and again, and worker threads wait for it:
    4.7 s became 2.2 s.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def bound_arenas() -> None:
    """Have glibc keep at most two heaps for all threads, and little of what is freed: it would lie beside the pool.

    Left alone, glibc keeps pieces of up to 32 MiB for later: SVD in a pool of 426 MiB then held 467 MiB. Thresholds
    of 4 MiB end that for 0.3 of 11 seconds; of 1 MiB, for 1.3. glibc only; elsewhere nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and sys.platform.startswith("linux"):
        for parameter, value in ((_ARENA_MAX, 2), (_MMAP_THRESHOLD, _KEPT_BYTES), (_TRIM_THRESHOLD, _KEPT_BYTES)):
            mallopt(parameter, value)


def give_back() -> None:
    """Have glibc hand back what is free in its heaps, which is up to their thresholds, and more where pieces of it are
    in use in between. Elsewhere nothing happens."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None and sys.platform.startswith("linux"):
        trim(0)


@contextmanager
def refusals_as_problems(pool_bytes: int) -> Generator[None]:
    """When the system gives no more memory, DoesNotFit says so, whoever noticed. `pool_bytes`: what tiles take."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if isinstance(error, MergegraphError) or not _is_refusal(error):
            raise
        raise DoesNotFit(_refused(error, pool_bytes)) from error


def _is_refusal(error: MemoryError | RuntimeError | OSError) -> bool:
    """torch and threading have no exception of their own for it."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or any(text in str(error) for text in _REFUSALS)


def _refused(error: Exception, pool_bytes: int) -> Problem:
    said = " ".join(str(error).split())
    limits = ", ".join(f"{name} {format_bytes(most)}" for name, most in _limits().items())
    return Problem(
        f"The system gave no more memory; the tiles take {format_bytes(pool_bytes)}.",
        why=f"the process holds {format_bytes(resident_bytes())}{f', its limits are {limits}' if limits else ''}"
        + (f"\n{said[-_SHOWN:]}" if said else ""),
        fix=f"--threads 1 --budget {max(pool_bytes >> 21, 1)}MiB, or give the process more memory (ulimit -d, -v);\n"
        "finished tensors are kept, and the same command goes on",
    )


def _limits() -> dict[str, int]:
    """What this process may map, where that is limited."""
    kinds = {"RLIMIT_DATA": resource.RLIMIT_DATA, "RLIMIT_AS": resource.RLIMIT_AS}
    soft = {name: resource.getrlimit(kind)[0] for name, kind in kinds.items()}
    return {name: most for name, most in soft.items() if most != resource.RLIM_INFINITY}


def warm_up(device: torch.device | None = None) -> None:
    """Touch the code that runs touch, so that `resident_bytes` counts it as reserved, not as tiles: up to 8 MiB of
    the libraries are read in when they are first used. Takes 15 ms. On a device that makes its context too."""
    for dtype in (torch.bfloat16, torch.float32):
        value = torch.ones(4096, device=device).to(dtype).to(torch.float32)
        out = torch.empty_like(value)
        torch.mul(value, 0.5, out=out)
        out.add_(value, alpha=0.5)
        out.sum().isfinite()
        out.to(dtype)
    _select(torch.linspace(-1, 1, 4096))
    script.warm_up()


def _select(value: Tensor) -> None:
    """What methods do that choose, count and rank, and a product of matrices."""
    out, words = torch.empty_like(value), value.view(torch.int32)
    torch.lt(value, 0.5, out=out)
    torch.ge(value, out, out=out)
    torch.sign(value, out=out)
    torch.maximum(value, out.abs_().sqrt_().mul_(value).div_(2).clamp_(-1, 1), out=out)
    torch.bincount(torch.bitwise_right_shift(words, 3, out=out.view(torch.int32)) & 0xFF)
    torch.unique(value.abs(), return_inverse=True, return_counts=True)[2].cumsum(0).double().sum()  # pyright: ignore
    torch.mm(value.view(64, 64), value.view(64, 64))
    numbers: np.ndarray[tuple[int], np.dtype[np.float32]] = value.numpy()  # pyright: ignore[reportUnknownMemberType]
    np.flatnonzero(np.abs(numbers) == numbers.max())
    np.partition(numbers[numbers > 0], 5)


def _status(field: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), 0)
