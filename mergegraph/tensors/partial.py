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

from mergegraph.errors import DoesNotFit, MergegraphError, OutputError, Problem, RunError
from mergegraph.tensors.completed import PROVENANCE, completed_result_id
from mergegraph.tensors.disk import allocated_bytes, delete, free_bytes, reserve, sync_path, write_fully
from mergegraph.tensors.foreign import is_pickled_weights
from mergegraph.tensors.journal import Journal, Record, read_journal
from mergegraph.tensors.kept import JOURNAL, boot_id, kept_records, working_path
from mergegraph.tensors.layout import Layout
from mergegraph.tensors.lock import FolderLock
from mergegraph.units import format_bytes, format_count

LOCK = "lock"
PROGRESS = "progress.json"
ATTEMPTS = "attempts"
"""Where workers that share an output write its files; see `attempts.py`."""
PAUSE = "pause"
"""Made by whoever wants the run to wait."""

_FULL = {errno.ENOSPC, errno.EDQUOT}


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


def claim(
    path: Path, layout: Layout, *, result_id: str, engine: str, plan_sha256: str, inputs: Mapping[str, str],
    overwrite: bool, sync: bool,
) -> Claim:  # fmt: skip
    """Make `<path>.partial/` ours. OutputError when it cannot be, DoesNotFit when the disk is too small.

    `inputs`: the identity of each input file, for whoever finds the folder after one has changed.
    """
    # resolve() would follow a link and replace the folder behind it.
    final = Path(os.path.abspath(path))  # noqa: PTH100
    assert not is_partial(final), f"{final} is where another output is written"
    partial = final.parent / f"{final.name}.partial"
    header = journal_header(layout, result_id=result_id, engine=engine, plan_sha256=plan_sha256, inputs=inputs)
    boot_marks: list[Record] = [] if sync else [{"boot": boot_id()}]
    with failing_as_output(partial, layout), ExitStack() as undo:
        refuse_existing(final, overwrite)
        # What an earlier partial run holds is reused, so it counts as free.
        require_space(partial, layout.file_bytes, held=allocated_bytes(partial))
        parents = _make_parents(partial.parent, undo, sync)
        lock = _enter(partial, result_id, overwrite, undo)
        records = kept_records(partial, layout, header, overwrite)
        resumed = records is not None
        if records is None:
            undo.callback(delete, partial)
            _begin(partial, layout, sync)
        kept = [*(records or ()), *boot_marks]
        journal = Journal.create(partial / JOURNAL, header, kept, reserve_bytes=_room(layout), sync=sync)
        undo.callback(journal.close)
        if sync:
            sync_path(partial)
        undo.pop_all()
    return Claim(final, partial, lock, journal, _by_tensor(kept, layout), resumed, parents)


def journal_header(
    layout: Layout, *, result_id: str, engine: str, plan_sha256: str, inputs: Mapping[str, str]
) -> Record:
    """What the first line of an output's journal says: of which result, laid out how, it is."""
    return {
        "format": 1, "result_id": result_id, "engine": engine, "plan": plan_sha256, "layout": layout.digest(),
        "inputs": dict(inputs),
    }  # fmt: skip


def is_partial(path: Path) -> bool:
    """Whether a path names a partial folder or leads into one: no output may lie there."""
    return any(part.endswith(".partial") for part in path.parts)


def refuse_existing(final: Path, overwrite: bool) -> None:
    """OutputError when something is at `final` and may not be replaced."""
    if not final.name:
        raise OutputError(Problem(f"{final} cannot be an output folder.", fix="write to a folder below it"))
    if not os.path.lexists(final):
        return
    kept = why_kept(final)
    if overwrite and kept:
        fix = "choose another path, or remove it yourself"
        raise OutputError(Problem(f"{final} will not be overwritten.", why=kept, fix=fix))
    if not overwrite:
        why = "an output is never replaced unasked" + (f"; --overwrite does not replace it: {kept}" if kept else "")
        fix = "choose another path, or remove it yourself" if kept else "--overwrite, or another path"
        raise OutputError(Problem(f"{final} already exists.", why=why, fix=fix))


