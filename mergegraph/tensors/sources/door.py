"""The one door to files: opens a location, whatever kind it is, and reads ranges of what was opened.

For a path of this machine it is `local_file`, unchanged. Of a server's .safetensors file the first 128 KiB are read at
once, since nearly all headers lie in them; every other file is read as it is asked for.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock

from mergegraph.errors import InputError
from mergegraph.tensors import local_file
from mergegraph.tensors.local_file import LocalFile
from mergegraph.tensors.sources.location import is_remote, scheme_of
from mergegraph.tensors.sources.place import Place, RemotePath, Server
from mergegraph.tensors.sources.source import RangeSource

PROBE_BYTES = 128 << 10
"""97 in 100 headers of the Hub's best known models are shorter."""

_AT_ONCE = 8
_MOST_KNOWN = 4096
_KEPT_BYTES = 64 << 20


class RemoteFile:
    """A file of a server that was opened to be looked at; `LocalFile`'s counterpart."""

    def __init__(self, source: RangeSource) -> None:
        self.path, self.file_bytes, self.identity = source.location, source.file_bytes, source.identity
        self._source = source
        self._head = b""

    def read(self, offset: int, byte_count: int) -> bytes:
        byte_count = max(0, min(byte_count, self.file_bytes - offset))
        if offset + byte_count > len(self._head) and offset < PROBE_BYTES and self.path.endswith(".safetensors"):
            self._head = self._read(0, min(PROBE_BYTES, self.file_bytes)) if not self._head else self._head
        begun = self._head[offset : offset + byte_count]
        return begun + self._read(offset + len(begun), byte_count - len(begun))

    def _read(self, offset: int, byte_count: int) -> bytes:
        buffer = bytearray(byte_count)
        self._source.read_into(offset, memoryview(buffer))
        return bytes(buffer)


@contextmanager
def opened(location: str) -> Generator[LocalFile | RemoteFile, None, None]:
    """A file to read from within the block. OSError for one of this machine, InputError for one of a server."""
    if not is_remote(location):
        with local_file.opened(location) as file:
            yield file
        return
    with _lock:
        prepared = _prepared.pop(location, None)
        # At a commit of the Hub, a file is always the same.
        known = _known.get(location) if location.startswith("hf://") else None
    yield prepared or RemoteFile(known or _remember(open_source(location)))


def read_range(file: LocalFile | RemoteFile, offset: int, byte_count: int) -> bytes:
    """`byte_count` bytes from `offset`; fewer only where the file ended when it was opened, or ends now."""
    if isinstance(file, RemoteFile):
        return file.read(offset, byte_count)
    return local_file.read_range(file, offset, byte_count)


def read_bytes(location: str) -> bytes:
    """A small file, whole. Those of servers are kept while the process lives, as far as 64 MiB go."""
    with opened(location) as file:
        if isinstance(file, LocalFile):
            return local_file.read_range(file, 0, file.file_bytes)
        with _lock:
            known = _small.get((location, file.identity))
        if known is None:
            known = file.read(0, file.file_bytes)
            _keep(location, file.identity, known)
        return known


def read_text(place: Place, errors: str = "strict") -> str:
    """A small file as UTF-8."""
    if isinstance(place, RemotePath):
        return read_bytes(str(place)).decode("utf-8", errors=errors).replace("\r\n", "\n")
    return place.read_text("utf-8", errors=errors)


def read_piece(location: str, offset: int, byte_count: int) -> bytes:
    """`byte_count` bytes of a file that was opened before. OSError or InputError when they cannot be read."""
    if not is_remote(location):
        descriptor = os.open(location, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(descriptor, byte_count, offset)
        finally:
            os.close(descriptor)
    with _lock:
        known = _known.get(location)
    buffer = bytearray(byte_count)
    (known or _remember(open_source(location))).read_into(offset, memoryview(buffer))
    return bytes(buffer)


def prepare(locations: Iterable[str]) -> None:
    """Open several files of servers at once and read where their headers lie, for the next `opened` of each. What is
    wrong with one is said there."""
    wanted = [location for location in locations if is_remote(location)]
    if len(wanted) > 1:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for file in pool.map(_attempted, wanted):
                if file is not None:
                    with _lock:
                        _prepared[file.path] = file


def _attempted(location: str) -> RemoteFile | None:
    try:
        file = RemoteFile(_remember(open_source(location)))
        file.read(0, 8)
    except InputError:
        return None
    return file


def planned_source(location: str, identity: str) -> RangeSource:
    """The file of a server as it was planned: what is open already where that is it, else opened anew."""
    with _lock:
        known = _known.get(location)
    return known if known is not None and known.identity == identity else _remember(open_source(location))


def forget(location: str) -> None:
    """Open a file anew the next time: it lies elsewhere now."""
    with _lock:
        _known.pop(location, None)


def open_source(location: str) -> RangeSource:
    """Opens a file of a server. InputError says why it cannot be."""
    scheme = scheme_of(location)
    if scheme == "hf":
        from mergegraph.tensors.sources.hub_files import open_hub

        return open_hub(location)
    if scheme in ("http", "https"):
        from mergegraph.tensors.sources.web import WebFile

        return WebFile(location)
    from mergegraph.tensors.sources.objects import SCHEMES, ObjectFile
    from mergegraph.tensors.sources.other import OtherFile

    return ObjectFile(location) if scheme in SCHEMES else OtherFile(location)


def server_for(scheme: str) -> Server:
    """What lists the folders of a scheme."""
    if scheme == "hf":
        from mergegraph.tensors.sources.hub import Hub

        return Hub()
    if scheme in ("http", "https"):
        from mergegraph.tensors.sources.web import Web

        return Web()
    from mergegraph.tensors.sources.objects import SCHEMES, Objects
    from mergegraph.tensors.sources.other import Others

    return Objects() if scheme in SCHEMES else Others()


_lock = Lock()
_known: OrderedDict[str, RangeSource] = OrderedDict()
_prepared: dict[str, RemoteFile] = {}
_small: OrderedDict[tuple[str, str], bytes] = OrderedDict()


def _remember(source: RangeSource) -> RangeSource:
    if not source.may_be_kept:
        return source
    with _lock:
        _known[source.location] = source
        while len(_known) > _MOST_KNOWN:
            _known.popitem(last=False)
    return source


def _keep(location: str, identity: str, content: bytes) -> None:
    if len(content) > _KEPT_BYTES // 2:
        return
    with _lock:
        _small[location, identity] = content
        while sum(map(len, _small.values())) > _KEPT_BYTES:
            _small.popitem(last=False)
