"""Any other scheme (`gdrive://`, `ftp://`, `hdfs://`, …), through fsspec and the package that it names for it.

Keyword arguments only, no read-ahead, and every length checked: what fsspec does without is told in docs/remote.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from mergegraph.errors import InputError, Problem
from mergegraph.tensors.sources.location import name_of, scheme_of, shown
from mergegraph.tensors.sources.retry import GaveUp, Lasting, Passing, retrying
from mergegraph.tensors.sources.source import Entry, Names
from mergegraph.tensors.sources.traffic import count

T = TypeVar("T")


class Others:
    """Lists folders through fsspec."""

    def names(self, folder: str) -> Names:
        files, path = _files(folder)
        count(_server(folder), requests=1)
        listed: list[dict[str, Any]] = _tried(folder, lambda: files.ls(path, detail=True))
        return {
            name_of(str(each["name"])): Entry(each.get("size"), _version(each))
            for each in listed
            if each.get("type") == "file"
        }

    def entry(self, location: str) -> Entry | None:
        return None


class OtherFile:
    """Ranges of one file."""

    may_be_kept = True

    def __init__(self, location: str) -> None:
        self.location = location
        self._files, self._path = _files(location)
        count(_server(location), requests=1)
        known: dict[str, Any] = _tried(location, lambda: self._files.info(self._path))
        if not isinstance(known.get("size"), int):
            fix = "download it, and write the path of its folder"
            raise InputError(Problem(f"{shown(location)} has no known length.", fix=fix))
        self.file_bytes: int = known["size"]
        named = f"{scheme_of(location)}:{location.partition('://')[2]}"
        self.identity = f"{named}:bytes={self.file_bytes};v={_version(known)}"

    def read_into(self, offset: int, buffer: memoryview) -> None:
        if len(buffer):
            _tried(self.location, lambda: self._attempt(offset, buffer))

    def _attempt(self, offset: int, buffer: memoryview) -> None:
        server = _server(self.location)
        count(server, requests=1)
        with self._files.open(self._path, mode="rb", block_size=len(buffer), cache_type="none") as file:
            if file.size is not None and file.size != self.file_bytes:
                raise Lasting(f"it has {file.size:,} bytes now, {self.file_bytes:,} were planned", 412)
            file.seek(offset)
            raw: bytes = file.read(len(buffer))
        count(server, body_bytes=len(raw))
        if len(raw) != len(buffer):
            raise Passing(f"{len(raw):,} of {len(buffer):,} bytes came")
        buffer[:] = raw


def _files(location: str) -> tuple[Any, str]:
    """fsspec's file system for a location, and the path in it. InputError names the package that is missing."""
    import fsspec

    core: Any = fsspec
    try:
        return core.url_to_fs(location)
    except (ImportError, ValueError) as error:
        package = _missing_package(error)
        fix = f"pip install {package}, or download" if package else "download"
        raise InputError(
            Problem(f"{shown(location)} cannot be opened: {error}", fix=f"{fix} it, and write the path of its folder")
        ) from error
    except OSError as error:
        fix = "check the address and its credentials, and run the same command again"
        why = error.strerror or type(error).__name__
        raise InputError(Problem(f"{shown(location)} cannot be opened: {why}.", fix=fix)) from error


def _missing_package(error: BaseException) -> str:
    """What to install: packages of file systems are called as their modules are."""
    cause: BaseException | None = error
    while cause is not None and not (isinstance(cause, ImportError) and cause.name):
        cause = cause.__cause__
    return (cause.name or "").partition(".")[0] if isinstance(cause, ImportError) else ""


_WHY: dict[type[Exception], str] = {
    FileNotFoundError: "nothing is there",
    PermissionError: "it may not be read by whoever asks",
    NotImplementedError: "fsspec cannot do that there",
}


def _tried(location: str, attempt: Callable[[], T]) -> T:
    def translated() -> T:
        try:
            return attempt()
        except tuple(_WHY) as error:
            why = next(text for kind, text in _WHY.items() if isinstance(error, kind))
            raise Lasting(why) from error
        except OSError as error:
            raise Passing(error.strerror or type(error).__name__) from error

    try:
        return retrying(_server(location), translated)
    except (GaveUp, Lasting) as failure:
        fix = "check the address and its credentials, and run the same command again"
        raise InputError(Problem(f"{shown(location)} cannot be read: {failure.what}.", fix=fix)) from failure


def _server(location: str) -> str:
    return f"{scheme_of(location)}://" + location.partition("://")[2].partition("/")[0]


def _version(known: dict[str, Any]) -> str:
    """What tells two versions of a file apart, as far as this kind of server says it."""
    for key in ("ETag", "etag", "checksum", "mtime", "modified", "last_modified", "LastModified"):
        if known.get(key) is not None:
            return str(known[key])
    return ""
