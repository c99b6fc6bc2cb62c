"""How a command ends: every error becomes a message and an exit code; nothing but a bug shows a traceback.

Exit codes: 0 done, 1 failed while running, 2 the recipe or the command line is wrong, 3 does not fit, 130 interrupted,
75 terminated.
"""

from __future__ import annotations

import errno
import signal
import textwrap
import threading
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import typer

from mergegraph.cli.terminal import note, say_json
from mergegraph.errors import (
    DoesNotFit,
    InputError,
    Interrupted,
    MergegraphError,
    Problem,
    RecipeError,
    RunError,
    on_one_line,
)
from mergegraph.runs.ending import error_json

_NO_ROOM = ("failed to map segment", "cannot allocate memory", "Cannot allocate memory")
"""What the system's loader says of a library that there is no memory for."""

_MENDED_BY = {
    errno.EACCES: "change the permissions, or choose another place",
    errno.EPERM: "change the permissions, or choose another place",
    errno.EROFS: "choose another place: nothing can be written there",
    errno.ENOENT: "choose another place, or make the folder first",
    errno.ENOSPC: "free some space there, or choose another place",
    errno.EDQUOT: "free some space there, or choose another place",
    errno.EMFILE: "let the process open more files: ulimit -n 4096",
}


@contextmanager
def reporting(*, as_json: bool = False) -> Generator[None]:
    """Run the body of a command; `as_json` says an error on stdout too, as the last object."""
    try:
        with _terminated_as_error():
            _stand_somewhere()
            yield
    except MergegraphError as error:
        _end(error, as_json=as_json)
    except KeyboardInterrupt:
        _end(Interrupted(Problem("Interrupted.", fix="run the same command again")), as_json=as_json)
    except typer.Exit:
        raise
    except MemoryError:
        fix = "give the process more memory (ulimit -d, ulimit -v), or free some"
        _end(DoesNotFit(Problem("There is not enough memory to plan this.", fix=fix)), as_json=as_json)
    except ImportError as error:
        if not any(said in str(error) for said in _NO_ROOM):
            _bug(error, as_json=as_json)
        fix = "give the process more memory (ulimit -d, ulimit -v), or free some"
        problem = Problem("There is not enough memory to load torch.", why=str(error), fix=fix)
        _end(DoesNotFit(problem), as_json=as_json)
    except OSError as error:
        if error.filename is None:
            _bug(error, as_json=as_json)
        if error.errno == errno.ENAMETOOLONG:
            fix = "give a shorter path; no file can be called so"
            _end(InputError(Problem(f"{str(error.filename)[:60]}… is too long for a path.", fix=fix)), as_json=as_json)
        fix = _MENDED_BY.get(error.errno or 0, "")
        _end(RunError(Problem(f"{error.filename}: {error.strerror}.", fix=fix)), as_json=as_json)
    except Exception as error:
        _bug(error, as_json=as_json)


def _stand_somewhere() -> None:
    """RecipeError where the working folder was removed: paths lead nowhere, and torch does not load."""
    try:
        Path.cwd()
    except FileNotFoundError:
        problem = Problem("The folder that this was started in is gone.", fix="cd into a folder that is there")
        raise RecipeError(problem) from None


def _end(error: MergegraphError, *, as_json: bool) -> NoReturn:
    note(str(error))
    if as_json:
        say_json(error_json(error.problems, error.exit_code))
    raise typer.Exit(error.exit_code) from error


def _bug(error: Exception, *, as_json: bool) -> NoReturn:
    fact = f"This is a bug in mergegraph: {type(error).__name__}: {error}"
    note(f"{on_one_line(fact)}\nPlease report it with the recipe and the lines below.")
    # Indented, so that no line of a message looks like one of ours.
    note(textwrap.indent("".join(traceback.format_exception(error)).rstrip("\n"), "    "))
    if as_json:
        say_json(error_json((Problem(fact),), 1))
    raise typer.Exit(1) from error


def usage_error(error: Exception, app: typer.Typer) -> int:
    """Say what is wrong with a command line that typer cannot read; the exit code. Any other exception is raised."""
    from mergegraph.cli.usage import usage_problem

    if type(error).__name__ == "NoArgsIsHelpError":
        note(str(getattr(error, "message", "")))
        return 2
    problem = usage_problem(error, getattr(typer.main.get_command(app), "commands", {}))
    if problem is None:
        raise error
    note(str(problem))
    return int(getattr(error, "exit_code", 2))


@contextmanager
def _terminated_as_error() -> Generator[None]:
    """SIGTERM before or after the run ends the command as in the run, which has a handler of its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminated(signum: int, frame: FrameType | None) -> None:
        problem = Problem("Stopped by SIGTERM outside the run.", fix="run the same command again")
        raise Interrupted(problem, by_system=True)

    previous = signal.signal(signal.SIGTERM, terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
