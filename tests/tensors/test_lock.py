"""One holder of a folder at a time, also where the file system knows no locks."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mergegraph.errors import OutputError
from mergegraph.tensors.lock import FolderLock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock"


def test_it_is_held_until_released(path: Path) -> None:
    lock = FolderLock.take(path)
    with pytest.raises(OutputError, match=f"process {os.getpid()} on {socket.gethostname()}, since 20"):
        FolderLock.take(path)
    lock.release()
    FolderLock.take(path).release()


def test_a_folder_that_is_gone_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FolderLock.take(tmp_path / "gone" / "lock")


@pytest.mark.parametrize("gone", ["lock", "."], ids=["the file is removed", "the folder is renamed"])
def test_a_lock_on_what_is_no_longer_there_is_not_taken_for_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    """The last holder takes it away between our opening and locking it."""
    folder = tmp_path / "out.partial"
    folder.mkdir()
    flock = fcntl.flock
    removals = iter([folder / gone])

    def after_a_removal(fd: int, operation: int) -> None:
        if Path(f"/proc/self/fd/{fd}").readlink() == folder / "lock":
            for stale in removals:
                stale.rename(tmp_path / "moved")
                folder.mkdir(exist_ok=True)
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", after_a_removal)
    lock = FolderLock.take(folder / "lock")
    with pytest.raises(OutputError, match="Another run"):
        FolderLock.take(folder / "lock")
    assert (folder / "lock").exists()
    lock.release()


def test_the_folder_is_held_after_its_lock_file_is_removed(path: Path) -> None:
    lock = FolderLock.take(path)
    path.unlink()
    with pytest.raises(OutputError, match="Another run"):
        FolderLock.take(path)
    lock.release()
    FolderLock.take(path).release()


def test_a_forked_child_does_not_keep_it(path: Path) -> None:
    lock = FolderLock.take(path)
    os.set_inheritable(lock._fd, True)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False) as child:
        lock.release()
        FolderLock.take(path).release()
        child.kill()


def dead_process() -> int:
    with subprocess.Popen(["true"]) as child:
        pass
    return child.pid


@pytest.mark.parametrize(
    ("host", "pid", "taken"),
    [
        pytest.param(socket.gethostname(), os.getppid(), False, id="alive here"),
        pytest.param(socket.gethostname(), dead_process(), True, id="dead here"),
        pytest.param("another.host", dead_process(), False, id="on another host, where nobody can tell"),
    ],
)
def test_without_locks_in_the_file_system_the_written_name_decides(
    path: Path, monkeypatch: pytest.MonkeyPatch, host: str, pid: int, taken: bool
) -> None:
    def unsupported(fd: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    path.write_text(json.dumps({"host": host, "pid": pid, "since": "2026-01-01"}))
    if not taken:
        with pytest.raises(OutputError, match=f"process {pid} on {host}"):
            FolderLock.take(path)
        path.write_text("")
    lock = FolderLock.take(path)
    with pytest.raises(OutputError, match=f"process {os.getpid()}"):
        FolderLock.take(path)
    lock.release()
    FolderLock.take(path).release()
