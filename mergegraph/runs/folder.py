"""The folder that one run has under the user's state folder, and whether the run lives.

alive         locked while the run lives, so a number that another process got later means nothing; holds the pid
run.json      what was started, where and when
outputs.json  the outputs, once they are known
end.json      how it ended
stdout, stderr  of a run that was started detached
"""

from __future__ import annotations

import datetime
import fcntl
import json
import os
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

from mergegraph.tensors.disk import replace_file

ALIVE, RUN, OUTPUTS, END, STDOUT, STDERR = "alive", "run.json", "outputs.json", "end.json", "stdout", "stderr"
RUN_FOLDER = "MERGEGRAPH_RUN_FOLDER"
"""Names, in the environment of a run, the folder that was made for it; its lock is held by a file that it inherited."""

_ENDED_RUNS_KEPT = 20


def runs_folder() -> Path:
    """Where the folders of runs lie. RuntimeError when there is no home folder to go by."""
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    state = given if given.is_absolute() else Path.home() / ".local" / "state"
    return state / "mergegraph" / "runs"


def make_folder(arguments: Sequence[str], outputs: Mapping[str, Path], started_in: Path) -> tuple[Path, int]:
    """A new run folder, and its `alive` file, open and locked. OSError where it cannot be made."""
    began = time.time()
    runs = runs_folder()
    runs.mkdir(parents=True, exist_ok=True, mode=0o700)
    forget_old(runs)
    moment = datetime.datetime.fromtimestamp(began, datetime.UTC)
    folder = runs / f"{moment:%Y%m%dT%H%M%S.%f}-{os.getpid()}-{os.urandom(2).hex()}"
    folder.mkdir(mode=0o700)
    fd = os.open(folder / ALIVE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        with suppress(OSError):  # where there are no locks, the pid decides
            fcntl.flock(fd, fcntl.LOCK_EX)
        put(folder / RUN, {"arguments": list(arguments), "folder": str(started_in), "began": began,
                           "host": socket.gethostname()})  # fmt: skip
        if outputs:
            put_outputs(folder, outputs)
    except OSError:
        os.close(fd)
        forget(folder)
        raise
    return folder, fd


def put_outputs(folder: Path, outputs: Mapping[str, Path]) -> None:
    # As the run does it: resolve() would follow a link at the final name.
    put(folder / OUTPUTS, {node: os.path.abspath(path) for node, path in outputs.items()})  # noqa: PTH100


def put(path: Path, content: Mapping[str, object]) -> None:
    replace_file(path, json.dumps(content).encode(), sync=False)


def read(path: Path) -> dict[str, object]:
    """A JSON object; empty where there is none, or not a whole one."""
    try:
        said: object = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return cast("dict[str, object]", said) if isinstance(said, dict) else {}


def put_pid(fd: int, pid: int) -> None:
    os.pwrite(fd, str(pid).encode(), 0)


def pid_in(folder: Path) -> int:
    """The process of a run; 0 where it is not known yet. Means something only while the run lives."""
    try:
        return int((folder / ALIVE).read_bytes() or 0)
    except (OSError, ValueError):
        return 0


def is_locked(path: Path, pid: int) -> bool:
    """Whether a process holds the lock on `path`; where there are no locks, whether there is a process `pid`."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return exists(pid)
    finally:
        os.close(fd)
    return False


def exists(pid: int) -> bool:
    """Whether there is a process of that number."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def is_alive(folder: Path) -> bool:
    return is_locked(folder / ALIVE, pid_in(folder))


def forget_old(runs: Path) -> None:
    """Delete the folders of runs that ended, but for the newest ones: their ends may still be asked for."""
    for folder in newest_first(runs)[_ENDED_RUNS_KEPT:]:
        if not is_alive(folder):
            forget(folder)


def forget(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def newest_first(runs: Path) -> list[Path]:
    try:
        return sorted([entry for entry in runs.iterdir() if entry.is_dir()], reverse=True)
    except OSError:
        return []
