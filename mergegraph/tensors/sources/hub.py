"""Models of the Hugging Face Hub: a revision becomes a commit once, files are listed and opened at that commit.

huggingface_hub answers what is asked of the API, finds tokens, and knows the cache; the bytes of weights are read here
by ranges. A file that is in the cache at that commit is read there. Makes no cache of its own.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from threading import Lock

from mergegraph.errors import InputError
from mergegraph.tensors.sources.hub_errors import asking, no_entry, offline
from mergegraph.tensors.sources.hub_names import HubName, endpoint, hub_name
from mergegraph.tensors.sources.source import Entry, Names

_REMEMBERED_SECONDS = 300.0
_OID = re.compile("[0-9a-f]{64}|[0-9a-f]{40}")

_lock = Lock()
_commits: dict[tuple[str, str, str], tuple[float, str]] = {}


def pinned(name: HubName) -> HubName:
    """The same at its commit. Asked once for all that a command does, so that one model is one commit."""
    if name.is_pinned:
        return name
    key = (endpoint(), name.repo, name.revision)
    with _lock:
        asked, commit = _commits.get(key, (0.0, ""))
    if not commit or time.monotonic() - asked > _REMEMBERED_SECONDS:
        commit = _commit(name)
        with _lock:
            _commits[key] = (time.monotonic(), commit)
    return name.at(commit)


def forget() -> None:
    """Ask again what every revision is."""
    with _lock:
        _commits.clear()


def _commit(name: HubName) -> str:
    from huggingface_hub import HfApi

    if is_offline():
        return _cached_commit(name)
    commit = asking(name, lambda: HfApi(endpoint=endpoint()).model_info(name.repo, revision=name.revision).sha)
    if commit is None or not _OID.fullmatch(commit):
        raise InputError(no_entry(name))
    return commit


def is_offline() -> bool:
    """Whether the Hub may not be asked (`HF_HUB_OFFLINE`)."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


class Hub:
    """Lists folders at a commit."""

    def names(self, folder: str) -> Names:
        name = named(folder)
        if is_offline():
            return _cached_names(name)
        return asking(name, lambda: _tree(name))

    def entry(self, location: str) -> Entry | None:
        return None


def named(location: str) -> HubName:
    """The model, commit and file that a location names."""
    name = hub_name(location)
    assert name is not None, location
    return name


def _tree(name: HubName) -> Names:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    entries = HfApi(endpoint=endpoint()).list_repo_tree(name.repo, name.inside or None, revision=name.revision)
    return {
        entry.path.rpartition("/")[2]: Entry(entry.size, entry.lfs.sha256 if entry.lfs else entry.blob_id)
        for entry in entries
        if isinstance(entry, RepoFile)
    }


def cached_file(name: HubName) -> Path | None:
    """Where the cache has a file at its commit; None where it has not."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name.repo, name.inside, revision=name.revision)
    return Path(found) if isinstance(found, str) else None


def content_of_cached(path: Path) -> str:
    """What names the bytes of a cached file: the cache calls its blobs so. "" where it holds no links."""
    blob = Path(os.path.realpath(path)).name
    return blob if _OID.fullmatch(blob) else ""


def _repository_cache(name: HubName) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{name.repo.replace('/', '--')}"


def _cached_commit(name: HubName) -> str:
    try:
        commit = (_repository_cache(name) / "refs" / name.revision).read_text().strip()
    except OSError:
        raise InputError(offline(name)) from None
    return commit


def _cached_names(name: HubName) -> Names:
    folder = _repository_cache(name) / "snapshots" / name.revision / name.inside
    if not folder.is_dir():
        raise InputError(offline(name))
    return {
        path.name: Entry(path.stat().st_size, content_of_cached(path)) for path in folder.iterdir() if path.is_file()
    }
