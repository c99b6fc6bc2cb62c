"""What a person said about reaching models, for the commands of one block: `--local`, `--download`, and that a plan
reads headers only.

Everything else is ambient: tokens and credentials come from the environment and from the files that the tools of each
service write, and are looked up where they are used.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Access:
    """`local`: names such as `org/name` are paths. `download`: files of the Hub go through its cache on disk.
    `headers_only`: no weights are fetched from servers to compare models."""

    local: bool = False
    download: bool = False
    headers_only: bool = False


_access: ContextVar[Access] = ContextVar("access", default=Access())  # noqa: B039 - it is frozen


def access() -> Access:
    """What holds now."""
    return _access.get()


@contextmanager
def accessing(*, local: bool = False, download: bool = False, headers_only: bool = False) -> Generator[None]:
    """What holds inside the block, on this thread."""
    token = _access.set(Access(local, download, headers_only))
    try:
        yield
    finally:
        _access.reset(token)
