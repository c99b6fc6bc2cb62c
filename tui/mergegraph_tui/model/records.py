"""Which record of statistics belongs to the recipe that is open: beside its output, or measured for this very text.

What is measured without an output is kept in the user's state folder, by the recipe's file and text: an edit makes it
another recipe, undo the same one again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mergegraph.plan.output_paths import output_paths
from mergegraph.stats.files import STATS, is_record
from mergegraph_tui.model.autosave import state_folder
from mergegraph_tui.model.checked import Checked
from mergegraph_tui.model.document import Document
from mergegraph_tui.model.files import stamp


@dataclass(frozen=True, slots=True)
class Found:
    """A record that can be shown. `title`: what it is of; `when`: the time of its file."""

    path: Path
    title: str
    when: str


def measured_folder() -> Path:
    """Where records are kept that no output has."""
    return state_folder().parent / "statistics"


def measured_file(document: Document) -> Path:
    """Where the statistics of the text as it is are kept, or would be."""
    of = f"{document.path.absolute() if document.path else document.folder}\0{document.text}"
    name = document.path.stem if document.path else "untitled"
    return measured_folder() / f"{name}-{hashlib.blake2b(of.encode(), digest_size=8).hexdigest()}.json"


def own_record(document: Document, checked: Checked) -> Path | None:
    """The newest record of the recipe as it is; None where there is none."""
    candidates = [*_measured(document), *(path / STATS for path in _outputs(checked) if is_record(path))]
    return max(candidates, key=_modified, default=None)


def record_at(path: Path) -> Path | None:
    """The file of a record that is at `path`, or in the folder there."""
    with suppress(OSError, ValueError):
        if is_record(path):
            return path / STATS if path.is_dir() else path
    return None


def records(document: Document, checked: Checked, chosen: Path | None = None) -> tuple[Found, ...]:
    """All that can be shown: the recipe's own, what else stands beside its outputs, and what was measured lately."""
    own = [(path / STATS, f"output {path.name}") for path in _outputs(checked) if is_record(path)]
    own += [(path, "this recipe, measured") for path in _measured(document)]
    beside = [(path, f"output {path.parent.name}") for each in _outputs(checked) for path in
              sorted(each.parent.glob(f"*/{STATS}"))]  # fmt: skip
    earlier = sorted(measured_folder().glob("*.json"), key=_modified, reverse=True)[:20]
    others = [(path, f"{path.stem.rpartition('-')[0]}, measured") for path in earlier]
    picked = [(chosen, chosen.parent.name if chosen.name == STATS else chosen.name)] if chosen else []
    found: dict[Path, Found] = {}
    for path, title in (*own, *picked, *beside, *others):
        if stamp(path) is not None:
            when = datetime.fromtimestamp(_modified(path) / 1e9).strftime("%d %b %H:%M")
            found.setdefault(path, Found(path, title, when))
    return tuple(found.values())


def _measured(document: Document) -> Iterator[Path]:
    """The file, or of a recipe with several saves one for each."""
    file = measured_file(document)
    yield from (path for path in (file, *sorted(file.parent.glob(f"{file.stem}-*.json"))) if path.is_file())


def _outputs(checked: Checked) -> tuple[Path, ...]:
    if checked.resolved is None:
        return ()
    return tuple(output_paths(checked.resolved, None, [], may_lack_path=True).values())


def _modified(path: Path) -> int:
    found = stamp(path)
    return found.modified_ns if found else 0
