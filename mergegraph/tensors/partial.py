"""What a run finds at `<path>.partial/` and may do with it: begin, go on where an earlier run stopped, or refuse.

A folder with a journal of the same result is gone on with; one whose files are not as the journal's run laid them
out, or which has no journal yet, is begun again; anything else is somebody's and is refused. When this fails,
nothing is left that was not there before.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from mergegraph.errors import DoesNotFit, MergegraphError, OutputError, Problem, RunError
from mergegraph.tensors.checksum import bytes_per_block, file_checksum
from mergegraph.tensors.disk import allocated_bytes, delete, free_bytes, reserve, sync_path, write_fully
from mergegraph.tensors.journal import Journal, JournalContents, Record, read_journal
from mergegraph.tensors.layout import Layout
from mergegraph.tensors.lock import FolderLock
from mergegraph.units import format_bytes, format_count

PROVENANCE = "mergegraph.json"
LOCK = "lock"
JOURNAL = "journal"

_FULL = {errno.ENOSPC, errno.EDQUOT}
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Claim:
    """A partial folder that is ours, laid out. `finished` holds the journal's records by tensor name."""

    final: Path
    partial: Path
    lock: FolderLock
    journal: Journal
    finished: Mapping[str, Record]
    resumed: bool
    created_parents: tuple[Path, ...]


def completed_result_id(path: Path) -> str | None:
    """The result id of the finished output at `path`; None when there is none, or it says none."""
    try:
        provenance: object = json.loads((path / PROVENANCE).read_bytes())
    except (OSError, ValueError):
        return None
    found = cast("dict[str, object]", provenance).get("result_id") if isinstance(provenance, dict) else None
    return found if isinstance(found, str) else None


def claim(path: Path, layout: Layout, *, result_id: str, engine: str, overwrite: bool, sync: bool) -> Claim:
    """Make `<path>.partial/` ours. OutputError when it cannot be, DoesNotFit when the disk is too small."""
    # resolve() would follow a link and replace the folder behind it.
    final = Path(os.path.abspath(path))  # noqa: PTH100
    partial = final.parent / f"{final.name}.partial"
    header = {"format": 1, "result_id": result_id, "engine": engine, "layout": layout.digest()}
    boot_marks: list[Record] = [] if sync else [{"boot": _boot_id()}]
    with _failing_as_output(partial, layout), ExitStack() as undo:
        refuse_existing(final, overwrite)
        _require_space(partial, layout)
        parents = _make_parents(partial.parent, undo, sync)
        lock = _enter(partial, result_id, overwrite, undo)
        records = _kept_records(partial, layout, header, overwrite)
        resumed = records is not None
        if records is None:
            undo.callback(delete, partial)
            _begin(partial, layout, sync)
        kept = [*(records or ()), *boot_marks]
        room = sum(160 + 2 * len(name) for name in layout.specs)
        journal = Journal.create(partial / JOURNAL, header, kept, reserve_bytes=room, sync=sync)
        undo.callback(journal.close)
        if sync:
            sync_path(partial)
        undo.pop_all()
    return Claim(final, partial, lock, journal, _by_tensor(kept, layout), resumed, parents)


def working_path(partial: Path, layout: Layout, index: int) -> Path:
    """Where a file of the layout lies while it is written.

    A laid-out file has a valid header and opens with zeros. Shards are told from a model by their missing index;
    a single file needs a name that nothing opens.
    """
    final = partial / layout.files[index].name
    if len(layout.files) > 1:
        return final
    incomplete = final.with_name(f"{final.name}.incomplete")
    return final if final.exists() and not incomplete.exists() else incomplete


def refuse_existing(final: Path, overwrite: bool) -> None:
    """OutputError when something is at `final` and may not be replaced."""
    if not final.name:
        raise OutputError(Problem(f"{final} cannot be an output folder.", fix="write to a folder below it"))
    if not os.path.lexists(final):
        return
    if not overwrite:
        raise OutputError(Problem(f"{final} already exists.", fix="--overwrite, or another path"))
    if final.is_mount() or Path.cwd().is_relative_to(final.resolve()) or not _is_model_or_empty(final):
        raise OutputError(
            Problem(
                f"{final} will not be overwritten.",
                why="it is a mount point, holds the current folder, or holds no model (no .safetensors file)",
                fix="choose another path, or remove it yourself",
            )
        )


def write_failure(error: OSError, doing: str, partial: Path, layout: Layout, kept: int) -> MergegraphError:
    """What a failed write, sync or rename means to the person who waits for the output."""
    full = error.errno in _FULL
    again = f"run the same command again{' after freeing space' if full else ''}"
    problem = Problem(
        f"{os.strerror(error.errno or 0)} while {doing}.",
        why=f"the output takes {format_bytes(layout.file_bytes)}; {_free_text(partial)} free at {partial.parent}",
        fix=f"{again}: {format_count(kept, 'tensor')} {'is' if kept == 1 else 'are'} kept" if kept else again,
    )
    return DoesNotFit(problem) if full else RunError(problem)


def _free_text(place: Path) -> str:
    try:
        return f"{format_bytes(free_bytes(place))} are"
    except OSError as error:
        return f"nobody knows how much ({os.strerror(error.errno or 0)}) is"


