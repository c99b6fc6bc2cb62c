"""A statement about an output as it lies there now: it is verified, and every digest computed that can be.

Inputs get a digest where they still lie where the run read them, unchanged. Nothing is stated of an output that is not
as it was written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mergegraph.errors import Problem
from mergegraph.provenance.opening import OpenedOutput
from mergegraph.provenance.record import NOT_COMPUTED, Input, Provenance
from mergegraph.provenance.statement import statement
from mergegraph.provenance.verify import Tick, verify
from mergegraph.tensors.local_file import opened
from mergegraph.tensors.readback import Advance, in_threads, sha256_of
from mergegraph.tensors.sources.location import is_remote


@dataclass(frozen=True, slots=True)
class Attested:
    statement: bytes
    warnings: tuple[Problem, ...]


def attest(path: Path, tick: Tick) -> Attested:
    """Raises what `verify` raises."""
    verified = verify(path, tick, with_sha256=True)
    output = verified.output
    assert output is not None, f"{path} is not finished"
    inputs = _inputs(output)
    unhashed = {index: place for index, place in _places(output) if place is not None}
    reading = [partial(_unchanged_sha256, *place) for place in unhashed.values()]
    total = sum(inputs[index].bytes for index in unhashed)
    digests = in_threads(reading, lambda read: tick(read, total))
    found = {index: digest for index, digest in zip(unhashed, digests, strict=True) if digest != NOT_COMPUTED}
    missing = [inputs[index] for index, _ in _places(output) if index not in found]
    warnings = [
        Problem(
            f"{each.node}/{each.file} is stated without a digest.",
            model=each.model,
            why="it is on a server, and nothing is fetched again: a run with --verify-output computes it"
            if is_remote(each.source)
            else "it is not where the run read it, or has changed since",
            severity="warning",
        )
        for each in missing
    ]
    return Attested(statement(output.provenance, verified.sha256, found), (*verified.warnings, *warnings))


def _inputs(output: OpenedOutput) -> tuple[Input, ...]:
    """Those that may lack a digest: of a conversion, none does."""
    return output.provenance.inputs if isinstance(output.provenance, Provenance) else ()


def _places(output: OpenedOutput) -> Iterator[tuple[int, tuple[str, str] | None]]:
    """(index, (path, identity)) of the inputs without a digest; None where nobody knows where they lay."""
    inputs = _inputs(output)
    for index, each in enumerate(inputs):
        if each.sha256 != NOT_COMPUTED:
            continue
        known = output.run is not None and len(output.run.inputs) == len(inputs)
        yield (
            index,
            (output.run.inputs[index].path, output.run.inputs[index].identity) if known and output.run else None,
        )


def _unchanged_sha256(path: str, identity: str, advance: Advance) -> str:
    if is_remote(path):
        return NOT_COMPUTED
    try:
        with opened(path) as before:
            if before.identity != identity:
                return NOT_COMPUTED
        digest = sha256_of(path, advance)
        with opened(path) as after:
            return digest if after.identity == identity else NOT_COMPUTED
    except OSError:
        return NOT_COMPUTED
