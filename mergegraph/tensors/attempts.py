"""Shards that several processes write: each attempt at a file under a name of its own, until one of them is taken.

`<path>.partial/attempts/<file>.<32 hex digits>` holds an attempt's bytes, and beside it, once they are synced, a
record with the checksums (`….json`). Nobody writes into another's attempt, so a process that was thought dead and
goes on harms nothing; only who finishes the output gives an attempt the file's own name.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from mergegraph.errors import MergegraphError, OutputError, Problem
from mergegraph.tensors import strict_json
from mergegraph.tensors.checksum import bytes_per_block, file_checksum
from mergegraph.tensors.disk import replace_file, reserve, sync_data, sync_path, write_fully
from mergegraph.tensors.kept import JOURNAL
from mergegraph.tensors.layout import FileLayout, Layout
from mergegraph.tensors.partial import ATTEMPTS, LOCK, failing_as_output, refuse_others, require_space, write_failure

_SYNC_BYTES = 256 << 20
"""So much is written at most before it is synced: a killed machine has no more to write back."""

_ABANDONED_SECONDS = 600
"""A worker that lives writes more often."""

Key = Mapping[str, object]
"""What an attempt is of: two attempts with one key and file hold the same bytes, or bytes as good."""


@dataclass(frozen=True)
class Attempt:
    """A complete attempt at a file. `tensors` are records as a journal has them; `facts`: who made it, and how."""

    file: str
    data: Path
    key: Key
    tensors: tuple[Mapping[str, object], ...]
    facts: Mapping[str, object] = field(default_factory=dict[str, object])


def attempts_in(partial: Path) -> list[Attempt]:
    """The complete attempts in a partial folder, by name; what is no record of one is passed over."""
    found = [_read(record) for record in sorted((partial / ATTEMPTS).glob("*.json"))]
    return [attempt for attempt in found if attempt is not None]


def _read(record: Path) -> Attempt | None:
    """None for anything but a record as `AttemptFolder` writes it."""
    try:
        value: object = strict_json.parse(record.read_bytes(), floats=True)
    except (OSError, ValueError, RecursionError):
        return None
    kinds = {"file": str, "key": dict, "tensors": list, "facts": dict}
    said = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    if not all(isinstance(said.get(name), kind) for name, kind in kinds.items()):
        return None
    if not all([_is_tensor(each) for each in said["tensors"]]):
        return None
    return Attempt(said["file"], record.with_suffix(""), said["key"], tuple(said["tensors"]), said["facts"])


def _is_tensor(record: object) -> bool:
    said = cast("dict[str, Any]", record) if isinstance(record, dict) else {}
    named = all(isinstance(said.get(name), str) for name in ("tensor", "checksum"))
    return named and isinstance(said.get("facts", {}), dict)


class AttemptFolder:
    """Attempts at the files of `layout`, which are some of an output's. Threads may write at once.

    `finished` maps the tensors of files that have a complete attempt already to their checksums: they are not written
    again. `before_record` is called when a file's bytes are on disk, and raises where they may not be believed.
    """

    def __init__(
        self,
        partial: Path,
        layout: Layout,
        key: Key,
        *,
        before_record: Callable[[], None] = lambda: None,
        facts: Callable[[], Mapping[str, object]] = dict,
    ) -> None:
        self.partial, self._layout, self._key = partial, layout, key
        self._before_record, self._facts = before_record, facts
        there = {each.file for each in attempts_in(partial) if each.key == key and _is_whole(each, layout)}
        self.already = tuple([file.name for file in layout.files if file.name in there])
        self.finished = {name: "" for name, index in layout.file_of.items() if layout.files[index].name in there}
        self.completed: list[str] = []
        self._left = Counter(index for name, index in layout.file_of.items() if name not in self.finished)
        self._records: dict[int, list[Mapping[str, object]]] = {}
        self._paths: dict[int, Path] = {}
        self._fds: dict[int, int] = {}
        self._unsynced: Counter[int] = Counter()
        self._lock = threading.Lock()

    @classmethod
    def open(
        cls,
        final: Path,
        layout: Layout,
        key: Key,
        *,
        creates: bool = True,
        before_record: Callable[[], None] = lambda: None,
        facts: Callable[[], Mapping[str, object]] = dict,
    ) -> AttemptFolder:
        """The folder of attempts at the output `final`; `creates` it where it is missing. OutputError when something
        else lies there, DoesNotFit when the disk is too small for these files."""
        partial = final.with_name(f"{final.name}.partial")
        with failing_as_output(partial, layout):
            _refuse_other_runs(partial)
            folder = cls(partial, layout, key, before_record=before_record, facts=facts)
            _delete_abandoned(partial / ATTEMPTS)
            require_space(partial, sum([file.file_bytes for file in layout.files if file.name not in folder.already]))
            if creates:
                (partial / ATTEMPTS).mkdir(parents=True, exist_ok=True)
            elif not (partial / ATTEMPTS).is_dir():
                raise OutputError(_nobody_waits(partial))
        return folder

    @property
    def checksums(self) -> Mapping[str, str]:
        """Of the tensors in complete files, these and earlier ones."""
        return self.finished

    def write(self, tensor: str, offset_in_tensor: int, buffer: memoryview) -> None:
        """Write bytes of a tensor at their place."""
        index = self._layout.file_of[tensor]
        try:
            fd = self._fd(index)
            write_fully(fd, buffer, self._layout.files[index].offsets[tensor] + offset_in_tensor)
            with self._lock:
                self._unsynced[index] += buffer.nbytes
                due = self._unsynced[index] >= _SYNC_BYTES
                if due:
                    self._unsynced[index] = 0
            if due:
                sync_data(fd)
        except OSError as error:
            raise self._failure(error, f"writing {tensor}") from error

    def checksum_of(self, tensor: str) -> str:
        """The checksum of what was written of `tensor`, read back."""
        index, spec = self._layout.file_of[tensor], self._layout.specs[tensor]
        offset = self._layout.files[index].offsets[tensor]
        return file_checksum(self._fd(index), offset, spec.nbytes, bytes_per_block(spec.dtype))

    def tensor_done(self, tensor: str, checksum: str, **facts: object) -> None:
        """All bytes of `tensor` were written; the last one of a file completes it."""
        index = self._layout.file_of[tensor]
        with self._lock:
            record = {"tensor": tensor, "checksum": checksum} | ({"facts": facts} if facts else {})
            self._records.setdefault(index, []).append(record)
            self._left[index] -= 1
            complete = self._left[index] == 0
        if complete:
            self._complete(index, self._layout.files[index])

    def publish_progress(self, content: bytes) -> None:
        """Nothing: several workers share the folder, and its progress is which files are complete."""

    def commit(self) -> None:
        """Nothing: a file is recorded as a whole."""

    def abandon(self) -> None:
        """Delete what is not complete: nobody can go on with it."""
        with self._lock:
            fds, paths = dict(self._fds), dict(self._paths)
            self._fds, self._paths = {}, {}
        for fd in fds.values():
            os.close(fd)
        for path in paths.values():
            path.unlink(missing_ok=True)
        for folder in (self.partial / ATTEMPTS, self.partial):
            with contextlib.suppress(OSError):
                folder.rmdir()

    def __enter__(self) -> AttemptFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abandon()

    def _fd(self, index: int) -> int:
        with self._lock:
            if index not in self._fds:
                self._fds[index] = self._begin(index, self._layout.files[index])
            return self._fds[index]

    def _begin(self, index: int, file: FileLayout) -> int:
        """A new file at full length, with its header."""
        path = self.partial / ATTEMPTS / f"{file.name}.{uuid.uuid4().hex}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        self._paths[index] = path
        with contextlib.suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        reserve(fd, file.file_bytes)
        write_fully(fd, memoryview(file.header), 0)
        return fd

    def _complete(self, index: int, file: FileLayout) -> None:
        """The order is what the finisher relies on: data, then the record of it."""
        fd = self._fd(index)
        try:
            os.fsync(fd)
            self._before_record()
            said = {"file": file.name, "key": self._key, "tensors": self._records.pop(index), "facts": self._facts()}
            replace_file(self._paths[index].with_name(f"{self._paths[index].name}.json"), _json(said), sync=True)
            sync_path(self.partial / ATTEMPTS)
        except OSError as error:
            raise self._failure(error, f"completing {file.name}") from error
        with self._lock:
            os.close(self._fds.pop(index))
            del self._paths[index]
            self.completed.append(file.name)
            self.finished |= {name: "" for name, place in self._layout.file_of.items() if place == index}

    def _failure(self, error: OSError, doing: str) -> MergegraphError:
        if error.errno == errno.ENOENT and not (self.partial / ATTEMPTS).is_dir():
            return OutputError(_nobody_waits(self.partial))
        return write_failure(error, doing, self.partial, self._layout, 0)


def _nobody_waits(partial: Path) -> Problem:
    final = partial.with_name(partial.name.removesuffix(".partial"))
    return Problem(
        f"Nobody makes {final} any more: {partial / ATTEMPTS} is gone.",
        why=f"the output was finished, or given up, before this shard was; or {socket.gethostname()} does not see the "
        "disk that it lies on",
        fix=f"mergegraph verify {final}, to see that it is whole; nothing else is to be done then",
    )


def _delete_abandoned(attempts: Path) -> None:
    """Delete what killed workers left: no record, no change for minutes, and nobody who holds it. Where locks do not
    reach other machines the minutes alone protect what another one writes."""
    for path in attempts.glob("*.safetensors.*"):
        with contextlib.suppress(OSError):
            if path.suffix == ".json" or path.with_name(f"{path.name}.json").exists():
                continue
            if time.time() - path.stat().st_mtime < _ABANDONED_SECONDS:
                continue
            with path.open("rb") as stored:
                fcntl.flock(stored, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


def _is_whole(attempt: Attempt, layout: Layout) -> bool:
    """Whether its data has the length of the file that it is an attempt at."""
    lengths = [file.file_bytes for file in layout.files if file.name == attempt.file]
    return attempt.data.is_file() and attempt.data.stat().st_size in lengths


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _refuse_other_runs(partial: Path) -> None:
    """OutputError where a run in one piece has begun the output, or something else lies in its place."""
    if not partial.exists():
        return
    if (partial / JOURNAL).exists():
        together = (partial / ATTEMPTS).exists()
        state = "is being put together" if together else "a run has begun as a whole"
        go_on = "mergegraph finalize RECIPE" if together else "mergegraph run RECIPE"
        fact = f"{partial} holds an output that {state}."
        raise OutputError(Problem(fact, fix=f"{go_on}, or begin again: rm -r {partial}"))
    refuse_others(partial, {entry.name for entry in partial.iterdir()} - {ATTEMPTS, LOCK})
