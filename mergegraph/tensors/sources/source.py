"""What every kind of server gives: a file of known length and identity, of which ranges are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class RangeSource(Protocol):
    """One file of a server, as it was when it was opened.

    `identity` says which bytes they are: `hf:org/name@COMMIT:PATH:sha256=…`, `https:URL:etag=…`, `s3:URL:etag=…;v=…`.
    """

    location: str
    file_bytes: int
    identity: str
    may_be_kept: bool
    """Whether it holds nothing open, and may stay for whoever reads the file next."""

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from byte `offset`: all of it, of the file that `identity` names, or InputError. Any number of
        threads may read at once."""
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in a listing. `file_bytes` is None where the server did not say; `content` names its bytes, or is ""."""

    file_bytes: int | None
    content: str = ""


Names = dict[str, Entry]
"""What a folder of a server holds directly: file name to entry."""
