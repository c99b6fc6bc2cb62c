"""Find runs of this machine, read how far they are and how they ended, pause them, let them go on, stop them.

Reads files and asks for locks; a run is never waited for. Whoever shows a run asks ten times a second.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, cast

from mergegraph.runs.ending import Done, End, Lost, Stopped, end_from_json
from mergegraph.runs.folder import (
    END,
    OUTPUTS,
    RUN,
    STDERR,
    STDOUT,
    exists,
    is_alive,
    is_locked,
    newest_first,
    pid_in,
    read,
    runs_folder,
)
from mergegraph.runs.progress import Progress, read_progress
from mergegraph.tensors.completed import completed_result_id
from mergegraph.tensors.lock import holder
from mergegraph.tensors.partial import LOCK, PAUSE

_TAIL_BYTES = 16_384


class Run(Protocol):
    """A run, in whatever process it is."""

    @property
    def outputs(self) -> tuple[Path, ...]:
        """Where its outputs will stand; none until it has made its plan."""
        ...

    @property
    def pid(self) -> int:
        """Its process; 0 where it is not known."""
        ...

    def is_alive(self) -> bool: ...

    def progress(self) -> Progress | None:
        """What it published last; None before it writes, while it renames its outputs, and after that."""
        ...

    def end(self) -> End | None:
        """How it ended; None while it lives."""
        ...


@dataclass(frozen=True)
class RegisteredRun:
    """A run with a folder of its own: every `mergegraph run` has one."""

    folder: Path

    @cached_property
    def _started(self) -> dict[str, object]:
        return read(self.folder / RUN)

    @property
    def arguments(self) -> tuple[str, ...]:
        """What stood behind `mergegraph`."""
        arguments = self._started.get("arguments")
        return tuple(map(str, cast("list[object]", arguments))) if isinstance(arguments, list) else ()

    @property
    def started_in(self) -> Path:
        """The current folder of whoever started it."""
        return Path(str(self._started.get("folder", "")))

    @property
    def began(self) -> float:
        """Seconds since the epoch."""
        began = self._started.get("began")
        return began if isinstance(began, float) else 0.0

    @property
    def is_here(self) -> bool:
        """Whether it was started on this machine; a home folder may be shared."""
        return self._started.get("host") == socket.gethostname()

    @property
    def outputs(self) -> tuple[Path, ...]:
        return tuple([Path(path) for path in read(self.folder / OUTPUTS).values() if isinstance(path, str)])

    @property
    def pid(self) -> int:
        return pid_in(self.folder)

    def is_alive(self) -> bool:
        return is_alive(self.folder)

    def progress(self) -> Progress | None:
        shown = _progress_of(self.outputs)
        # A partial folder that is gone on with shows the earlier run until this one has taken it.
        return shown if shown is not None and shown.began >= self.began else None

    def end(self) -> End | None:
        if self.is_alive():
            return None
        told = end_from_json(read(self.folder / END)) or end_from_json(_last_object(self.folder / STDOUT))
        return told or Lost(self.said())

    def said(self) -> str:
        """The last of what it wrote to stderr, where it was started detached."""
        return _tail(self.folder / STDERR)


@dataclass(frozen=True)
class UnregisteredRun:
    """A run that only the lock of its output tells of: one from Python, or with no state folder to write to."""

    output: Path

    @property
    def outputs(self) -> tuple[Path, ...]:
        return (self.output,)

    @property
    def pid(self) -> int:
        return holder(partial_of(self.output) / LOCK)

    def is_alive(self) -> bool:
        # The lock is asked only where its holder seems to live: a run that wants it must not find it taken by us.
        pid = self.pid
        return exists(pid) and is_locked(partial_of(self.output) / LOCK, pid)

    def progress(self) -> Progress | None:
        return _progress_of(self.outputs)

    def end(self) -> End | None:
        if self.is_alive():
            return None
        shown = self.progress()
        if shown is None and completed_result_id(self.output):
            return Done({})
        return Stopped((), 130) if shown is not None and shown.state == "stopped" else Lost()


def living() -> list[RegisteredRun]:
    """The runs that live on this machine, newest first."""
    return [run for run in known() if run.is_alive()]


def known() -> list[RegisteredRun]:
    """Those, and the last ones that ended, newest first."""
    try:
        folders = newest_first(runs_folder())
    except RuntimeError:
        return []
    return [run for run in map(RegisteredRun, folders) if run.is_here]


def find(output: Path) -> Run | None:
    """The run that writes `output`, or was the last to; None where none is known. Its partial folder may be named."""
    final = _final(output)
    of_output = [run for run in known() if final in map(_final, run.outputs)]
    if of_output and of_output[0].is_alive():
        return of_output[0]
    unregistered = UnregisteredRun(final)
    return unregistered if unregistered.is_alive() else of_output[0] if of_output else None


def partial_of(output: Path) -> Path:
    return output.with_name(f"{output.name}.partial") if output.name else Path(f"{output.absolute()}.partial")


def pause(run: Run) -> bool:
    """Ask a run to wait after the tiles it is at. False where it cannot be asked: it has not begun to merge."""
    if run.progress() is None or not run.is_alive():
        return False
    asked = False
    for partial in map(partial_of, run.outputs):
        with suppress(OSError):
            (partial / PAUSE).touch()
            asked = True
    return asked


def go_on(run: Run) -> None:
    """Take the pause back."""
    for partial in map(partial_of, run.outputs):
        (partial / PAUSE).unlink(missing_ok=True)


def stop(run: Run) -> bool:
    """Ask a run to stop after the tiles it is at, and keep what is done. False where it lives no more."""
    pid = run.pid
    # Asked last: while the lock is held, the number is that of the run.
    if not pid or not run.is_alive():
        return False
    try:
        os.kill(pid, signal.SIGINT)
    except ProcessLookupError:
        return False
    return True


def _progress_of(outputs: tuple[Path, ...]) -> Progress | None:
    """That of the first output which is being written: all of a run say the same."""
    for output in outputs:
        if (shown := read_progress(partial_of(output))) is not None:
            return shown
    return None


def _final(output: Path) -> Path:
    """The path that a run has for it: links on the way are followed, one at its end is not."""
    absolute = output.absolute()
    name = absolute.name.removesuffix(".partial")
    return Path(os.path.realpath(absolute.parent)) / name


def _last_object(path: Path) -> dict[str, object]:
    """The JSON object on the last whole line."""
    for line in reversed(_tail(path, None).splitlines()):
        with suppress(ValueError):
            said: object = json.loads(line)
            return cast("dict[str, object]", said) if isinstance(said, dict) else {}
    return {}


def _tail(path: Path, limit: int | None = _TAIL_BYTES) -> str:
    try:
        with path.open("rb") as file:
            if limit is not None:
                file.seek(max(0, file.seek(0, os.SEEK_END) - limit))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
