"""The file that a run reads: it must hold what is shown. What is saved, and where, before a run begins."""

from __future__ import annotations

from pathlib import Path

from mergegraph.errors import Problem
from mergegraph_tui.model.document import Document, OnDisk


def needs_name(document: Document) -> bool:
    """Whether a file must be named: there is none yet, or somebody else wrote to it since it was read."""
    return document.path is None or document.on_disk() is OnDisk.CHANGED


def proposed_file(document: Document) -> Path:
    """A name that is free: saving there replaces nothing."""
    like = document.path or document.folder / "merge.yaml"
    if document.path is None and not like.exists():
        return like
    numbered = (like.with_stem(f"{like.stem}-{n}") for n in range(2, 10_000))
    return next((path for path in numbered if not path.exists()), like)


def saving_text(document: Document) -> str:
    """What will happen to the file, in words; "" where nothing need be done."""
    if document.path is None:
        return "A run reads a file: the recipe is saved as this one first."
    if document.on_disk() is OnDisk.CHANGED:
        return f"{document.name} was changed by another program: what is shown here is saved as this copy, and run."
    if document.is_dirty or document.on_disk() is OnDisk.GONE:
        return f"{document.name} has changes that are not saved: they are saved first."
    return ""


def save_for_run(document: Document, named: Path | None) -> Problem | None:
    """Make the file hold the text. `named`: where a name was asked for; one that exists is kept."""
    if named is not None:
        return document.save_as(named)
    if document.is_dirty or document.on_disk() is OnDisk.GONE:
        return document.save(replace=document.on_disk() is OnDisk.GONE)
    return None
