"""What an earlier run left in a partial folder, and which of its records the next one may believe.

Changes nothing on disk. Records are believed where the folder is of the same result, laid out as its journal's run
did it, and was synced or has seen no other boot.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

from mergegraph.errors import OutputError, Problem
from mergegraph.tensors.checksum import bytes_per_block, file_checksum
from mergegraph.tensors.completed import Completed, completed
from mergegraph.tensors.journal import JournalContents, Record, read_journal
from mergegraph.tensors.layout import Layout
from mergegraph.tensors.sources.hub_names import moved_commits

JOURNAL = "journal"

# What may differ, what explains most first: another engine may well give another result id too.
_TOLD = {
    "engine": "engine",
    "plan": "plan (recipe, seed)",
    "layout": "layout",
    "result_id": "result id (the copied files and the kind of processor are in it)",
    "format": "journal format",
}

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


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


def kept_records(partial: Path, layout: Layout, header: Record, overwrite: bool) -> list[Record] | None:
    """The records to go on from; None to begin anew. OutputError when the folder is another result's."""
    journal = _read_journal(partial)
    complete = completed(partial)
    found = journal.header or ({**header, "result_id": complete.result_id} if complete else None)
    if found is None:
        return None
    if difference := _difference(found, header):
        if overwrite:
            return None
        raise OutputError(
            Problem(
                f"{partial} holds another output, which is not finished.",
                why=difference,
                fix="--overwrite to begin again in its place, or write to another path"
                + (", or name the old commit" if "commit of" in difference else ""),
            )
        )
    if not _is_laid_out(partial, layout):
        return None
    if journal.header or complete is None:
        return _of_this_boot(journal.records)
    return _rehashed(partial, layout, complete)


def recorded(partial: Path) -> list[Record]:
    """What the journal of a partial folder says of tensors, as far as the next run would believe it."""
    return [record for record in _of_this_boot(_read_journal(partial).records) if "tensor" in record]


def _read_journal(partial: Path) -> JournalContents:
    try:
        return read_journal(partial / JOURNAL)
    except FileNotFoundError:
        return JournalContents(None, [], 0)


def _difference(found: Record, wanted: Record) -> str:
    if changed := _changed_inputs(found.get("inputs"), wanted["inputs"]):
        return f"it was begun from another {' and another '.join(changed)}"
    for key, told in _TOLD.items():
        if found.get(key) != wanted[key]:
            return f"its {told} is {found.get(key)}, this run's is {wanted[key]}"
    return ""


def _changed_inputs(found: object, wanted: object) -> list[str]:
    """The files that both were made from, and that are no longer what they were."""
    before, now = (cast("dict[str, object]", each) if isinstance(each, dict) else {} for each in (found, wanted))
    changed = [path for path in now if before.get(path, now[path]) != now[path]]
    return changed + [f"commit of {moved}" for moved in moved_commits(before, now)]


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
    boot = boot_id()
    stale = (index for index, record in enumerate(records) if record.get("boot", boot) != boot)
    return records[: next(stale, len(records))]


def boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return "unknown"


def _rehashed(partial: Path, layout: Layout, complete: Completed) -> list[Record]:
    """Records of a folder stopped between the removal of its journal and its renaming: of the tensors that are on disk
    as it says itself."""
    records: list[Record] = []
    for index, file in enumerate(layout.files):
        with working_path(partial, layout, index).open("rb") as stored:
            for name, offset in file.offsets.items():
                spec, said = layout.specs[name], dict(complete.tensors.get(name, {}))
                checksum = file_checksum(stored.fileno(), offset, spec.nbytes, bytes_per_block(spec.dtype))
                if said.pop("xxh3_128", None) == checksum:
                    records.append({"tensor": name, "checksum": checksum, "facts": said})
    return records
