"""What the terminal interface costs a merge, and how fast it answers keys meanwhile; through a pseudo-terminal.

    python benchmarks/make_inputs.py DIR --shape 1.1b
    python benchmarks/interface.py DIR [--rounds 5] [--cases soup,deltas] [--keys 100]

In turn: the run alone, and the run started from the interface (`p`, enter), which shows it on the Run screen until it
has ended. The seconds are those from the moment the run is begun until it has said how it ended, process start and
planning included, by the run's own folder; the output is deleted and the disk waited for in between.

Keys are pressed while ties merges on all processors: on Edit the cursor goes to the next node, on Run the log is shown
on the whole screen and put away again. Latency is from the write of the key to the arrival of bytes that only its
effect paints. Exits 1 where a target is missed: 1.05 times the time alone (by medians), 60 ms (95th percentile).
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import re
import select
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable
from pathlib import Path

from cases import CASES
from child import compile_clone
from mergegraph_tui.model.runs import Options, RegisteredRun, known, start
from table import table

from mergegraph.runs.folder import END

_SLOWER, _MILLISECONDS = 1.05, 60.0
_COLUMNS, _ROWS = 120, 40
_WAIT_SECONDS = 60.0
_BETWEEN_KEYS = 0.15


class Terminal:
    """`mergegraph tui` with a terminal of its own; what it paints is read and kept."""

    def __init__(self, recipe: Path) -> None:
        compile_clone()
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, _COLUMNS, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        command = [sys.executable, "-m", "mergegraph", "tui", str(recipe)]
        self._process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
        )
        os.close(slave)
        self.painted = b""

    def read(self, seconds: float) -> bytes:
        """What is painted until then; returns with the first of it."""
        if not select.select([self._master], [], [], seconds)[0]:
            return b""
        try:
            said = os.read(self._master, 1 << 16)
        except OSError:
            return b""
        self.painted += said
        return said

    def drain(self, seconds: float) -> None:
        """Read for so long."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.read(left)

    def press(self, keys: bytes) -> None:
        self.painted = b""
        os.write(self._master, keys)

    def wait_for(self, text: str, seconds: float = _WAIT_SECONDS) -> None:
        """Until it is painted, in one piece."""
        until = time.monotonic() + seconds
        while text.encode() not in self.painted:
            if time.monotonic() > until:
                sys.exit(f"the interface did not show {text!r}; it showed {_plain(self.painted)[-2000:]}")
            self.read(0.1)

    def seconds_to(self, key: bytes, text: str) -> float:
        """From the key to what only its effect paints."""
        began = time.perf_counter()
        self.press(key)
        self.wait_for(text)
        return time.perf_counter() - began

    def close(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._master)


def _plain(painted: bytes) -> str:
    return re.sub(r"\x1b[\[\]][0-9;?]*[ -/]*[@-~]", "", painted.decode("utf-8", "replace"))


def ended(run: RegisteredRun, meanwhile: Callable[[], object]) -> float:
    """Wait for it. Seconds from its beginning until it said how it ended."""
    while run.is_alive():
        meanwhile()
    if type(run.end()).__name__ != "Done":
        sys.exit(f"the run did not end well: {run.end()}")
    return (run.folder / END).stat().st_mtime - run.began


def alone(recipe: Path) -> float:
    run = start(recipe, Options())
    return ended(run, lambda: time.sleep(0.02))


def begun(terminal: Terminal) -> RegisteredRun:
    """Start the recipe as a person does."""
    before = len(known())
    terminal.wait_for("fine")
    terminal.press(b"p")
    terminal.wait_for("ready")
    terminal.press(b"\r")
    terminal.wait_for("Throughput")
    assert len(known()) > before or before >= 20, "a run was begun"
    return known()[0]


def attached(recipe: Path) -> float:
    terminal = Terminal(recipe)
    try:
        seconds = ended(begun(terminal), lambda: terminal.read(0.02))
        terminal.wait_for("statistics")
        return seconds
    finally:
        terminal.close()


def key_seconds(recipe: Path, count: int) -> dict[str, list[float]]:
    """On both screens, while a run computes; as many runs as it takes."""
    found: dict[str, list[float]] = {"Edit: next node": [], "Run: log and back": []}
    while min(map(len, found.values())) < count:
        terminal = Terminal(recipe)
        run = begun(terminal)
        try:
            terminal.wait_for("merging")
            _press_keys(terminal, run, found, count)
        finally:
            terminal.close()
            os.kill(run.pid, signal.SIGINT) if run.is_alive() else None
            while run.is_alive():
                time.sleep(0.05)
            clear(recipe)
    return found


def _press_keys(terminal: Terminal, run: RegisteredRun, found: dict[str, list[float]], count: int) -> None:
    edit, log = found.values()
    while run.is_alive() and len(log) < count:
        for key, text in ((b"l", "Log"), (b"l", "Throughput")):
            log.append(terminal.seconds_to(key, text))
            terminal.drain(_BETWEEN_KEYS)
        if len(log) % 20 == 0:
            break
    terminal.press(b"1")
    terminal.wait_for("Problems")
    terminal.drain(0.5)
    while run.is_alive() and len(edit) < count:
        edit.append(terminal.seconds_to(b"\t", "┏"))
        terminal.drain(_BETWEEN_KEYS)


def clear(recipe: Path) -> None:
    """No output, and a disk at rest."""
    for path in recipe.parent.glob("out*"):
        shutil.rmtree(path, ignore_errors=True)
    os.sync()


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what the interface costs a merge, and how it answers keys.")
    parser.add_argument("inputs", metavar="DIR", type=Path, help="made by make_inputs.py")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", default="soup,deltas")
    parser.add_argument("--keys", type=int, default=100, help="so many on each screen")
    options = parser.parse_args()
    inputs: Path = options.inputs.resolve()
    is_missed = False
    with tempfile.TemporaryDirectory(dir=inputs.parent, prefix="mergegraph-interface-") as scratch:
        os.environ["XDG_STATE_HOME"] = str(Path(scratch) / "state")
        recipe = Path(scratch) / "merge.yaml"
        rows: list[list[str]] = []
        for case in [case for case in CASES if case.name in options.cases.split(",")]:
            recipe.write_text(case.recipe(inputs, Path(scratch) / "out"))
            seconds: dict[str, list[float]] = {"alone": [], "attached": []}
            for turn in range(options.rounds + 1):
                for name, measure in (("alone", alone), ("attached", attached)):
                    took = measure(recipe)
                    clear(recipe)
                    if turn:  # the first round warms the cache
                        seconds[name].append(took)
            one, other = map(statistics.median, seconds.values())
            is_missed |= other > _SLOWER * one
            rows.append([case.title, *map(_ranged, seconds.values()), f"{other / one:.3f}"])
        print(table(("merge", "alone s", "with the interface s", "ratio"), rows), flush=True)
        print()
        ties = next(case for case in CASES if case.name == "ties")
        recipe.write_text(ties.recipe(inputs, Path(scratch) / "out"))
        rows = []
        for name, found in key_seconds(recipe, options.keys).items():
            ordered = sorted(1e3 * each for each in found)
            late = ordered[int(0.95 * len(ordered))]
            is_missed |= late > _MILLISECONDS
            rows.append(
                [name, str(len(ordered)), *(f"{x:.1f}" for x in (statistics.median(ordered), late, ordered[-1]))]
            )
        print(table(("key, while ties merges", "presses", "median ms", "p95 ms", "most ms"), rows))
    if is_missed:
        sys.exit("a target is missed")


def _ranged(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
