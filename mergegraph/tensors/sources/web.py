"""Files of any web server: one .safetensors file, or a folder whose files are found by the names that models have.

A web server lists nothing, so a folder is asked for each name that matters; what its index names is read as well.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from mergegraph.errors import InputError, Problem
from mergegraph.tensors.sources.http import Moved, look, read_range, server_of
from mergegraph.tensors.sources.location import joined, name_of, scheme_of, shown
from mergegraph.tensors.sources.pieces import in_pieces
from mergegraph.tensors.sources.retry import GaveUp, Lasting, Passing, retrying
from mergegraph.tensors.sources.source import Entry, Names

KNOWN_NAMES = (
    "model.safetensors.index.json", "model.safetensors", "diffusion_pytorch_model.safetensors.index.json",
    "diffusion_pytorch_model.safetensors", "consolidated.safetensors.index.json", "consolidated.safetensors",
    "config.json", "generation_config.json", "README.md", "tokenizer.json", "tokenizer_config.json", "tokenizer.model",
    "vocab.json", "vocab.txt", "merges.txt", "special_tokens_map.json", "added_tokens.json", "spiece.model",
    "chat_template.jinja", "preprocessor_config.json", "processor_config.json", "adapter_config.json",
    "adapter_model.safetensors",
)  # fmt: skip
_AT_ONCE = 8
_ABSENT = (404, 410)
_EXPIRED = (400, 401, 403, 404, 410)


class Web:
    """Asks for each of `KNOWN_NAMES`."""

    def names(self, folder: str) -> Names:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            entries = list(pool.map(_entry, [joined(folder, name) for name in KNOWN_NAMES]))
        return {name: entry for name, entry in zip(KNOWN_NAMES, entries, strict=True) if entry is not None}

    def entry(self, location: str) -> Entry | None:
        return None if name_of(location) in KNOWN_NAMES else _entry(location)


def _entry(location: str) -> Entry | None:
    """A file's length and ETag; None where the server has none."""
    try:
        _, headers = retrying(server_of(location), lambda: look(location))
    except Lasting as failure:
        if failure.status in _ABSENT:
            return None
        raise InputError(_refused(location, failure)) from failure
    except GaveUp as failure:
        raise InputError(_unreachable(location, failure)) from failure
    # Servers that list a folder as a page answer for every name.
    if headers.get("content-type", "").startswith("text/html") and not location.endswith(".html"):
        return None
    return Entry(_length(headers.get("content-length")), headers.get("etag", ""))


class WebFile:
    """Ranges of one file, of the version that it was opened at."""

    may_be_kept = True

    def __init__(self, location: str) -> None:
        self.location = location
        try:
            self._address, headers = retrying(server_of(location), lambda: look(location))
        except Lasting as failure:
            raise InputError(_refused(location, failure)) from failure
        except GaveUp as failure:
            raise InputError(_unreachable(location, failure)) from failure
        length = _length(headers.get("content-length"))
        if length is None:
            why = "it gives no Content-Length, so that nothing can be checked"
            raise InputError(Problem(f"{shown(location)} cannot be read by ranges.", why=why, fix=_DOWNLOAD))
        self.file_bytes = length
        self._etag, self._modified = headers.get("etag", ""), headers.get("last-modified", "")
        named = f"{scheme_of(location)}:{location.partition('://')[2]}"
        self.identity = f"{named}:{_version(self._etag, self._modified, length)}"
        self._lock = threading.Lock()

    def read_into(self, offset: int, buffer: memoryview) -> None:
        in_pieces(offset, buffer, self._read)

    def _read(self, offset: int, buffer: memoryview) -> None:
        try:
            retrying(server_of(self.location), lambda: self._attempt(offset, buffer))
        except GaveUp as failure:
            raise InputError(_unreachable(self.location, failure)) from failure
        except Lasting as failure:
            raise InputError(
                _changed(self.location, failure) if failure.status == 412 else _refused(self.location, failure)
            ) from failure

    def _attempt(self, offset: int, buffer: memoryview) -> None:
        address = self._address
        try:
            read_range(address, offset, buffer, self.file_bytes, self._etag, self._modified)
        except Moved as moved:
            self._ask_again(address)
            raise Passing("it redirects what was resolved before", 0.0) from moved
        except Lasting as failure:
            if address == self.location or failure.status not in _EXPIRED:
                raise
            self._ask_again(address)
            raise Passing(f"{failure.what} for an address that was resolved before", 0.0) from failure

    def _ask_again(self, refused_address: str) -> None:
        """Follow the redirects anew, unless another thread has."""
        with self._lock:
            if self._address == refused_address:
                self._address, _ = look(self.location)


def _length(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


def _version(etag: str, modified: str, length: int) -> str:
    if etag:
        return f"etag={etag}"
    return f"modified={modified};bytes={length}" if modified else f"bytes={length}"


_DOWNLOAD = "download it, and write the path of its folder"


def _refused(location: str, failure: Lasting) -> Problem:
    fact = f"{shown(location)} cannot be read: {failure.what}."
    if failure.status == 200:
        why = "the whole file would be sent for every tensor, or another part of it than was asked for"
        return Problem(fact, why=why, fix=_DOWNLOAD)
    if failure.status in (401, 403):
        why = (
            "the server wants to know who asks; addresses with a signature are not taken, since they would be recorded"
        )
        return Problem(
            fact, why=why, fix="for a bucket write s3://, gs:// or az:// with its credentials in the environment"
        )
    return Problem(fact, fix=f"check the address: curl -I {shown(location)}")


def _changed(location: str, failure: Lasting) -> Problem:
    return Problem(
        f"{shown(location)} has changed since it was planned.",
        why=failure.what,
        fix="run the same command again with --overwrite: it begins again with the file as it is now",
    )


def _unreachable(location: str, failure: GaveUp) -> Problem:
    return Problem(
        f"{shown(location)} cannot be read: {urlsplit(location).netloc} does not answer as it should.",
        why=f"{failure.what}, {failure.tries} times in a row",
        fix="run the same command again; what is finished is kept",
    )
