"""A finished folder becomes objects of a bucket: weights first, the index and `mergegraph.json` last.

Each file is one multipart upload, so no reader sees a part of it; `mergegraph.json` is put with `If-None-Match: *`, so
of two runs one finishes. While an upload goes on a mark says whose it is: without one of this very result nothing that
is there is replaced unasked. What an earlier try has put already is known by its ETag and not sent again. An upload
that fails is aborted; one whose process was killed stays in the bucket, unseen, until a lifecycle rule removes it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from mergegraph.errors import InputError, OutputError, Problem
from mergegraph.tensors.completed import PROVENANCE, RUN_RECORD
from mergegraph.tensors.sources.location import joined
from mergegraph.tensors.sources.objects import Objects, bucket_and_key, obstore, server_name, store_of, tried
from mergegraph.tensors.sources.retry import Lasting
from mergegraph.tensors.sources.source import Entry, Names
from mergegraph.tensors.sources.traffic import count

UPLOADING = "mergegraph.upload.json"
"""Put first and deleted last: the result that the objects beside it are of."""

_PART_BYTES = 8 << 20
"""S3 takes 5 MiB and more, and at most 10,000 parts."""

_MOST_PARTS = 9_000
_AT_ONCE = 4


def standing_at(destination: str) -> Names:
    """What lies directly below a prefix. InputError when it cannot be listed."""
    return Objects().names(destination)


def result_id_at(destination: str, names: Names) -> str:
    """The result id of the finished output there; "" where none is."""
    return _result_id_in(destination, RUN_RECORD) if {PROVENANCE, RUN_RECORD} <= names.keys() else ""


def upload_id_at(destination: str, names: Names) -> str:
    """The result id of the output whose upload was begun there and not finished; "" where none was."""
    return _result_id_in(destination, UPLOADING) if UPLOADING in names else ""


def _result_id_in(destination: str, name: str) -> str:
    store, key = store_of(destination), bucket_and_key(joined(destination, name))[1]
    count(server_name(destination), requests=1)
    raw: Any = tried(destination, lambda: obstore().get(store, key).bytes())
    return _result_id(bytes(raw))


def _result_id(record: bytes) -> str:
    try:
        said: Any = json.loads(record)
    except (ValueError, RecursionError):
        return ""
    return str(cast("dict[str, object]", said).get("result_id", "")) if isinstance(said, dict) else ""


def deliver(folder: Path, destination: str, *, overwrite: bool, tick: Callable[[], None]) -> None:
    """Put every file of `folder` below `destination`. OutputError where anything but a stopped upload of this very
    output is there and is not to be overwritten, or when another output was finished there meanwhile."""
    files = _ordered([path for path in folder.iterdir() if path.is_file()])
    result_id = _result_id((folder / RUN_RECORD).read_bytes())
    there = standing_at(destination)
    if not overwrite and result_id and result_id_at(destination, there) == result_id:
        return
    _claim(destination, there, result_id, overwrite=overwrite)
    if PROVENANCE in there:
        # While files are replaced, what lies there is nobody's finished output.
        _delete(destination, [PROVENANCE])
        del there[PROVENANCE]
    for path in files:
        tick()
        if not _is_same(path, there.get(path.name)):
            _put(path, destination, creates=path.name == PROVENANCE)
    if overwrite:
        _delete(destination, [name for name in there if name not in {path.name for path in files} and _is_models(name)])
    # Beside a finished output the mark says nothing more, so one that may not be deleted is no failure.
    with suppress(InputError):
        _delete(destination, [UPLOADING])


def _claim(destination: str, there: Names, result_id: str, *, overwrite: bool) -> None:
    """Say in the bucket that this output is being put there. OutputError where what is there is not of it."""
    if not overwrite and there:
        if PROVENANCE in there or not result_id or upload_id_at(destination, there) != result_id:
            raise OutputError(_came_meanwhile(destination, sorted(there)))
        return
    mark = json.dumps({"result_id": result_id}).encode()
    store, key = store_of(destination), bucket_and_key(joined(destination, UPLOADING))[1]
    more: dict[str, Any] = {} if overwrite else {"mode": "create"}

    def attempt() -> None:
        count(server_name(destination), requests=1)
        obstore().put(store, key, mark, **more)

    try:
        tried(joined(destination, UPLOADING), attempt)
    except InputError as error:
        # A try whose reply was lost has put it all the same.
        if not _exists(error):
            raise OutputError(*error.problems) from error.__cause__
        if upload_id_at(destination, standing_at(destination)) != result_id:
            raise OutputError(_came_meanwhile(destination, [UPLOADING])) from error


def _came_meanwhile(destination: str, names: Collection[str]) -> Problem:
    why = f"no upload of this output has left what lies there now: {', '.join(list(names)[:4])}"
    return Problem(f"The output exists: {destination}", why=why, fix="--overwrite, or another path with -o")


def _exists(error: InputError) -> bool:
    return isinstance(error.__cause__, Lasting) and error.__cause__.status == 409


def _ordered(paths: Collection[Path]) -> list[Path]:
    """By when they are put: what makes a model of them comes last."""

    def rank(path: Path) -> int:
        if path.name in (RUN_RECORD, PROVENANCE):
            return 3 if path.name == RUN_RECORD else 4
        return 2 if path.name.endswith(".index.json") else 0 if path.suffix == ".safetensors" else 1

    return sorted(paths, key=lambda path: (rank(path), path.name))


def part_bytes(file_bytes: int) -> int:
    """How long the parts of a file's upload are."""
    mebibytes = math.ceil(file_bytes / _MOST_PARTS / (1 << 20))
    return max(_PART_BYTES, mebibytes << 20)


