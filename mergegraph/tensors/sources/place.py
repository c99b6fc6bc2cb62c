"""A file or a folder of a server, used where a `Path` of this machine is used: joined, listed, read whole.

It is no `os.PathLike`: whatever would look for it on this machine fails at once, and finds no other file of that name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeAlias

from mergegraph.tensors.sources.location import joined, name_of, parent_of
from mergegraph.tensors.sources.source import Entry, Names

FILE_SUFFIXES = (
    ".safetensors",
    ".json",
    ".bin",
    ".pt",
    ".pth",
    ".ckpt",
    ".gguf",
    ".pkl",
    ".model",
    ".txt",
    ".yaml",
    ".yml",
)


class Server(Protocol):
    """Lists folders of one kind of server."""

    def names(self, folder: str) -> Names:
        """The files of a folder. InputError when it cannot be listed."""
        ...

    def entry(self, location: str) -> Entry | None:
        """A file that is in no listing; None where listings tell all, or it is not there."""
        ...


class Listings:
    """The folders of a server that were listed, each once."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._names: dict[str, Names] = {}
        self._entries: dict[str, Entry | None] = {}

    def names(self, folder: str) -> Names:
        if folder not in self._names:
            self._names[folder] = self._server.names(folder)
        return self._names[folder]

    def entry(self, location: str) -> Entry | None:
        listed = self.names(parent_of(location)).get(name_of(location))
        if listed is None and location not in self._entries:
            self._entries[location] = self._server.entry(location)
        return listed or self._entries.get(location)


@dataclass(frozen=True)
class RemotePath:
    """A place on a server. Files are told from folders by their suffix."""

    location: str
    listings: Listings

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(joined(self.location, name), self.listings)

    def __str__(self) -> str:
        return self.location

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and other.location == self.location

    def __hash__(self) -> int:
        return hash(self.location)

    @property
    def name(self) -> str:
        return name_of(self.location)

    @property
    def suffix(self) -> str:
        dot = self.name.rfind(".")
        return self.name[dot:] if dot > 0 else ""

    @cached_property
    def parent(self) -> RemotePath:
        return RemotePath(parent_of(self.location), self.listings)

    def is_dir(self) -> bool:
        return not self.location.lower().endswith(FILE_SUFFIXES)

    def is_file(self) -> bool:
        return not self.is_dir() and self.entry is not None

    def exists(self) -> bool:
        return self.is_dir() or self.entry is not None

    def is_symlink(self) -> bool:
        return False

    @property
    def entry(self) -> Entry | None:
        """What the server says of this file; None where it is not there."""
        return self.listings.entry(self.location)

    def iterdir(self) -> Iterator[RemotePath]:
        """The files of this folder; folders in it are not listed."""
        return (self / name for name in self.listings.names(self.location))

    def glob(self, pattern: str) -> Iterator[RemotePath]:
        """Folders of a server are not searched."""
        return iter(())


Place: TypeAlias = Path | RemotePath


def is_there(place: Place) -> bool:
    """Whether something stands at a place, a link that leads nowhere included."""
    return place.exists() or place.is_symlink()


def file_bytes_of(place: Place) -> int:
    """How long a file is. OSError when it is not there."""
    if isinstance(place, RemotePath):
        entry = place.entry
        return 0 if entry is None or entry.file_bytes is None else entry.file_bytes
    return place.stat().st_size
