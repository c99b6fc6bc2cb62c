"""Links in a model's folder: one that leads elsewhere would let a downloaded model read any file of the machine.

The Hub's cache is made of links into its blobs, which are followed.
"""

from __future__ import annotations

import os
from pathlib import Path

from mergegraph.errors import InputError, Problem


def require_inside(folder: Path, path: Path) -> None:
    """InputError for a link that leads out of `folder`, unless it leads into the Hub's cache."""
    # Path.resolve() raises a RuntimeError for a link to itself; reading that one says what is wrong.
    target = Path(os.path.realpath(path))
    in_cache = target.parent.name == "blobs" and target.parent.parent.name.startswith("models--")
    if not in_cache and not target.is_relative_to(os.path.realpath(folder)):
        fact = f"{path} is a link that leads out of its folder, to {target}."
        why = "a downloaded model could read any file of this machine that way"
        raise InputError(Problem(fact, why=why, fix=f"name the folder that it leads to: {target.parent}"))
