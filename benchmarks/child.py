"""Run a command as a child process and say what it used: wall and CPU seconds, and its peak resident memory.

The peak is VmHWM, polled from /proc until the child ends. `ru_maxrss` would be wrong: it starts at the size of
the process that forked. Only the child itself is counted, not processes it starts. Linux only.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

POLL_SECONDS: Final = 0.005
# `python -m` looks for the package here first, so an uninstalled clone measures itself.
REPOSITORY: Final = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Finished:
    """A child that has ended. `peak_bytes` is 0 when it was gone before its first poll."""

    exit_code: int
    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    stdout: str
    stderr: str

    def done_report(self) -> dict[str, Any]:
        """The last line of standard output that is a JSON object of kind "done"; empty when there is none."""
        for line in reversed(self.stdout.splitlines()):
            report = _json_object(line)
            if report.get("kind") == "done":
                return report
        return {}


def mergegraph(*arguments: str | Path) -> Finished:
    """`python -m mergegraph ARGUMENTS`, with the interpreter that runs this."""
    return run_child([sys.executable, "-m", "mergegraph", *map(str, arguments)])


def run_child(command: Sequence[str]) -> Finished:
    """Run `command` in the repository to its end."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        started = time.monotonic()
        # Popen returns after exec, so no poll can see the memory of this process in place of the child's.
        process = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr)
        peak_bytes = 0
        while True:
            peak_bytes = max(peak_bytes, _high_water_mark(process.pid))
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            time.sleep(POLL_SECONDS)
        wall_seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        return Finished(
            exit_code=process.returncode,
            wall_seconds=wall_seconds,
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            peak_bytes=peak_bytes,
            stdout=_whole(stdout.fileno()),
            stderr=_whole(stderr.fileno()),
        )


def _high_water_mark(pid: int) -> int:
    """VmHWM in bytes; 0 for a process that has ended and waits to be reaped."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _whole(descriptor: int) -> str:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")


def _json_object(line: str) -> dict[str, Any]:
    try:
        value: object = json.loads(line)
    except ValueError:
        return {}
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}
