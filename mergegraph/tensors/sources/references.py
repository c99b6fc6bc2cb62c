"""From what a person writes for a model to its place: on the Hub at a commit, on another server, or on this machine.

What begins with `./`, `/` or `~` is a path. `org/name` is an id of the Hub, never a folder that happens to be there:
where one is, the person says which is meant. Everything else is a path.
"""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path

from mergegraph.errors import InputError, Problem
from mergegraph.tensors.sources.access import access
from mergegraph.tensors.sources.door import server_for
from mergegraph.tensors.sources.hub_names import HubName, hub_name, looks_like_id
from mergegraph.tensors.sources.location import is_remote, joined, refuse_malformed, refuse_secrets, scheme_of
from mergegraph.tensors.sources.place import Listings, RemotePath

_OLD_SPELLINGS = {"http": "http", "gcs": "gs", "adl": "az", "azure": "az", "s3a": "s3", "s3n": "s3"}


def remote_place(reference: str, folder: Path, subfolder: str | None = None) -> RemotePath | None:
    """Where a reference leads on a server; None where it is a path. InputError when it can be neither."""
    if is_remote(reference):
        return _of_uri(reference, subfolder)
    if access().local or not looks_like_id(reference):
        return None
    if _is_here(reference, folder):
        raise InputError(_ambiguous(reference))
    name = hub_name(reference)
    assert name is not None, reference
    try:
        return _of_hub(name, subfolder)
    except InputError as error:
        near = _near(reference, folder)
        if not near:
            raise
        problems = [replace(problem, fix=f"did you mean {near}, which is here?") for problem in error.problems]
        raise InputError(*problems) from error.__cause__


def _near(reference: str, folder: Path) -> str:
    """`./models/llama` for `models/lama`, where that is here; "" where nothing of the kind is."""
    owner, _, name = reference.partition("/")
    try:
        names = [entry.name for entry in (folder / owner).iterdir()]
    except OSError:
        return ""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"./{owner}/{close[0]}" if close else ""


def _of_uri(reference: str, subfolder: str | None) -> RemotePath:
    refuse_secrets(reference)
    refuse_malformed(reference)
    name, scheme = hub_name(reference), scheme_of(reference)
    if scheme == "hf" and name is not None and name.repo.startswith(("datasets/", "spaces/")) and name.inside:
        kind = name.repo.partition("/")[0].removesuffix("s")
        raise InputError(Problem(f'"{reference}" is a {kind} of the Hub, and no model.', fix="write hf://org/name"))
    if name is not None:
        return _of_hub(name, subfolder)
    if scheme == "hf":
        fix = "write hf://org/name, hf://org/name@revision or hf://org/name@revision/folder"
        raise InputError(Problem(f'"{reference}" is no address of the Hub.', fix=fix))
    if not reference.partition("://")[2].strip("/"):
        fix = f"write the whole address: {scheme}://…/MODEL"
        raise InputError(Problem(f'"{reference}" names no model.', why=f"nothing follows {scheme}://", fix=fix))
    known = _OLD_SPELLINGS.get(scheme, scheme)
    location = f"{known}://{reference.partition('://')[2]}".rstrip("/")
    if subfolder:
        location = joined(location, subfolder.strip("/"))
    return RemotePath(location, Listings(server_for(known)))


def _of_hub(name: HubName, subfolder: str | None) -> RemotePath:
    from mergegraph.tensors.sources.hub import pinned

    if "/" not in name.repo:
        raise InputError(_without_owner(name))
    if subfolder:
        name = HubName(name.repo, name.revision, "/".join(filter(None, (name.inside, subfolder.strip("/")))))
    return RemotePath(pinned(name).location, Listings(server_for("hf")))


def _is_here(reference: str, folder: Path) -> bool:
    try:
        return (folder / reference).exists()
    except OSError:
        return False


def _ambiguous(reference: str) -> Problem:
    return Problem(
        f'"{reference}" may be a folder here, or a model of the Hub.',
        why="a folder of this name is there, and org/name is how a model of the Hub is written",
        fix=f"write ./{reference} for the folder, or hf://{reference} for the Hub; or --local, for paths alone",
    )


def _without_owner(name: HubName) -> Problem:
    return Problem(
        f'"hf://{name.repo}" names no owner.',
        why="models of the Hub are org/name; those of its first years have theirs too, such as openai-community/gpt2",
        fix=f"look for it at https://huggingface.co/models?search={name.repo}, and write hf://org/{name.repo}",
    )