def _put(path: Path, destination: str, *, creates: bool) -> None:
    location = joined(destination, path.name)
    store, key = store_of(destination), bucket_and_key(location)[1]
    file_bytes = path.stat().st_size
    chunk = part_bytes(file_bytes)
    more: dict[str, Any] = {"mode": "create"} if creates else {"chunk_size": chunk, "max_concurrency": _AT_ONCE}

    def attempt() -> None:
        count(server_name(destination), requests=max(1, math.ceil(file_bytes / chunk)))
        obstore().put(store, key, path, **more)

    try:
        tried(location, attempt)
    except InputError as error:
        if _exists(error):
            why = "another run finished it while this one went on"
            raise OutputError(Problem(f"{location} exists.", why=why, fix="--overwrite, or another path")) from error
        raise OutputError(*error.problems) from error.__cause__


def _is_same(path: Path, there: Entry | None) -> bool:
    """Whether the object has the bytes of a file, as far as S3's ETag says it."""
    if there is None or there.file_bytes != path.stat().st_size:
        return False
    return there.content.strip('"') == _etag(path)


def _etag(path: Path) -> str:
    """MD5 of the bytes, or of the MD5s of the parts, as S3 makes them of an upload without a key of one's own."""
    chunk = part_bytes(path.stat().st_size)
    digests: list[bytes] = []
    with path.open("rb") as file:
        while piece := file.read(chunk):
            digests.append(hashlib.md5(piece, usedforsecurity=False).digest())
    if len(digests) <= 1:
        return digests[0].hex() if digests else hashlib.md5(b"", usedforsecurity=False).hexdigest()
    return f"{hashlib.md5(b''.join(digests), usedforsecurity=False).hexdigest()}-{len(digests)}"


def _delete(destination: str, names: Collection[str]) -> None:
    store = store_of(destination)
    keys = [bucket_and_key(joined(destination, name))[1] for name in names]
    if keys:
        count(server_name(destination), requests=1)
        tried(destination, lambda: obstore().delete(store, keys))


def _is_models(name: str) -> bool:
    """What an output of mergegraph writes; other objects are left alone."""
    return name.endswith((".safetensors", ".safetensors.index.json")) or name.startswith("mergegraph.")
