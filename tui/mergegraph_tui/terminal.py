"""The terminal of the interface: there is none to begin with, or it goes away.

A window that is closed and a line that is cut end the interface as quitting does: what is not saved is kept, and a run
goes on. Where that takes too long (nobody reads what is still to be painted) the process ends all the same.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final

from mergegraph.errors import OutputError, Problem

_LOOK_MILLISECONDS = 500
_GRACE_SECONDS = 3.0
HUNG_UP: Final = 129
"""The exit code, as of a process that SIGHUP ended."""
_SIGNALS = (signal.SIGHUP, signal.SIGTERM)


def is_of_a_server() -> bool:
    """Whether a server of `--web` stands in for the terminal: Textual is told its driver then."""
    return "TEXTUAL_DRIVER" in os.environ


def refuse_without() -> None:
    """OutputError where keys cannot come from a terminal, or pictures cannot go to one."""
    streams = (("input", sys.__stdin__), ("output", sys.__stdout__), ("error output", sys.__stderr__))
    missing = [name for name, stream in streams if stream is None or not stream.isatty()]
    if missing and not is_of_a_server():
        why = f"standard {missing[0]} is not one"
        if len(missing) > 1:
            why = f"none of standard {', '.join(missing[:-1])} and {missing[-1]} is one"
        fix = "start it in a terminal; without one: mergegraph run RECIPE, mergegraph watch"
        raise OutputError(Problem("The interface needs a terminal.", why=why, fix=fix))


class TerminalWatch:
    """From `begin` until the process ends. `leave` is called, in a thread, when the terminal is gone."""

    def __init__(self, leave: Callable[[], object]) -> None:
        self._leave = leave
        self._told = threading.Event()
        self.is_gone = False

    def begin(self) -> None:
        for each in _SIGNALS:
            if signal.getsignal(each) is not signal.SIG_IGN:
                signal.signal(each, self._tell)
        threading.Thread(target=self._look, name="terminal", daemon=True).start()

    def _tell(self, number: int, frame: FrameType | None) -> None:
        self._told.set()

    def _look(self) -> None:
        """A hang-up shows at the terminal itself too, where SIGHUP is ignored or went to somebody else."""
        poll = select.poll()
        poll.register(0, 0)
        while not self._told.is_set():
            seen = sum(event for _, event in poll.poll(_LOOK_MILLISECONDS))
            if seen & select.POLLNVAL:  # a system that cannot look at terminals so: the signal remains
                self._told.wait()
            elif seen & (select.POLLHUP | select.POLLERR):
                break
        self.is_gone = True
        self._leave()
        threading.Event().wait(_GRACE_SECONDS)
        os._exit(HUNG_UP)
