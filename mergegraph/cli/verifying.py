"""`verify`: an output is read back while a line on the terminal says how far. Never imports torch."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from mergegraph.cli.checking import show_warnings
from mergegraph.cli.terminal import say_json, say_text
from mergegraph.errors import problem_json
from mergegraph.provenance.unfinished import Verified
from mergegraph.provenance.verify import Tick, verify
from mergegraph.units import format_bytes, format_count, format_seconds

_QUIET_SECONDS = 1.0
"""What ends within this time needs no line."""


def show_verified(path: Path, *, as_json: bool, quiet: bool) -> None:
    """Raises what `verify` raises."""
    began = time.monotonic()
    with progress_line(shown=not (as_json or quiet)) as tick:
        verified = verify(path, tick)
    seconds = time.monotonic() - began
    if as_json:
        say_json(_verified_json(verified, seconds))
        return
    if not quiet:
        show_warnings(verified.warnings)
        say_text(_verified_text(verified, seconds))


@contextmanager
def progress_line(*, shown: bool = True) -> Generator[Tick]:
    """A line on a terminal that is gone when the reading is over."""
    began, stream = time.monotonic(), sys.stderr
    shown = shown and stream.isatty()

    def tick(read: int, total: int) -> None:
        seconds = time.monotonic() - began
        if shown and seconds >= _QUIET_SECONDS:
            share = 100 * read // total if total else 100
            text = f"{share:>3} %  {format_bytes(read)} of {format_bytes(total)}  {read / seconds / 1e6:,.0f} MB/s"
            stream.write(f"\r{text}\x1b[K")
            stream.flush()

    try:
        yield tick
    finally:
        if shown:
            stream.write("\r\x1b[K")
            stream.flush()


def _verified_text(verified: Verified, seconds: float) -> str:
    read = f"{format_bytes(verified.read_bytes)} in {format_seconds(seconds)}"
    if not verified.is_finished:
        return (
            f"{verified.path}: not finished; of {format_count(verified.tensors_expected, 'tensor')}, "
            f"{verified.tensors:,} recorded, and on disk as written ({read})\n"
            "  run the same command again to go on"
        )
    output = verified.output
    hashed = ", sha256 too" if output is not None and output.provenance.is_hashed else ""
    tensors = format_count(verified.tensors, "tensor")
    return f"{verified.path}: as it was written ({tensors}, {format_count(verified.files, 'file')}{hashed}; {read})"


def _verified_json(verified: Verified, seconds: float) -> dict[str, object]:
    return {
        "kind": "verify",
        "ok": True,
        "path": str(verified.path),
        "finished": verified.is_finished,
        "tensors": verified.tensors,
        "tensors_expected": verified.tensors_expected,
        "files": verified.files,
        "read_bytes": verified.read_bytes,
        "seconds": seconds,
        "sha256": dict(verified.sha256),
        "warnings": [problem_json(problem) for problem in verified.warnings],
    }
