"""What the records of a merge and of a conversion have in common: the files that were written, and the run."""

from __future__ import annotations

import datetime
import platform
import socket
from collections.abc import Mapping

import xxhash

from mergegraph.provenance.record import NOT_COMPUTED, Beside, RunInput, RunRecord, Weights, encode
from mergegraph.tensors.layout import Layout
from mergegraph.tensors.writer import SmallFile


def run_record(
    inputs: tuple[RunInput, ...],
    result_id: str,
    provenance_sha256: str,
    *,
    started: float,
    resumed: int,
    verified: bool,
) -> bytes:
    """`provenance_sha256`: of mergegraph.json. `started`: seconds since the epoch."""
    now = datetime.datetime.now(datetime.UTC)
    return encode(
        RunRecord(
            mergegraph_run=1,
            result_id=result_id,
            provenance_sha256=provenance_sha256,
            started=_written(datetime.datetime.fromtimestamp(started, datetime.UTC)),
            finished=_written(now),
            host=socket.gethostname(),
            system=platform.platform(),
            tensors_resumed=resumed,
            verified=verified,
            inputs=inputs,
        )
    )


def weights_of(layout: Layout, sha256: Mapping[str, str]) -> tuple[Weights, ...]:
    """`sha256`: of files by name, where it was computed."""
    return tuple(
        Weights(
            file=file.name,
            bytes=file.file_bytes,
            sha256=sha256.get(file.name, NOT_COMPUTED),
            tensors=len(file.offsets),
            header_xxh3_128=xxhash.xxh3_128_hexdigest(file.header),
        )
        for file in layout.files
    )


def beside_of(layout: Layout, written: Mapping[str, SmallFile]) -> tuple[Beside, ...]:
    """The small files `written` so far, and the index, which the folder writes itself."""
    index = layout.index_json()
    indexed = {} if index is None else {layout.index_name: SmallFile.of(index)}
    return tuple(
        Beside(file=name, bytes=file.file_bytes, sha256=file.sha256)
        for name, file in sorted({**written, **indexed}.items())
    )


def _written(moment: datetime.datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
