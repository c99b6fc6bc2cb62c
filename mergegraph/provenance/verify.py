"""Whether a finished output is still what was written: every file, header, index and tensor is read again.

All that differs is told at once. Changes nothing, and needs no more memory for a larger model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from mergegraph.errors import InputError, Problem, RunError
from mergegraph.provenance.opening import OpenedOutput, damaged, is_unfinished, open_output
from mergegraph.provenance.record import NOT_COMPUTED, Provenance, Weights
from mergegraph.provenance.statement import statement
from mergegraph.provenance.unfinished import Verified, extents_of, verify_unfinished
from mergegraph.tensors.completed import PROVENANCE, RUN_RECORD, STATEMENT
from mergegraph.tensors.header import MOST_HEADER_BYTES, Header, parse_header
from mergegraph.tensors.index import compare, read_index
from mergegraph.tensors.local_file import opened, read_range
from mergegraph.tensors.readback import Advance, ReadBack, in_threads, read_back, sha256_of
from mergegraph.units import format_count

_SHOWN = 12
_AGAIN = "copy the output again, or make it again with --overwrite"

Tick = Callable[[int, int], None]
"""Told of bytes read and bytes to read, ten times a second."""


def verify(path: Path, tick: Tick = lambda read, total: None, *, with_sha256: bool = False) -> Verified:
    """Read back the output, or partial output, at `path`. RunError names what is not as it was written; OutputError
    when there is no output.

    `with_sha256`: compute every file's, also where none was recorded.
    """
    if is_unfinished(path):
        return verify_unfinished(path, tick)
    checking = _Checking(open_output(path), with_sha256)
    checking.records()
    checking.headers()
    checking.index()
    checking.contents(tick)
    checking.names()
    errors = [problem for problem in checking.problems if problem.severity == "error"]
    if errors:
        raise RunError(*_few(errors))
    return checking.verified()


@dataclass
class _Checking:
    """One verification; its steps add to `problems`."""

    output: OpenedOutput
    with_sha256: bool
    problems: list[Problem] = field(default_factory=list[Problem])
    readable: dict[str, Header] = field(default_factory=dict[str, Header])
    digests: dict[str, str] = field(default_factory=dict[str, str])
    read_bytes: int = 0

    def records(self) -> None:
        """mergegraph.json itself, and what repeats it."""
        path, provenance, run = self.output.path, self.output.provenance, self.output.run
        if run is None:
            why = "it says when and where the output was made; whether the rest is as written can be told without it"
            self.problems.append(Problem(f"{path / RUN_RECORD} is missing.", why=why, severity="warning"))
        elif run.provenance_sha256 != self.output.sha256:
            self.problems.append(damaged(path / PROVENANCE, f"{RUN_RECORD} gives it another sha256"))
        if isinstance(provenance, Provenance):
            self._recipe(provenance)
        if provenance.is_hashed and (run is None or run.verified):
            self._statement()

    def _recipe(self, provenance: Provenance) -> None:
        if hashlib.sha256(provenance.recipe.encode()).hexdigest() != provenance.recipe_sha256:
            file = self.output.path / PROVENANCE
            self.problems.append(damaged(file, "its recipe has another sha256 than it says"))

    def _statement(self) -> None:
        provenance = self.output.provenance
        digests = {each.file: each.sha256 for each in (*provenance.weights, *provenance.beside)}
        expected = statement(provenance, {**digests, PROVENANCE: self.output.sha256})
        file = self.output.path / STATEMENT
        try:
            with opened(str(file)) as stored:
                content = read_range(stored, 0, len(expected) + 1)
        except OSError as error:
            self.problems.append(_unreadable(file, error))
            return
        if content != expected:
            self.problems.append(damaged(file, f"it says something else than {PROVENANCE}"))

    def headers(self) -> None:
        """Every file of tensors is there, whole, and holds the tensors that were written."""
        for each in self.output.provenance.weights:
            try:
                self.readable[each.file] = self._header(each)
            except InputError as error:
                self.problems += error.problems
        recorded = self.output.provenance.tensors
        held = {name for header in self.readable.values() for name in header.tensors}
        if len(self.readable) == len(self.output.provenance.weights):
            self.problems += [
                _tensor(name, "is in none of the output's files.") for name in recorded if name not in held
            ]
        self.problems += [_tensor(name, f"is not known to {PROVENANCE}.") for name in held if name not in recorded]

    def _header(self, each: Weights) -> Header:
        file = self.output.path / each.file
        if not file.exists():
            why = f"{format_count(each.tensors, 'tensor')} were in it"
            raise InputError(Problem(f"{file} is missing.", why=why, fix=_AGAIN))
        stored_bytes = file.stat().st_size
        if file.is_file() and stored_bytes < each.bytes:
            fact = f"{file} is truncated: it has {stored_bytes:,} of {each.bytes:,} bytes."
            raise InputError(Problem(fact, why="a copy of it stopped early", fix=_AGAIN))
        return parse_header(str(file), MOST_HEADER_BYTES)

    def index(self) -> None:
        """The index names the tensors' files. Its bytes are compared with the other small files."""
        for each in self.output.provenance.beside:
            if each.file.endswith(".safetensors.index.json") and (self.output.path / each.file).exists():
                try:
                    self.problems += compare(read_index(self.output.path / each.file), self.readable)
                except InputError as error:
                    self.problems += error.problems

    def contents(self, tick: Tick) -> None:
        """The bytes of all files."""
        provenance, path = self.output.provenance, self.output.path
        weights = [each for each in provenance.weights if each.file in self.readable]
        beside = [each for each in provenance.beside if self._is_there(each.file)]
        self.read_bytes = sum(each.bytes for each in (*weights, *beside))
        reading = [partial(self._read_weights, each) for each in weights]
        hashing = [partial(self._read_beside, each.file) for each in beside]
        with_total = partial(_told, tick, self.read_bytes)
        for each, found in zip(weights, in_threads(reading, with_total), strict=True):
            self._compare(each, found)
        for each, digest in zip(beside, in_threads(hashing), strict=True):
            self.digests[each.file] = digest
            if digest != each.sha256:
                fact = f"its sha256 is {digest or 'not known: it cannot be read'}, {each.sha256} was written"
                self.problems.append(damaged(path / each.file, fact))
        self.digests[PROVENANCE] = self.output.sha256

    def _is_there(self, file: str) -> bool:
        there = (self.output.path / file).exists()
        if not there:
            self.problems.append(Problem(f"{self.output.path / file} is missing.", fix=_AGAIN))
        return there

    def _read_weights(self, each: Weights, advance: Advance) -> ReadBack | OSError:
        header = self.readable[each.file]
        hashed = self.with_sha256 or each.sha256 != NOT_COMPUTED
        extents = extents_of(header.tensors.values())
        try:
            return read_back(
                str(self.output.path / each.file), header.data_offset, extents, advance, with_sha256=hashed
            )
        except OSError as error:
            return error

    def _read_beside(self, file: str, advance: Advance) -> str:
        try:
            return sha256_of(str(self.output.path / file), advance)
        except OSError:
            return ""

    def _compare(self, each: Weights, found: ReadBack | OSError) -> None:
        file = self.output.path / each.file
        if isinstance(found, OSError):
            self.problems.append(_unreadable(file, found))
            return
        self.digests[each.file] = found.sha256
        recorded = self.output.provenance.tensors
        wrong = [
            _tensor(name, "is not as it was written.", _difference(found, name, recorded[name].xxh3_128, each.file))
            for name in self.readable[each.file].tensors
            if name in recorded and found.checksums.get(name) != recorded[name].xxh3_128
        ]
        if found.header != each.header_xxh3_128:
            wrong.insert(0, damaged(file, "its header has another checksum"))
        if not wrong and each.sha256 not in (NOT_COMPUTED, found.sha256):
            wrong.append(damaged(file, f"its sha256 is {found.sha256}, {each.sha256} was written"))
        self.problems += wrong

    def names(self) -> None:
        """Files that no run wrote do no harm to the others, and are told of."""
        provenance = self.output.provenance
        known = {each.file for each in (*provenance.weights, *provenance.beside)} | {PROVENANCE, RUN_RECORD}
        known |= {STATEMENT} if provenance.is_hashed else set()
        others = sorted(entry.name for entry in self.output.path.iterdir() if entry.name not in known)
        if others:
            shown = ", ".join(others[:_SHOWN]) + (", …" if len(others) > _SHOWN else "")
            fact = f"{self.output.path} holds {format_count(len(others), 'file')} that no run wrote: {shown}."
            why = "whoever put them there knows what they are; they were not looked at"
            self.problems.append(Problem(fact, why=why, severity="warning"))

    def verified(self) -> Verified:
        provenance = self.output.provenance
        return Verified(
            path=self.output.path,
            is_finished=True,
            tensors=len(provenance.tensors),
            tensors_expected=len(provenance.tensors),
            files=len(provenance.weights) + len(provenance.beside) + 1,
            read_bytes=self.read_bytes,
            sha256=dict(self.digests),
            warnings=tuple(self.problems),
            output=self.output,
        )


def _told(tick: Tick, total: int, read: int) -> None:
    tick(read, total)


def _difference(found: ReadBack, name: str, written: str, file: str) -> str:
    if name in found.unread:
        return f"{file} cannot be read there: {found.unread[name]}"
    return f"in {file} its checksum is {found.checksums[name]}, {written} was written"


def _tensor(name: str, what: str, why: str = "") -> Problem:
    return Problem(f"{name[:200]} {what}", tensor=name[:200], why=why, fix=_AGAIN)


def _unreadable(file: Path, error: OSError) -> Problem:
    return Problem(f"{file} cannot be read: {error.strerror}.", fix="check the disk and the permissions")


def _few(problems: list[Problem]) -> Iterator[Problem]:
    """A disk that goes bad takes thousands of tensors with it; the first ones and the number tell as much."""
    yield from problems[:_SHOWN]
    if len(problems) > _SHOWN:
        yield Problem(f"{len(problems) - _SHOWN:,} more are wrong.", fix=_AGAIN)
