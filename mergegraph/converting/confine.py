"""What a process takes from itself before it opens a file that nobody vouches for: network, memory, time, files.

Each limit is tried, and those that the system refuses are named; the unpickler does not rely on any of them.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000
_DEATH_SIGNAL, _NO_NEW_PRIVILEGES = 1, 38
_ROOM_BYTES = 1 << 30
"""For the names and shapes of a checkpoint, and for the pieces that are sent."""
_CPU_SECONDS, _BYTES_PER_CPU_SECOND = 120, 20_000_000


def leave_network() -> str:
    """Be in a network without devices. What stands against it; empty when done. Before any thread is started."""
    if not sys.platform.startswith("linux"):
        return "this system has no network namespaces"
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    if libc.unshare(_NEW_NETWORK) == 0 or libc.unshare(_NEW_USER | _NEW_NETWORK) == 0:
        return ""
    return os.strerror(ctypes.get_errno())


def limit(file_bytes: int) -> str:
    """Bound what this process may still take: room for one mapped file of `file_bytes` and 1 GiB, processor time in
    proportion, no written files. What the system refused; empty when nothing."""
    seconds = _CPU_SECONDS + file_bytes // _BYTES_PER_CPU_SECOND
    limits = [(resource.RLIMIT_CPU, seconds), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)]
    held = _address_space()
    if held:
        limits.append((resource.RLIMIT_AS, held + file_bytes + _ROOM_BYTES))
    try:
        for kind, most in limits:
            resource.setrlimit(kind, (most, most))
    except (OSError, ValueError) as error:
        return str(error)
    return "" if held else "this system does not say how much memory is mapped"


def _address_space() -> int:
    """Bytes this process has mapped; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 0
