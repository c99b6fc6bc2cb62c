"""Links in a model's folder: one that leads elsewhere would let a downloaded model read any file of the machine.

The Hub's cache is made of links into its blobs, which are followed.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from mergegraph.errors import InputError, Problem
from mergegraph.tensors.sources.place import Place


def require_inside(folder: Place, path: Place) -> None:
    """InputError for a link that leads out of `folder`, unless it leads into the Hub's cache; and for one that leads
    nowhere. Servers have no links."""
    if not isinstance(folder, Path) or not isinstance(path, Path):
        return
    if leads_nowhere(path):
        raise InputError(nowhere(path))
    if leads_out_of(folder, path):
        target = target_of(path)
        fact = f"{path} is a link that leads out of its folder, to {target}."
        why = "a downloaded model could read any file of this machine that way"
        raise InputError(Problem(fact, why=why, fix=f"name the folder that it leads to: {target.parent}"))


def leads_out_of(folder: Path, path: Path) -> bool:
    """Whether `path` is, or lies behind, a link out of `folder` that does not lead into the Hub's cache."""
    target = target_of(path)
    in_cache = target.parent.name == "blobs" and target.parent.parent.name.startswith("models--")
    return not in_cache and not target.is_relative_to(target_of(folder))


def leads_nowhere(path: Path) -> bool:
    """Whether `path` is a link, and nothing is at its end."""
    return path.is_symlink() and not path.exists()


def end_of(path: Path) -> str:
    """Where a link ends that leads nowhere, in words that follow it."""
    target = target_of(path)
    return "leads back to itself" if target.is_symlink() else f"leads to {target}, which is not there"


def nowhere(path: Path) -> Problem:
    """What to say of a link that leads nowhere."""
    fix = f"rm {shlex.quote(str(path))}\nand download the file again"
    return Problem(f"{path} is a link that leads nowhere.", why=f"it {end_of(path)}", fix=fix)


def target_of(path: Path) -> Path:
    """What is at the end of all links; of those that go in a circle, one of them. Path.resolve() raises a RuntimeError
    there."""
    return Path(os.path.realpath(path))
