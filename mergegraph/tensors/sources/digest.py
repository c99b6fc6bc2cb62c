"""The sha256 of a whole file of a server, and what its server promised that it is."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

from mergegraph.errors import InputError, Problem
from mergegraph.tensors.sources.door import planned_source

_PIECE_BYTES = 8 << 20
_PROMISED = re.compile(r"hf:.*:sha256=([0-9a-f]{64})", re.DOTALL)


def promised_sha256(identity: str) -> str:
    """What the Hub says that a file's sha256 is; "" where nobody does."""
    matched = _PROMISED.fullmatch(identity)
    return matched[1] if matched else ""


def remote_sha256(location: str, identity: str, advance: Callable[[int], None]) -> str:
    """Read the whole file. InputError where it is not what was planned, or not what its server promised."""
    source = planned_source(location, identity)
    if source.identity != identity:
        why = f"it was {identity}, it is {source.identity}"
        raise InputError(Problem(f"{location} has changed since it was planned.", why=why, fix=_AGAIN))
    whole = hashlib.sha256()
    buffer = memoryview(bytearray(min(_PIECE_BYTES, max(source.file_bytes, 1))))
    for offset in range(0, source.file_bytes, _PIECE_BYTES):
        piece = buffer[: min(_PIECE_BYTES, source.file_bytes - offset)]
        source.read_into(offset, piece)
        whole.update(piece)
        advance(len(piece))
    digest, promised = whole.hexdigest(), promised_sha256(identity)
    if promised and digest != promised:
        why = f"its sha256 is {digest}, the Hub promises {promised}: it was changed on the way"
        raise InputError(Problem(f"{location} did not arrive as it is stored.", why=why, fix=_AGAIN))
    return digest


_AGAIN = "run the same command again with --overwrite"
