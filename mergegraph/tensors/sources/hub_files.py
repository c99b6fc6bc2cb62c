"""One file of the Hub, at a commit: from the cache, or by ranges from where the Hub says that its bytes lie.

That place is asked for once; its address is signed and expires, so it is asked for again when it is refused. The token
goes to the Hub alone, never to the server that holds the bytes.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mergegraph.errors import InputError, Problem
from mergegraph.tensors.local_file import LocalFile, open_local
from mergegraph.tensors.sources.http import Moved, read_range, server_of
from mergegraph.tensors.sources.hub import cached_file, content_of_cached, is_offline, named
from mergegraph.tensors.sources.hub_errors import asking, no_entry, offline, refused, unreachable
from mergegraph.tensors.sources.hub_names import HubName, endpoint
from mergegraph.tensors.sources.pieces import in_pieces
from mergegraph.tensors.sources.retry import GaveUp, Lasting, Passing, retrying
from mergegraph.tensors.sources.source import RangeSource
from mergegraph.tensors.sources.traffic import count

_EXPIRED = (400, 401, 403, 404, 410)
"""What servers say of a signed address whose time is over."""


def open_hub(location: str) -> RangeSource:
    """The file at `hf://org/name@COMMIT/path`. InputError when it is not there, or not for you."""
    name = named(location)
    cached = cached_file(name)
    content = content_of_cached(cached) if cached is not None else ""
    if cached is not None and content:
        return CachedFile(location, cached, _identity(name, content))
    if is_offline():
        raise InputError(offline(name))
    place = _Place.of(name)
    identity = _identity(name, place.content)
    if cached is not None:
        return CachedFile(location, cached, identity)
    return HubFile(location, name, place, identity)


def _identity(name: HubName, content: str) -> str:
    """Names the bytes, wherever they are read: the same for a file in the cache."""
    kind = "sha256" if len(content) == 64 else "git"
    return f"hf:{name.repo}@{name.revision}:{name.inside}:{kind}={content}"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the bytes lie for now. `token` is what the server there is to be shown, if it is the Hub itself."""

    address: str = field(repr=False)
    file_bytes: int
    content: str
    token: str | None = field(repr=False)

    @classmethod
    def of(cls, name: HubName) -> _Place:
        import huggingface_hub
        from huggingface_hub import constants, get_token, hf_hub_url

        library: Any = huggingface_hub

        url = hf_hub_url(name.repo, name.inside, revision=name.revision, endpoint=endpoint())
        token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
        count(server_of(endpoint()), requests=1)
        found: Any = asking(name, lambda: library.get_hf_file_metadata(url, token=token or False, endpoint=endpoint()))
        if found.size is None or found.etag is None:
            raise InputError(no_entry(name))
        is_hub = server_of(found.location) == server_of(endpoint())
        return cls(found.location, found.size, found.etag, token if is_hub else None)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


class HubFile:
    """Ranges of a file that lies on a server of the Hub."""

    may_be_kept = True

    def __init__(self, location: str, name: HubName, place: _Place, identity: str) -> None:
        self.location, self.file_bytes, self.identity = location, place.file_bytes, identity
        self._name, self._place = name, place
        self._lock = threading.Lock()

    def read_into(self, offset: int, buffer: memoryview) -> None:
        in_pieces(offset, buffer, self._read)

    def _read(self, offset: int, buffer: memoryview) -> None:
        server = server_of(self._place.address)
        try:
            retrying(server, lambda: self._attempt(offset, buffer))
        except GaveUp as failure:
            raise InputError(unreachable(self._name, failure.what, failure.tries, server)) from failure
        except Lasting as failure:
            raise InputError(refused(self._name, failure.what, server)) from failure

    def _attempt(self, offset: int, buffer: memoryview) -> None:
        place = self._place
        try:
            read_range(place.address, offset, buffer, self.file_bytes, headers=place.headers)
        except Moved as moved:
            self._ask_again(place)
            raise Passing("it redirects what was resolved before", 0.0) from moved
        except Lasting as failure:
            if failure.status not in _EXPIRED:
                raise
            self._ask_again(place)
            raise Passing(f"{failure.what} for an address that was resolved before", 0.0) from failure

    def _ask_again(self, refused_place: _Place) -> None:
        """Resolve anew, unless another thread has."""
        with self._lock:
            if self._place is refused_place:
                self._place = _Place.of(self._name)
                if (self._place.file_bytes, self._place.content) != (refused_place.file_bytes, refused_place.content):
                    raise Lasting("it now names other bytes for the same commit")


class CachedFile:
    """A file that the Hub's cache has at its commit; open as long as somebody has it."""

    may_be_kept = False

    def __init__(self, location: str, path: Path, identity: str) -> None:
        self.location, self.identity = location, identity
        try:
            self._file: LocalFile = open_local(str(path))
        except OSError as error:
            fix = "delete it from the cache (`hf cache delete`), and run the same command again"
            raise InputError(Problem(f"{path} cannot be read: {error.strerror}.", fix=fix)) from error
        self.file_bytes = self._file.file_bytes

    def read_into(self, offset: int, buffer: memoryview) -> None:
        done = 0
        while done < len(buffer):
            got = os.preadv(self._file.descriptor, [buffer[done:]], offset + done)
            if got == 0:
                fix = "delete it from the cache (`hf cache delete`), and run the same command again"
                raise InputError(Problem(f"{self._file.path} ended early.", why="it was truncated", fix=fix))
            done += got

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file.descriptor)
