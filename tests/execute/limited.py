"""A run of the command in a process that may hold no more than it held before, and the budget. Run as a program:

    python limited.py SMALL_RECIPE RECIPE BUDGET_BYTES EXTRA_BYTES

The small recipe is run first: it loads and starts what any run does. Then RLIMIT_DATA, which counts every private
writable page and not only those that are touched, is set to what is held, the budget and EXTRA_BYTES.
"""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
import threading
from pathlib import Path

from mergegraph.cli import main

STACK_BYTES = 1 << 20
"""Of each thread; 8 MiB otherwise, which count whether they are used or not."""


def held_bytes() -> int:
    """Private writable memory, as RLIMIT_DATA counts it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))


def run_limited(small: str, recipe: str, budget_bytes: int, extra_bytes: int) -> int:
    threading.stack_size(STACK_BYTES)
    code = main(["run", small, "--quiet", "--threads", "2"])
    assert code == 0, "the small merge works"
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    limit = held_bytes() + budget_bytes + extra_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    return main(["run", recipe, "--budget", str(budget_bytes), "--threads", "2", "--json"])


if __name__ == "__main__":
    sys.exit(run_limited(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
