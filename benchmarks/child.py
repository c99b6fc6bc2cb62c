"""Run a command as a child process and say what it used: wall and CPU seconds, its peak resident memory, its traffic.

The peak is VmHWM, polled from /proc until the child ends. `ru_maxrss` would be wrong: it starts at the size of
the process that forked. The traffic is what the kernel counted, read when the child has ended and waits to be reaped.
Only the child itself is counted, not processes it starts. Linux only.
"""

from __future__ import annotations

import compileall
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

POLL_SECONDS: Final = 0.005
# `python -m` looks for the package here first, so an uninstalled clone measures itself.
REPOSITORY: Final = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes that a process moved: `read` and `written` by system calls, from the page cache or not; `fetched` from
    disk, mapped files among it, and `dirtied` to go to disk one day. A mapped file is never `read`."""

    read: int = 0
    written: int = 0
    fetched: int = 0
    dirtied: int = 0


@dataclass(frozen=True, slots=True)
class Finished:
    """A child that has ended. `peak_bytes` is 0 when it was gone before its first poll."""

    exit_code: int
    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    stdout: str
    stderr: str
    traffic: Traffic = Traffic()

    def done_report(self) -> dict[str, Any]:
        """The last line of standard output that is a JSON object of kind "done"; empty when there is none."""
        for line in reversed(self.stdout.splitlines()):
            report = _json_object(line)
            if report.get("kind") == "done":
                return report
        return {}


@cache
def compile_clone() -> None:
    """Write the bytecode of this clone, as an installation has it, and let children write theirs.

    Where PYTHONDONTWRITEBYTECODE is set, as on machines for tests, a clone is compiled anew at every start: 0.2 to 0.5
    seconds that no user waits, and that peers, which are installed, are not charged.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for package in ("mergegraph", "tui/mergegraph_tui"):
        compileall.compile_dir(REPOSITORY / package, quiet=1)


def mergegraph(*arguments: str | Path) -> Finished:
    """`python -m mergegraph ARGUMENTS`, with the interpreter that runs this."""
    return run_child([sys.executable, "-m", "mergegraph", *map(str, arguments)])


def run_child(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Finished:
    """Run `command` in the repository to its end; in this process's environment when none is given."""
    compile_clone()
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        started = time.monotonic()
        # Popen returns after exec, so no poll can see the memory of this process in place of the child's.
        process = subprocess.Popen(
            command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=environment
        )
        peak_bytes = 0
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            peak_bytes = max(peak_bytes, high_water_mark(Path(f"/proc/{process.pid}/status").read_text()))
            time.sleep(POLL_SECONDS)
        wall_seconds = time.monotonic() - started
        moved = traffic(Path(f"/proc/{process.pid}/io").read_text())
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return Finished(
            exit_code=process.returncode,
            wall_seconds=wall_seconds,
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            peak_bytes=peak_bytes,
            stdout=_whole(stdout.fileno()),
            stderr=_whole(stderr.fileno()),
            traffic=moved,
        )


def high_water_mark(status: str) -> int:
    """VmHWM in bytes from the text of /proc/PID/status; 0 of a process that has ended."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def traffic(io: str) -> Traffic:
    """From the text of /proc/PID/io."""
    counts = {name: int(count) for name, count in re.findall(r"^(\w+): (\d+)$", io, re.MULTILINE)}
    return Traffic(counts["rchar"], counts["wchar"], counts["read_bytes"], counts["write_bytes"])


def _whole(descriptor: int) -> str:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")


def _json_object(line: str) -> dict[str, Any]:
    try:
        value: object = json.loads(line)
    except ValueError:
        return {}
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}
