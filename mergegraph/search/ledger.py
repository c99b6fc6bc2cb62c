"""What a search has done, on disk: one JSON object a line, appended and synced, never changed.

    begun       a search with this content began (another content may go on in the same folder, and reuse evaluations);
                `file` is its file, from the folder; `count` how many candidates it has, where that is known
    started     an evaluation began; it counts only once it is `evaluated`
    evaluated   key, label, split, status ok or rejected, metrics, reason, score, seconds. `answered`: it gave numbers;
                status, reason and score are those of the search that made it. `same_as`: whose numbers they
                are, where the files are the same. `proposal`: of a model made from the running average
    reused      an evaluation that an earlier search of the folder made
    decided     what the strategy concluded of a candidate
    found       what there is beside a model: a line, a comparison, an ablation
    reported    the result on the split that nothing was chosen on
    ended       how it ended: done, what limit it ran into, or `failed: ` and why

A line counts only with its newline. Reading takes no lock, so that others may look while a search writes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from mergegraph.errors import InputError, Location, Problem
from mergegraph.runs.folder import exists, is_locked
from mergegraph.tensors.lock import FolderLock, holder

LEDGER = "ledger.jsonl"
LOCK = ".lock"
_MOST_BYTES = 1_000_000_000

_FIELDS: Mapping[str, tuple[str, ...]] = {
    "begun": ("search", "name", "content", "evaluator", "metrics", "splits", "limits", "file", "count"),
    "started": ("key", "label", "split"),
    "evaluated": (
        "key", "label", "split", "evaluator", "digest", "answered", "status", "reason", "metrics", "score", "seconds",
        "made_seconds", "model_bytes", "timeout", "same_as", "facts", "details", "proposal",
    ),
    "reused": ("key", "label", "split"),
    "decided": ("label", "accepted", "why", "score"),
    "found": ("findings",),
    "reported": ("label", "split", "metrics"),
    "ended": ("state",),
}  # fmt: skip
"""What is read of each event; a line that lacks some of it was not written by this version."""

Entry = Mapping[str, Any]


def read_ledger(folder: Path) -> tuple[Entry, ...]:
    """Every entry of the search in `folder`, in order; () where there is none. InputError for a line that is none."""
    seen = Seen(folder)
    seen.look()
    return tuple(seen.entries)


def writer(folder: Path) -> int:
    """The process that runs the search in `folder` now; 0 where none does."""
    # The lock is asked only where its holder seems to live: a search that wants it must not find it taken by us.
    pid = holder(folder / LOCK)
    return pid if exists(pid) and is_locked(folder / LOCK, pid) else 0


@dataclass
class Seen:
    """A ledger as far as it was read: each look reads what is new in it."""

    folder: Path
    entries: list[Entry] = field(default_factory=list[Entry])
    _end: int = 0
    _file: tuple[int, int] | None = None

    def look(self) -> bool:
        """Whether there was anything new. A ledger that another one took the place of is read from its start.

        InputError for a line that is no entry, and for what cannot be read.
        """
        path = self.folder / LEDGER
        try:
            with path.open("rb") as file:
                found = os.fstat(file.fileno())
                is_other = (found.st_dev, found.st_ino) != self._file or found.st_size < self._end
                before = self._forget() if is_other else False
                self._file = found.st_dev, found.st_ino
                file.seek(self._end)
                raw = file.read(_MOST_BYTES)
        except FileNotFoundError:
            return self._forget()
        except OSError as error:
            fact = f"{path} cannot be read: {error.strerror}."
            raise InputError(Problem(fact, fix="name the folder of a search")) from error
        whole = raw[: raw.rfind(b"\n") + 1]
        first = len(self.entries) + 1
        new = [_entry(line, Location(str(path), number)) for number, line in enumerate(whole.splitlines(), first)]
        self.entries += new
        self._end += len(whole)
        return bool(new) or before

    def _forget(self) -> bool:
        had = bool(self.entries)
        self.entries, self._end, self._file = [], 0, None
        return had


def _entry(line: bytes, at: Location) -> Entry:
    try:
        value: object = json.loads(line)
    except ValueError:
        value = None
    said = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    event = said.get("event")
    lacking = [name for name in _FIELDS.get(event, ()) if name not in said] if isinstance(event, str) else ["event"]
    if lacking:
        fact, why = "The ledger of the search has a line that is no entry.", f"it lacks {', '.join(lacking)}"
        fix = f"remove line {at.line}, or give the search another folder with -o"
        raise InputError(Problem(fact, at, why=why, fix=fix))
    return said


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


def spent(entry: Entry) -> float:
    """The seconds that an `evaluated` took; one of the same bytes as another was not evaluated."""
    return float(entry["made_seconds"]) + (0.0 if entry["same_as"] else float(entry["seconds"]))


def since_begun(entries: Sequence[Entry]) -> list[Entry]:
    """The entries from the last `begun` on."""
    starts = [index for index, entry in enumerate(entries) if entry["event"] == "begun"]
    return list(entries[starts[-1] :]) if starts else []
