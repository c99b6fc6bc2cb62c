"""What a person writes for a model of the Hub, and the location that it becomes once its commit is known.

`org/name`, `org/name@rev`, `hf://org/name[@rev][/folder or file]`, or the address of its page. A revision is a branch,
a tag or a commit. One with slashes is taken after `org/name@`; in an address only where it begins `refs/`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from urllib.parse import unquote, urlsplit

from mergegraph.tensors.sources.location import fault_of_address, scheme_of
from mergegraph.tensors.sources.place import FILE_SUFFIXES, Place, RemotePath

_WORD = r"[A-Za-z0-9][\w.-]*"
_ID = re.compile(rf"(?P<repo>{_WORD}/{_WORD})(?:@(?P<revision>[\w./-]+))?", re.ASCII)
_URI = re.compile(
    rf"hf://(?:models/(?=[^/]+/[^/]+))?(?P<repo>{_WORD}(?:/{_WORD})?)"
    r"(?:@(?P<revision>refs/(?:pr|convert)/[\w.-]+|[^/@]+))?(?:/(?P<inside>.*))?",
    re.ASCII,
)
_PAGE = re.compile(
    rf"/(?P<repo>{_WORD}/{_WORD})(?:/(?:tree|blob|resolve)/(?P<revision>[^/]+)(?:/(?P<inside>.*))?)?/?", re.ASCII
)
_COMMIT = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class HubName:
    """A model of the Hub; `inside` is a folder or a file of it, "" for all. `revision` is as it was written."""

    repo: str
    revision: str = "main"
    inside: str = ""

    @property
    def location(self) -> str:
        """`hf://org/name@rev/inside`."""
        revision = self.revision.replace("/", "%2F")
        return f"hf://{self.repo}@{revision}" + (f"/{self.inside}" if self.inside else "")

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit, and can mean nothing else tomorrow."""
        return _COMMIT.fullmatch(self.revision) is not None

    def at(self, commit: str) -> HubName:
        return replace(self, revision=commit)


def endpoint() -> str:
    """The Hub's address, or that of a mirror (`HF_ENDPOINT`)."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"


def looks_like_id(reference: str) -> bool:
    """Whether a plain reference has the form of an id: one slash, and neither `./`, `/` nor `~` before it. What ends as
    files do is a file."""
    return _ID.fullmatch(reference) is not None and not reference.lower().endswith(FILE_SUFFIXES)


def meant_for_hub(reference: str) -> str:
    """How to write the model of the Hub that may be meant by what was taken for a path; "" where none can be."""
    if re.fullmatch(_WORD, reference, re.ASCII):
        known = "openai-community/gpt2" if reference.lower() == "gpt2" else f"org/{reference}"
        return f"a model of the Hub is written with its owner: {known}"
    if reference.endswith("@") and _ID.fullmatch(reference[:-1]):
        return f"a model of the Hub is written {reference[:-1]}, or {reference}REVISION"
    if _ID.fullmatch(reference) and not looks_like_id(reference):
        return f"what ends as files do is taken for one; a model of the Hub with this name is hf://{reference}"
    return ""


def hub_name(reference: str) -> HubName | None:
    """The model that a reference names; None for what has none of the forms."""
    scheme = scheme_of(reference)
    if scheme == "hf":
        found = _URI.fullmatch(reference)
    elif scheme in ("http", "https"):
        if fault_of_address(reference):
            return None
        is_hub = urlsplit(reference).netloc in (urlsplit(endpoint()).netloc, "huggingface.co", "hf.co")
        found = _PAGE.fullmatch(urlsplit(reference).path) if is_hub else None
    else:
        found = _ID.fullmatch(reference)
    if found is None:
        return None
    parts = found.groupdict()
    revision, inside = parts["revision"] or "main", (parts.get("inside") or "").strip("/")
    return HubName(parts["repo"], unquote(revision), inside)


def commit_of(location: str) -> str:
    """The commit of a location on the Hub; "" of any other."""
    name = hub_name(location) if scheme_of(location) == "hf" else None
    return name.revision if name is not None and name.is_pinned else ""


def moved_commits(before: Iterable[str], now: Iterable[str]) -> list[str]:
    """`org/name: it was COMMIT, now it is COMMIT`, for each model that two sets of locations have at other commits."""
    commits = [{name.repo: name.revision for each in paths if (name := _pinned(each))} for paths in (before, now)]
    return [
        f"{repo}: it was {commits[0][repo]}, now it is {commit}"
        for repo, commit in commits[1].items()
        if commits[0].get(repo, commit) != commit
    ]


def _pinned(location: str) -> HubName | None:
    return hub_name(location) if commit_of(location) else None


def hub_ids(place: Place) -> tuple[str, ...]:
    """`org/name` of a place on the Hub, or below `models--org--name` of its cache; empty for any other."""
    if isinstance(place, RemotePath):
        name = hub_name(place.location)
        return (name.repo,) if name is not None and scheme_of(place.location) == "hf" else ()
    cached = [part.removeprefix("models--") for part in place.parts if part.startswith("models--")]
    return tuple(part.replace("--", "/") for part in cached if part.count("--") == 1)