def why_kept(path: Path) -> str:
    """Why --overwrite does not replace what stands at `path`; empty where it does."""
    if path.is_mount():
        return "it is a mount point"
    if Path.cwd().is_relative_to(os.path.realpath(path)):
        return "it holds the current folder"
    return _why_no_model(path)


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
def failing_as_output(partial: Path, layout: Layout) -> Generator[None]:
    """What the system refuses to make in a partial folder becomes OutputError, a full disk DoesNotFit."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise write_failure(error, f"making room in {partial}", partial, layout, 0) from error
        in_the_way = error.errno in (errno.ENOTDIR, errno.EEXIST)
        mend = "move the file that is in the way" if in_the_way else "change the permissions"
        raise OutputError(
            Problem(
                f"{partial} cannot be made: {os.strerror(error.errno or 0)}.",
                why=f"the system refused {error.filename or partial}",
                fix=f"write to another path, or {mend}",
            )
        ) from error


def require_space(partial: Path, needed: int, held: int = 0) -> None:
    """DoesNotFit before anything is made where `needed` bytes are more than what is free and what is `held` already."""
    available = free_bytes(partial) + held
    if needed > available:
        raise DoesNotFit(
            Problem(
                f"The output takes {format_bytes(needed)}; {format_bytes(available)} are free.",
                why=f"at {partial.parent}",
                fix=f"free {format_bytes(needed - available)} there, or write to another disk",
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
    made_here = completed_result_id(partial)
    if not names or _is_partial_output(partial, names) or made_here == result_id or (made_here and LOCK in names):
        return
    if ATTEMPTS in names and names <= {ATTEMPTS, LOCK}:
        raise OutputError(
            Problem(
                f"{partial} holds shards that workers made of this output, or of another.",
                why="they are put together once all are there",
                fix=f"mergegraph finalize RECIPE, or begin again: rm -r {partial}",
            )
        )
    if not overwrite or _why_no_model(partial):
        refuse_others(partial, names)


def refuse_others(partial: Path, names: set[str]) -> None:
    """OutputError when a partial folder holds `names`, which no run has put there."""
    if names:
        raise OutputError(
            Problem(
                f"{partial} exists and is not a partial output of mergegraph.",
                why=f"it holds {', '.join(sorted(names)[:5])}",
                fix="remove or rename it, or write to another path",
            )
        )


def _is_partial_output(partial: Path, names: set[str]) -> bool:
    """Whether a run left these: a journal that is one, or what stands there before there is one."""
    if JOURNAL in names and read_journal(partial / JOURNAL).header is not None:
        return True
    others = names - {LOCK, JOURNAL, PROGRESS}
    return LOCK in names and all(".safetensors" in name or name.endswith(".tmp") for name in others)


def _why_no_model(path: Path) -> str:
    """A model is a flat folder, so whoever keeps folders there keeps other things; and a recipe, or the weights that
    were converted, may be all that there is of them. Empty for a model, an output or an empty folder."""
    if not path.is_dir():
        return "" if path.suffix == ".safetensors" else "it is no .safetensors file"
    entries = sorted(path.iterdir())
    for entry in entries:
        if entry.is_dir() and not entry.is_symlink():
            return f"it holds the folder {entry.name}"
        if entry.name.endswith((".yaml", ".yml")):
            return f"it holds {entry.name}, which may be a recipe"
        if is_pickled_weights(entry.name):
            return f"it holds {entry.name}, which may be pickled weights"
    if not entries or any(entry.name == PROVENANCE or ".safetensors" in entry.name for entry in entries):
        return ""
    return "it holds no .safetensors file"


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


def _room(layout: Layout) -> int:
    """Bytes of journal that a record of every tensor takes at most, with its checksum and its facts."""
    return sum(200 + len(json.dumps(name)) for name in layout.specs)


def _by_tensor(records: list[Record], layout: Layout) -> dict[str, Record]:
    return {str(record["tensor"]): record for record in records if record.get("tensor") in layout.specs}
