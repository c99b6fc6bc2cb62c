"""How long `mergegraph tui RECIPE` takes to show something, in a real terminal's eyes.

The command runs in a pseudo-terminal of 120 by 40 cells. The clock starts before the fork, so that the interpreter and
every import count. "first frame": when `F4 Stats`, near the end of the top line, has arrived (Textual writes a frame in
one go); "Edit": when the frames of the screen have, `Problems` among them; "graph": when the icon of a save node has,
after the check of the recipe. The first start fills the caches and does not count.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import select
import signal
import statistics
import struct
import sys
import termios
import time

from child import compile_clone

FRAME, EDIT, GRAPH = b"F4 Stats", b"Problems", "▣".encode()
_MOST_SECONDS = 20.0


def measure(recipe: str) -> dict[bytes, float]:
    """Seconds until each of FRAME, EDIT and GRAPH was written."""
    started = time.perf_counter()
    child, terminal = pty.fork()
    if child == 0:
        environment = {
            **os.environ,
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "COLUMNS": "120",
            "LINES": "40",
        }
        os.execve(sys.executable, [sys.executable, "-m", "mergegraph", "tui", recipe], environment)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    written, found = b"", dict[bytes, float]()
    try:
        while len(found) < 3 and time.perf_counter() - started < _MOST_SECONDS:
            if select.select([terminal], [], [], 0.05)[0]:
                written += os.read(terminal, 1 << 16)
                now = time.perf_counter() - started
                found |= {each: now for each in (FRAME, EDIT, GRAPH) if each not in found and each in written}
    except OSError:
        sys.exit(written.decode(errors="replace"))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(terminal)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--repeats", type=int, default=9)
    given = parser.parse_args()
    compile_clone()
    measure(given.recipe)
    times = [measure(given.recipe) for _ in range(given.repeats)]
    print("| | median | range |\n|---|---|---|")
    for name, each in (("first frame", FRAME), ("Edit", EDIT), ("graph", GRAPH)):
        seconds = sorted(found.get(each, float("inf")) for found in times)
        print(f"| {name} | {statistics.median(seconds):.2f} s | {seconds[0]:.2f} to {seconds[-1]:.2f} |")
    sys.exit(max(found.get(FRAME, float("inf")) for found in times) > 1.0)


if __name__ == "__main__":
    main()