@contextlib.contextmanager
def _failing_as_output(partial: Path, layout: Layout) -> Generator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise write_failure(error, f"making room in {partial}", partial, layout, 0) from error
        raise OutputError(
            Problem(
                f"{partial} cannot be made: {os.strerror(error.errno or 0)}.",
                why=f"the system refused {error.filename or partial}",
                fix="write to another path, or change the permissions",
            )
        ) from error


def _require_space(partial: Path, layout: Layout) -> None:
    """Refuse before anything is made. What an earlier partial run holds is reused, so it counts as free."""
    available = free_bytes(partial) + allocated_bytes(partial)
    if layout.file_bytes > available:
        raise DoesNotFit(
            Problem(
                f"The output takes {format_bytes(layout.file_bytes)}; {format_bytes(available)} are free.",
                why=f"at {partial.parent}",
                fix=f"free {format_bytes(layout.file_bytes - available)} there, or write to another disk",
            )
        )


def _make_parents(folder: Path, undo: ExitStack, sync: bool) -> tuple[Path, ...]:
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    for place in reversed(missing):
        place.mkdir(exist_ok=True)
        undo.callback(remove_if_empty, place)
        if sync:
            sync_path(place.parent)
    return tuple(missing)


def remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _enter(partial: Path, result_id: str, overwrite: bool, undo: ExitStack) -> FolderLock:
    """Make or find the folder and lock it; again from the start when its last owner takes it away meanwhile."""
    while True:
        with contextlib.suppress(FileExistsError):
            partial.mkdir()
            undo.callback(remove_if_empty, partial)
        with contextlib.suppress(FileNotFoundError):
            _refuse_foreign(partial, result_id, overwrite)
            lock = FolderLock.take(partial / LOCK)
            undo.callback(lock.release)
            return lock


def _refuse_foreign(partial: Path, result_id: str, overwrite: bool) -> None:
    names = {entry.name for entry in partial.iterdir()}
    if not names or names & {LOCK, JOURNAL} or completed_result_id(partial) == result_id:
        return
    if not (overwrite and _is_model_or_empty(partial)):
        raise OutputError(
            Problem(
                f"{partial} exists and is not a partial output of mergegraph.",
                fix="remove or rename it, or write to another path",
            )
        )


def _is_model_or_empty(path: Path) -> bool:
    if not path.is_dir():
        return path.suffix == ".safetensors"
    names = [entry.name for entry in path.iterdir()]
    return not names or any(name == PROVENANCE or ".safetensors" in name for name in names)


def _kept_records(partial: Path, layout: Layout, header: Record, overwrite: bool) -> list[Record] | None:
    """The records to go on from; None to begin anew. OutputError when the folder is another result's."""
    journal = _read_journal(partial)
    completed = completed_result_id(partial)
    found = journal.header or ({**header, "result_id": completed} if completed else None)
    if found is None:
        return None
    if difference := _difference(found, header):
        if overwrite:
            return None
        raise OutputError(
            Problem(f"{partial} holds another output.", why=difference, fix=f"--overwrite, or rm -r {partial}")
        )
    if not _is_laid_out(partial, layout):
        return None
    return _of_this_boot(journal.records) if journal.header else _rehashed(partial, layout)


def _read_journal(partial: Path) -> JournalContents:
    try:
        return read_journal(partial / JOURNAL)
    except FileNotFoundError:
        return JournalContents(None, [], 0)


def _difference(found: Record, wanted: Record) -> str:
    for key, told in (("result_id", "result id"), ("engine", "engine version"), ("layout", "layout"), ("format", "")):
        if found.get(key) != wanted[key]:
            return f"its {told or 'journal format'} is {found.get(key)}, this run's is {wanted[key]}"
    return ""


def _is_laid_out(partial: Path, layout: Layout) -> bool:
    for index, file in enumerate(layout.files):
        try:
            with working_path(partial, layout, index).open("rb") as stored:
                if os.fstat(stored.fileno()).st_size != file.file_bytes or stored.read(len(file.header)) != file.header:
                    return False
        except OSError:
            return False
    return True


def _of_this_boot(records: list[Record]) -> list[Record]:
    """The records up to the first run without syncs of an earlier boot: a power cut may have made those untrue."""
    boot = _boot_id()
    stale = (index for index, record in enumerate(records) if record.get("boot", boot) != boot)
    return records[: next(stale, len(records))]


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return "unknown"


def _rehashed(partial: Path, layout: Layout) -> list[Record]:
    """Records of a folder stopped between the removal of its journal and its renaming: it is whole."""
    records: list[Record] = []
    for index, file in enumerate(layout.files):
        with working_path(partial, layout, index).open("rb") as stored:
            for name, offset in file.offsets.items():
                spec = layout.specs[name]
                checksum = file_checksum(stored.fileno(), offset, spec.nbytes, bytes_per_block(spec.dtype))
                records.append({"tensor": name, "checksum": checksum})
    return records


def _begin(partial: Path, layout: Layout, sync: bool) -> None:
    """Lay every file out: full length, header written, space taken. Only then may there be a journal."""
    for entry in list(partial.iterdir()):
        if entry.name != LOCK:
            delete(entry)
    for index, file in enumerate(layout.files):
        fd = os.open(working_path(partial, layout, index), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            reserve(fd, file.file_bytes)
            write_fully(fd, memoryview(file.header), 0)
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)
    if sync:
        sync_path(partial)
        sync_path(partial.parent)


def _by_tensor(records: list[Record], layout: Layout) -> dict[str, Record]:
    return {str(record["tensor"]): record for record in records if record.get("tensor") in layout.specs}
