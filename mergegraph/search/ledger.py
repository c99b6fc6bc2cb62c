"""What a search has done, on disk: one JSON object a line, appended and synced, never changed.

    begun       a search with this content began (another content may go on in the same folder, and reuse evaluations)
    started     an evaluation began; it counts only once it is `evaluated`
    evaluated   key, label, split, status ok or rejected, metrics or reason, seconds
    reused      an evaluation that an earlier search of the folder made
    decided     what the strategy concluded of a candidate
    found       what there is beside a model: a line, a comparison, an ablation
    reported    the result on the split that nothing was chosen on
    ended       how it ended: done, or what limit it ran into

A line counts only with its newline. Reading takes no lock, so that others may look while a search writes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from mergegraph.errors import InputError, Location, Problem
from mergegraph.tensors.lock import FolderLock

LEDGER = "ledger.jsonl"
LOCK = ".lock"
_MOST_BYTES = 1_000_000_000

Entry = Mapping[str, Any]


def read_ledger(folder: Path) -> tuple[Entry, ...]:
    """Every entry of the search in `folder`, in order; () where there is none. InputError for a line that is none."""
    path = folder / LEDGER
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise InputError(
            Problem(f"{path} cannot be read: {error.strerror}.", fix="name the folder of a search")
        ) from error
    whole = raw[: raw.rfind(b"\n") + 1]
    return tuple(_entry(line, Location(str(path), number)) for number, line in enumerate(whole.splitlines(), 1))


def _entry(line: bytes, at: Location) -> Entry:
    try:
        value: object = json.loads(line)
    except ValueError:
        value = None
    if not isinstance(value, dict) or not isinstance(cast("dict[str, object]", value).get("event"), str):
        fact = "The ledger of the search has a line that is no entry."
        raise InputError(Problem(fact, at, fix=f"remove line {at.line}, or give the search another folder with -o"))
    return cast("dict[str, Any]", value)


class Ledger:
    """The ledger of one folder, held by this process alone. Use it in `with`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._lock = FolderLock.take(folder / LOCK)
        try:
            self.entries = list(read_ledger(folder))
            self._fd = os.open(folder / LEDGER, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except BaseException:
            self._lock.release()
            raise
        self._cut_torn_line()

    def append(self, event: str, **values: object) -> Entry:
        """Write an entry; it is on disk when this returns."""
        entry: dict[str, Any] = {"event": event, **values}
        line = json.dumps(entry, allow_nan=False).encode() + b"\n"
        done = 0
        while done < len(line):
            done += os.write(self._fd, line[done:])
        os.fsync(self._fd)
        self.entries.append(entry)
        return entry

    def of(self, event: str) -> Iterator[Entry]:
        return (entry for entry in self.entries if entry["event"] == event)

    def current(self) -> list[Entry]:
        """The entries since the last `begun`, that among them."""
        return since_begun(self.entries)

    def _cut_torn_line(self) -> None:
        """What a killed process wrote last, where it did not come to the newline."""
        size = os.fstat(self._fd).st_size
        tail = os.pread(self._fd, min(size, 1 << 26), max(0, size - (1 << 26)))
        kept = tail.rfind(b"\n") + 1
        if kept < len(tail):
            os.ftruncate(self._fd, size - len(tail) + kept)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)
        self._lock.release()


def since_begun(entries: Sequence[Entry]) -> list[Entry]:
    """The entries from the last `begun` on."""
    starts = [index for index, entry in enumerate(entries) if entry["event"] == "begun"]
    return list(entries[starts[-1] :]) if starts else []
