"""Whether what the journal of a partial output says to be on disk is there. Looks at nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from mergegraph.errors import InputError, Problem, RunError
from mergegraph.provenance.opening import OpenedOutput
from mergegraph.tensors.checksum import bytes_per_block
from mergegraph.tensors.header import MOST_HEADER_BYTES, Header, StoredTensor, parse_header
from mergegraph.tensors.kept import JOURNAL, recorded
from mergegraph.tensors.readback import Advance, Extent, ReadBack, in_threads, read_back

_SHOWN = 12
_AGAIN = "run the same command again with --overwrite: it begins again"


@dataclass(frozen=True)
class Verified:
    """What was found to be as it was written. `tensors` were read back, of `tensors_expected`.

    `sha256`: of files by name, where computed. `output` is None for one that is not finished.
    """

    path: Path
    is_finished: bool
    tensors: int
    tensors_expected: int
    files: int
    read_bytes: int
    sha256: Mapping[str, str] = field(default_factory=dict[str, str])
    warnings: tuple[Problem, ...] = ()
    output: OpenedOutput | None = None


def extents_of(tensors: Iterable[StoredTensor]) -> list[Extent]:
    return [Extent(each.name, each.offset, each.nbytes, bytes_per_block(each.dtype)) for each in tensors]


def recorded_tensors(path: Path) -> dict[str, str]:
    """The checksums of the tensors that the journal of a partial output speaks of."""
    try:
        records = recorded(path)
    except OSError as error:
        raise RunError(Problem(f"{path / JOURNAL} cannot be read: {error.strerror}.")) from error
    return {str(record["tensor"]): str(record.get("checksum")) for record in records}


def verify_unfinished(path: Path, tick: Callable[[int, int], None]) -> Verified:
    """RunError names the tensors of a partial output that are not on disk as the journal says."""
    written = recorded_tensors(path)
    headers, problems = _headers(path)
    held = {name for header in headers.values() for name in header.tensors}
    problems += [_problem(name, "the journal speaks of it, no file holds it") for name in written if name not in held]
    wanted = {file: [x for x in header.tensors.values() if x.name in written] for file, header in headers.items()}
    total = sum(each.nbytes for tensors in wanted.values() for each in tensors)
    reading = [partial(_read, str(file), tensors) for file, tensors in wanted.items() if tensors]
    for found in in_threads(reading, lambda read: tick(read, total)):
        for name, checksum in found.checksums.items():
            if checksum != written[name]:
                problems.append(_problem(name, f"its checksum is {checksum}, {written[name]} was written"))
        problems += [_problem(name, why) for name, why in found.unread.items()]
    if problems:
        more = [Problem(f"{len(problems) - _SHOWN:,} more are wrong.", fix=_AGAIN)] if len(problems) > _SHOWN else []
        raise RunError(*problems[:_SHOWN], *more)
    return Verified(path, False, len(written), len(held), len(headers), total)


def _headers(path: Path) -> tuple[dict[Path, Header], list[Problem]]:
    headers: dict[Path, Header] = {}
    problems: list[Problem] = []
    for file in sorted(path.iterdir()):
        if file.name.endswith((".safetensors", ".safetensors.incomplete")):
            try:
                headers[file] = parse_header(str(file), MOST_HEADER_BYTES)
            except InputError as error:
                problems += error.problems
    return headers, problems


def _read(path: str, tensors: list[StoredTensor], advance: Advance) -> ReadBack:
    try:
        return read_back(path, 0, extents_of(tensors), advance, with_sha256=False)
    except OSError as error:
        return ReadBack("", "", {}, {each.name: error.strerror or "" for each in tensors})


def _problem(name: str, why: str) -> Problem:
    return Problem(f"{name[:200]} is not as it was written.", tensor=name[:200], why=why, fix=_AGAIN)
