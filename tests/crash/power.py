"""A power cut: the file system stops in the middle of a run and forgets what was not synced.

Runs inside the forked command line. The shutdown ioctl of ext4 and xfs, without a flush of their log, leaves on the
disk what a real one would: what the run synced, and perhaps a part of the rest.
"""

from __future__ import annotations

import fcntl
import os
import signal
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mergegraph.tensors import partial, writer
from mergegraph.tensors.disk import sync_data
from mergegraph.tensors.writer import OutputFolder

# _IOR('X', 125, __u32), and "go down without flushing the log"
_SHUTDOWN, _NO_LOG_FLUSH = 0x8004587D, 2

CALLS = ("mkdir", "posix_fallocate", "pwrite", "fsync", "fdatasync", "rename", "replace", "unlink", "rmdir")


def cut(mount: Path) -> None:
    """The power fails now, for the file system at `mount`."""
    fd = os.open(mount, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
    finally:
        os.close(fd)


def cut_power(at: int, mount: str, log: str) -> None:
    """Count the calls that change the disk, their names in `log`; before the one numbered `at`, the power fails."""
    made = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
    count = iter(range(1_000_000))

    def counted(name: str, whole: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if next(count) == at:
                cut(Path(mount))
                os.kill(os.getpid(), signal.SIGKILL)
            os.write(made, f"{name}\n".encode())
            return whole(*arguments, **options)

        return call

    for name in CALLS:
        setattr(os, name, counted(name, getattr(os, name)))


def mutant(name: str) -> None:
    """A writer with one fault, to see whether the power cuts find it."""
    assert callable(OutputFolder._record), "the mutants replace what is there"
    {
        "data is not synced before its record": _data_not_synced,
        "the record comes before the data": _record_before_data,
        "no folder is synced": _folders_not_synced,
    }[name]()


MUTANTS = ("data is not synced before its record", "the record comes before the data", "no folder is synced")


def _data_not_synced() -> None:
    def record(folder: OutputFolder, batch: Any, indexes: Any) -> None:
        folder._claim.journal.append(batch)
        folder._claim.journal.sync()

    OutputFolder._record = record  # type: ignore[method-assign]


def _record_before_data() -> None:
    def record(folder: OutputFolder, batch: Any, indexes: Any) -> None:
        folder._claim.journal.append(batch)
        folder._claim.journal.sync()
        for index in indexes:
            sync_data(folder._fd(index))

    OutputFolder._record = record  # type: ignore[method-assign]


def _folders_not_synced() -> None:
    def sync_files_only(path: Path) -> None:
        if not path.is_dir():
            whole(path)

    whole = partial.sync_path
    for module in (partial, writer):
        assert module.sync_path is whole
        module.sync_path = sync_files_only
