"""A run says that it is there, what it writes and how it ended, for whoever looks from another process."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mergegraph.runs.folder import ALIVE, END, RUN_FOLDER, make_folder, put, put_outputs, put_pid


class Registration:
    """The folder of the run in this process; None where none could be made."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def end(self, content: Mapping[str, object]) -> None:
        """How the run ended, in the words of `--json`."""
        if self.folder is not None:
            with suppress(OSError):
                put(self.folder / END, content)


@contextmanager
def registered(arguments: Sequence[str], outputs: Mapping[str, Path]) -> Generator[Registration]:
    """The run is known as living while the block runs, and its end afterwards.

    A state folder that cannot be written to is never a reason to fail: the run is then found by its outputs only.
    """
    given = os.environ.pop(RUN_FOLDER, None)
    if given is not None and (Path(given) / ALIVE).is_file():
        _say_what_is_known(Path(given), outputs)
        yield Registration(Path(given))
        return
    try:
        folder, fd = make_folder(arguments, outputs, Path.cwd())
    except (OSError, RuntimeError):
        yield Registration(None)
        return
    try:
        with suppress(OSError):
            put_pid(fd, os.getpid())
        yield Registration(folder)
    finally:
        os.close(fd)


def _say_what_is_known(folder: Path, outputs: Mapping[str, Path]) -> None:
    """The starter may have been killed before it could."""
    with suppress(OSError):
        put_outputs(folder, outputs)
        fd = os.open(folder / ALIVE, os.O_WRONLY)
        try:
            put_pid(fd, os.getpid())
        finally:
            os.close(fd)
