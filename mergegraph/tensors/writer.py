"""One output folder while it is written: `<path>.partial/` until everything is on disk, then `<path>`.

Tensors are written in any order, by any thread, at the places their layout gives. A tensor is recorded in the
journal only after its bytes are synced, in that order, in one place (`commit`); so whatever stops the process, the
next run with the same result id goes on behind the recorded tensors, and at the final name there is a complete
model or nothing. Computes no tensor and no checksum.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import cast

from mergegraph.errors import MergegraphError
from mergegraph.tensors.checksum import bytes_per_block, file_checksum
from mergegraph.tensors.disk import delete, moved_aside, put_folder, replace_file, sync_data, sync_path, write_fully
from mergegraph.tensors.journal import Journal, Record, read_journal
from mergegraph.tensors.kept import JOURNAL, working_path
from mergegraph.tensors.layout import Layout
from mergegraph.tensors.partial import (
    LOCK,
    PROGRESS,
    Claim,
    claim,
    refuse_existing,
    remove_if_empty,
    write_failure,
)

# Commits are rare enough that syncing costs little, and often enough that a crash loses seconds.
COMMIT_BYTES = 256 * 1024**2
COMMIT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class SmallFile:
    """A file beside the tensors, as it was handed over to be written."""

    file_bytes: int
    sha256: str

    @classmethod
    def of(cls, content: bytes) -> SmallFile:
        return cls(len(content), hashlib.sha256(content).hexdigest())


class OutputFolder:
    """A partial output folder held by this process; made by `open`, and abandoned on leaving unless published.

    `finished` maps the tensors an earlier run recorded to their checksums, `finished_facts` to what else it said
    of them.
    """

    def __init__(self, claim: Claim, layout: Layout, *, overwrite: bool, sync: bool) -> None:
        self.path = claim.final
        self.partial = claim.partial
        self.resumed = claim.resumed
        self.finished: Mapping[str, str] = {name: str(record["checksum"]) for name, record in claim.finished.items()}
        self.finished_facts: Mapping[str, Mapping[str, object]] = {
            name: cast("dict[str, object]", record.get("facts", {})) for name, record in claim.finished.items()
        }
        self._claim = claim
        self._layout = layout
        self._overwrite = overwrite
        self._sync = sync
        self._paths = [working_path(claim.partial, layout, index) for index in range(len(layout.files))]
        self._fds: dict[int, int] = {}
        self._unrecorded = Counter(index for name, index in layout.file_of.items() if name not in self.finished)
        self._checksums = dict(self.finished)
        self._pending: list[Record] = []
        self._recorded = len(self.finished)
        self._sidecars: dict[str, SmallFile] = {}
        self._bytes_since_commit = 0
        self._last_commit = time.monotonic()
        self._state_lock = threading.Lock()
        self._commit_lock = threading.Lock()
        self._progress_lock = threading.Lock()
        self._sync_failure: MergegraphError | None = None
        self._finalized = False
        self._closed = False
        self._commit_due: Callable[[], None] = self.commit

    @classmethod
    def open(
        cls,
        path: Path,
        layout: Layout,
        *,
        result_id: str,
        engine: str,
        plan_sha256: str = "",
        inputs: Mapping[str, str] | None = None,
        overwrite: bool = False,
        sync: bool = True,
    ) -> OutputFolder:
        """Begin `<path>.partial/`, or go on with it. OutputError when it is taken, DoesNotFit when it is too big.

        `plan_sha256`: of what is computed, and `inputs`: path to identity of what from; they only explain a refusal.
        """
        claimed = claim(
            path, layout, result_id=result_id, engine=engine, plan_sha256=plan_sha256, inputs=inputs or {},
            overwrite=overwrite, sync=sync,
        )  # fmt: skip
        return cls(claimed, layout, overwrite=overwrite, sync=sync)

    @property
    def checksums(self) -> Mapping[str, str]:
        """Checksums of all tensors that are done, of this run and earlier ones, in the layout's order."""
        return {name: self._checksums[name] for name in self._layout.file_of if name in self._checksums}

    @property
    def sidecars(self) -> Mapping[str, SmallFile]:
        """The files written beside the tensors so far."""
        return dict(self._sidecars)

    @property
    def working_paths(self) -> tuple[Path, ...]:
        """Where the files of the layout lie now."""
        return tuple(self._paths)

    def write(self, tensor: str, offset_in_tensor: int, buffer: memoryview) -> None:
        """Write bytes of a tensor at their place. Threads may write at once, also into one tensor."""
        assert tensor not in self._checksums, f"{tensor} is done"
        assert 0 <= offset_in_tensor <= self._layout.specs[tensor].nbytes - buffer.nbytes, f"outside {tensor}"
        index = self._layout.file_of[tensor]
        offset = self._layout.files[index].offsets[tensor] + offset_in_tensor
        try:
            write_fully(self._fd(index), buffer, offset)
        except OSError as error:
            raise self._failure(error, f"writing {tensor}") from error
        with self._state_lock:
            self._bytes_since_commit += buffer.nbytes

    def checksum_of(self, tensor: str) -> str:
        """The checksum of what was written of `tensor`, read back."""
        index, spec = self._layout.file_of[tensor], self._layout.specs[tensor]
        offset = self._layout.files[index].offsets[tensor]
        return file_checksum(self._fd(index), offset, spec.nbytes, bytes_per_block(spec.dtype))

    def tensor_done(self, tensor: str, checksum: str, **facts: object) -> None:
        """All bytes of `tensor` were written. It is recorded with the next commit, which may be now."""
        record: Record = {"tensor": tensor, "checksum": checksum} | ({"facts": facts} if facts else {})
        with self._state_lock:
            assert tensor in self._layout.file_of, tensor
            assert tensor not in self._checksums, f"{tensor} is done twice"
            self._checksums[tensor] = checksum
            self._pending.append(record)
            waited = time.monotonic() - self._last_commit
            due = self._bytes_since_commit >= COMMIT_BYTES or waited >= COMMIT_SECONDS
            if due:
                self._restart_interval()
        if due:
            self._commit_due()

    def commits_by(self, request: Callable[[OutputFolder], None] | None) -> None:
        """Ask somebody else for the commits that fall due while tensors are done; None: whoever is done commits."""
        self._commit_due = self.commit if request is None else partial(request, self)

    def commit(self) -> None:
        """Record the tensors that are done: sync their files, then append to the journal, then sync it."""
        with self._commit_lock:
            with self._state_lock:
                batch = list(self._pending)
                self._restart_interval()
            if not batch:
                return
            if self._sync_failure:
                raise self._sync_failure
            indexes = Counter(self._layout.file_of[str(record["tensor"])] for record in batch)
            try:
                self._record(batch, list(indexes))
            except OSError as error:
                # The kernel may have dropped the pages it could not write: a second sync would succeed and lie.
                self._sync_failure = self._failure(error, f"syncing {self.partial}", self._recorded)
                raise self._sync_failure from error
            self._settle(batch, indexes)

    def take_back(self, tensors: Collection[str]) -> None:
        """Tensors turned out not to be on disk as they were written: the journal says no more that they are, so a later
        run computes them again."""
        self.commit()
        with self._commit_lock, self._failing("taking back records"):
            written = read_journal(self.partial / JOURNAL)
            if written.header is None:
                return  # nothing of such a journal is believed
            believed = [record for record in written.records if record.get("tensor") not in tensors]
            journal = Journal.create(self.partial / JOURNAL, written.header, believed)
            sync_path(self.partial)
            self._claim.journal.close()
            self._claim = replace(self._claim, journal=journal)
            for tensor in tensors:
                self._recorded -= self._checksums.pop(tensor, None) is not None

    def write_sidecar(self, name: str, content: bytes) -> None:
        """Put a small file beside the tensors: whole and synced, or not there."""
        taken = {LOCK, JOURNAL, PROGRESS, *(file.name for file in self._layout.files)}
        assert Path(name).name == name, f"{name} is not a plain file name"
        assert name not in taken, f"{name} is not a sidecar"
        try:
            replace_file(self.partial / name, content, sync=self._sync)
        except OSError as error:
            raise self._failure(error, f"writing {name}") from error
        self._sidecars[name] = SmallFile.of(content)

    def publish_progress(self, content: bytes) -> None:
        """Show `content` in `progress.json` to whoever watches. Never synced, and never a reason to fail."""
        with self._progress_lock, contextlib.suppress(OSError):
            if not self._closed:
                replace_file(self.partial / PROGRESS, content, sync=False)

    def finalize(self) -> None:
        """Complete the folder: everything synced and under its name, the index written, leftovers removed.

        The journal and the lock stay until `publish`, so that a crash between the two loses nothing.
        """
        missing = [name for name in self._layout.file_of if name not in self._checksums]
        assert not missing, f"{len(missing)} tensors are not done, {missing[0]} among them"
        self.commit()
        index_json = self._layout.index_json()
        if index_json is not None:
            self.write_sidecar(self._layout.index_name, index_json)
        with self._failing("completing the files"):
            self._complete_shards()
            self._remove_all_but({LOCK, JOURNAL, PROGRESS, *self._sidecars, *(f.name for f in self._layout.files)})
            if self._sync:
                sync_path(self.partial)
        self._finalized = True

    def publish(self) -> None:
        """Give the complete folder its final name, in one step, and let go of it."""
        assert self._finalized, "finalize comes first"
        with self._failing(f"renaming {self.partial}"):
            refuse_existing(self.path, self._overwrite)
            self._close_files()
            try:
                self._remove(PROGRESS, JOURNAL, LOCK)
                put_folder(self.partial, self.path)
                if self._sync:
                    sync_path(self.path.parent)
            finally:
                self._claim.lock.release()
        if self._overwrite:
            with self._failing(f"deleting what {self.path} was, after it was published"):
                for old in moved_aside(self.path):
                    delete(old)

    def abandon(self) -> None:
        """Let go without publishing. What is done is recorded and kept; a folder with nothing recorded is deleted."""
        if self._sync_failure is None:
            # The error that brought us here is the one to show.
            with contextlib.suppress(MergegraphError):
                self.commit()
        self._close_files()
        if not self._recorded:
            with contextlib.suppress(OSError):
                delete(self.partial)
        self._claim.lock.release()
        if not self._recorded:
            for parent in self._claim.created_parents:
                remove_if_empty(parent)

    def __enter__(self) -> OutputFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._closed:
            self.abandon()

    def _fd(self, index: int) -> int:
        with self._state_lock:
            if index not in self._fds:
                self._fds[index] = os.open(self._paths[index], os.O_RDWR)
            return self._fds[index]

    def _restart_interval(self) -> None:
        self._bytes_since_commit = 0
        self._last_commit = time.monotonic()

    def _record(self, batch: list[Record], indexes: list[int]) -> None:
        """The order is what a resumed run relies on: data, then journal."""
        if self._sync:
            for index in indexes:
                sync_data(self._fd(index))
        self._claim.journal.append(batch)
        if self._sync:
            self._claim.journal.sync()

    def _settle(self, batch: list[Record], indexes: Counter[int]) -> None:
        """Files whose tensors are all recorded are closed: an output may have more files than a process may open."""
        with self._state_lock:
            del self._pending[: len(batch)]
            self._recorded += len(batch)
            self._unrecorded.subtract(indexes)
            for index in [index for index in indexes if not self._unrecorded[index]]:
                if index in self._fds:
                    os.close(self._fds.pop(index))

    def _complete_shards(self) -> None:
        for path, file in zip(self._paths, self._layout.files, strict=True):
            if self._sync:
                sync_path(path)
            path.replace(self.partial / file.name)
        self._paths = [self.partial / file.name for file in self._layout.files]

    def _remove_all_but(self, names: set[str]) -> None:
        """What an earlier, stopped run left in the folder is not part of this output."""
        for entry in list(self.partial.iterdir()):
            if entry.name not in names:
                delete(entry)

    def _remove(self, *names: str) -> None:
        for name in names:
            (self.partial / name).unlink(missing_ok=True)
        if self._sync:
            sync_path(self.partial)

    def _close_files(self) -> None:
        with self._progress_lock:
            self._closed = True
        self._claim.journal.close()
        with self._state_lock:
            while self._fds:
                os.close(self._fds.popitem()[1])

    @contextlib.contextmanager
    def _failing(self, doing: str) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise self._failure(error, doing) from error

    def _failure(self, error: OSError, doing: str, kept: int | None = None) -> MergegraphError:
        """Tensors that are done count as kept, because `abandon` records them, unless `kept` knows better."""
        kept = len(self._checksums) if kept is None else kept
        return write_failure(error, doing, self.partial, self._layout, kept)
