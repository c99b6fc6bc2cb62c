"""The records of an output, read from its folder; and what to say of a folder that has none."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from mergegraph.errors import OutputError, Problem, RunError, did_you_mean
from mergegraph.provenance.record import AnyProvenance, Conversion, Provenance, RunRecord, decode
from mergegraph.tensors.completed import PROVENANCE, RUN_RECORD
from mergegraph.tensors.kept import JOURNAL
from mergegraph.tensors.local_file import opened, read_range
from mergegraph.tensors.partial import ATTEMPTS

MOST_RECORD_BYTES = 100_000_000
FORMAT = 2


@dataclass(frozen=True, slots=True)
class OpenedOutput:
    """`sha256` is that of mergegraph.json; `run` is None where mergegraph.run.json is gone."""

    path: Path
    provenance: AnyProvenance
    sha256: str
    run: RunRecord | None


def is_unfinished(path: Path) -> bool:
    """Whether a run has begun to write `path` and has not completed it: it has a journal. So may a finished output have
    a file of that name, from whomever; it is told by its records, and by a name that is final."""
    return (path / JOURNAL).is_file() and (path.name.endswith(".partial") or not is_output(path))


def is_output(path: Path) -> bool:
    """Whether `path` is a folder that says it is an output."""
    return (path / PROVENANCE).exists()


def open_output(path: Path) -> OpenedOutput:
    """OutputError when there is no output of mergegraph at `path`, RunError when its records are damaged."""
    if not is_output(path):
        raise OutputError(_not_an_output(path))
    raw = _content(path / PROVENANCE)
    said = _said(raw)
    _require_known_format(path / PROVENANCE, said)
    try:
        provenance = decode(Conversion, raw) if "converted" in said else decode(Provenance, raw)
    except ValueError as error:
        raise RunError(damaged(path / PROVENANCE, str(error))) from error
    return OpenedOutput(path, provenance, hashlib.sha256(raw).hexdigest(), _run_record(path / RUN_RECORD))


def damaged(file: Path, why: str) -> Problem:
    """A file that the output is known by is not what was written."""
    return Problem(
        f"{file} is not as it was written.", why=why, fix="copy the output again, or make it again with --overwrite"
    )


def _run_record(file: Path) -> RunRecord | None:
    if not file.exists():
        return None
    try:
        return decode(RunRecord, _content(file))
    except ValueError as error:
        raise RunError(damaged(file, str(error))) from error


def _content(file: Path) -> bytes:
    try:
        with opened(str(file)) as record:
            return read_range(record, 0, MOST_RECORD_BYTES)
    except OSError as error:
        fix = "check the disk and the permissions"
        raise RunError(Problem(f"{file} cannot be read: {error.strerror}.", fix=fix)) from error


def _said(raw: bytes) -> dict[str, Any]:
    """A record before anything is known of it; one that is torn says nothing."""
    try:
        document: object = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", document) if isinstance(document, dict) else {}


def _require_known_format(file: Path, said: Mapping[str, Any]) -> None:
    """What another version wrote is not damaged."""
    written = said.get("mergegraph", FORMAT)
    if type(written) is int and written != FORMAT:
        fix = "use the version of mergegraph that made it, or make it again"
        raise OutputError(Problem(f"{file} is in format {written}; this version reads format {FORMAT}.", fix=fix))


def _nearest(path: Path) -> str:
    """The folder beside the one that is missing which may have been meant; else ""."""
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.is_dir()]
    except OSError:
        return ""
    said = did_you_mean(path.name, names)
    return f"Did you mean {path.parent / said[13:-1]}?" if said.startswith("Did you mean ") else ""


def _not_an_output(path: Path) -> Problem:
    partial = path.with_name(f"{path.name}.partial") if path.name else Path(f"{path.absolute()}.partial")
    # Where nothing but parts were made, there is no journal yet.
    for folder in (path, partial) if path.name.endswith(".partial") or not path.exists() else ():
        if (folder / ATTEMPTS).is_dir() and not (folder / JOURNAL).exists():
            why = f"{folder} holds shards that parts of a run made, which are not put together yet"
            return Problem(f"{path} is not finished.", why=why, fix="mergegraph finalize RECIPE, once all are there")
    if not path.exists() and partial.is_dir():
        return Problem(f"{path} is not finished.", why=f"what is there lies in {partial}", fix=f"name {partial}")
    if not path.exists():
        return Problem(f"There is nothing at {path}.", fix=_nearest(path) or "name the folder that a run wrote")
    fix = "name the folder that a run wrote"
    if path.is_dir() and next(path.glob("*.safetensors"), None) is not None:
        fix += f"; of any other model: mergegraph info {shlex.quote(str(path))}"
    return Problem(f"{path} is not an output of mergegraph: it holds no {PROVENANCE}.", fix=fix)
