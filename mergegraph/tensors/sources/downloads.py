"""Files of the Hub put into its cache on disk, each compared with the sha256 that the Hub promises.

The library checks no sha256 of what it downloads over plain HTTP (huggingface_hub 2.4), so it is done here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mergegraph.errors import InputError, Problem
from mergegraph.tensors.readback import sha256_of
from mergegraph.tensors.sources.digest import promised_sha256
from mergegraph.tensors.sources.door import forget
from mergegraph.tensors.sources.hub import cached_file, is_offline, named
from mergegraph.tensors.sources.hub_errors import asking
from mergegraph.tensors.sources.hub_names import endpoint
from mergegraph.tensors.sources.location import scheme_of


def download_inputs(identities: Mapping[str, str]) -> None:
    """Download what the cache lacks. `identities`: location to identity; what is not of the Hub is left alone.
    InputError when a file cannot be had, or did not arrive as it is stored: then it is removed."""
    for location, identity in identities.items():
        if scheme_of(location) == "hf" and not is_offline() and cached_file(named(location)) is None:
            _download(location, identity)
            forget(location)


def _download(location: str, identity: str) -> None:
    import huggingface_hub

    library: Any = huggingface_hub
    name = named(location)
    path = asking(
        name, lambda: library.hf_hub_download(name.repo, name.inside, revision=name.revision, endpoint=endpoint())
    )
    promised = promised_sha256(identity)
    digest = sha256_of(path, lambda _: None)
    if promised and digest != promised:
        Path(os.path.realpath(path)).unlink(missing_ok=True)
        Path(path).unlink(missing_ok=True)
        why = f"its sha256 is {digest}, the Hub promises {promised}; it was removed from the cache"
        fix = "run the same command again"
        raise InputError(Problem(f"{location} did not arrive as it is stored.", why=why, fix=fix))
