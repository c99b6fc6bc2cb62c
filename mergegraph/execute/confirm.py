"""`--verify-output`: what was written is read back from the disk before anything is published.

A write that the system reports as done and did not do is found by nothing else. Computes the sha256 of every file that
was read or written on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import xxhash

from mergegraph.errors import InputError, Problem, RunError
from mergegraph.plan.plan import InputFile, Output
from mergegraph.tensors.checksum import bytes_per_block
from mergegraph.tensors.layout import FileLayout, Layout
from mergegraph.tensors.local_file import opened
from mergegraph.tensors.readback import Advance, Extent, ReadBack, in_threads, read_back, sha256_of
from mergegraph.tensors.sources.digest import remote_sha256
from mergegraph.tensors.sources.location import is_remote
from mergegraph.tensors.writer import OutputFolder
from mergegraph.units import format_count

_SHOWN_TENSORS = 8


@dataclass(frozen=True)
class Confirmed:
    """sha256: of the files of each output by name, of the inputs by path."""

    outputs: tuple[Mapping[str, str], ...]
    inputs: Mapping[str, str] = field(default_factory=dict[str, str])


def confirm(
    outputs: Sequence[Output], folders: Sequence[OutputFolder], inputs: Sequence[InputFile], tick: Callable[[], None]
) -> Confirmed:
    """Compare every tensor on disk with the checksum of what was computed. RunError names those that differ; they are
    taken back, so that the next run computes them again."""
    for folder in folders:
        folder.commit()
    read = [_read(output.layout, folder) for output, folder in zip(outputs, folders, strict=True)]
    counts = [len(jobs) for jobs in read]
    done = in_threads([job for jobs in read for job in jobs], lambda _: tick())
    problems: list[Problem] = []
    found: list[Mapping[str, str]] = []
    for output, folder, count in zip(outputs, folders, counts, strict=True):
        mine, done = done[:count], done[count:]
        problems += _compared(output, folder, mine)
        found.append({file.name: each.sha256 for file, each in zip(output.layout.files, mine, strict=True)})
    if problems:
        raise RunError(*problems)
    digests = in_threads([partial(_input_sha256, file) for file in inputs], lambda _: tick())
    return Confirmed(tuple(found), {file.path: digest for file, digest in zip(inputs, digests, strict=True)})


def confirm_sidecars(folder: OutputFolder, at: Output) -> None:
    """Compare the small files of a folder that is complete but for its name. RunError names those that differ."""
    wrong = [name for name, written in folder.sidecars.items() if _sha256(folder.partial / name) != written.sha256]
    if wrong:
        raise RunError(*[_problem(at, f"{folder.partial / name} is not on disk as it was written.") for name in wrong])


def _sha256(path: Path) -> str:
    """Empty where the file cannot be read."""
    try:
        return sha256_of(str(path), lambda _: None, from_disk=True)
    except OSError:
        return ""


def _read(layout: Layout, folder: OutputFolder) -> list[Callable[[Advance], ReadBack]]:
    return [
        partial(_read_file, str(path), layout, file)
        for path, file in zip(folder.working_paths, layout.files, strict=True)
    ]


def _read_file(path: str, layout: Layout, file: FileLayout, advance: Advance) -> ReadBack:
    extents = [
        Extent(name, offset, layout.specs[name].nbytes, bytes_per_block(layout.specs[name].dtype))
        for name, offset in file.offsets.items()
    ]
    return read_back(path, len(file.header), extents, advance, with_sha256=True, from_disk=True)


def _compared(output: Output, folder: OutputFolder, read: Iterable[ReadBack]) -> list[Problem]:
    """What is wrong in one folder, after it has been taken back."""
    problems: list[Problem] = []
    wrong: list[str] = []
    for file, each in zip(output.layout.files, read, strict=True):
        if each.header != xxhash.xxh3_128_hexdigest(file.header):
            problems.append(_problem(output, f"The header of {file.name} is not on disk as it was written."))
        wrong += [name for name in file.offsets if each.checksums.get(name) != folder.checksums[name]]
    if wrong:
        folder.take_back(wrong)
    shown = [_problem(output, f"{name} is not on disk as it was written.", name) for name in wrong[:_SHOWN_TENSORS]]
    if len(wrong) > _SHOWN_TENSORS:
        others = format_count(len(wrong) - _SHOWN_TENSORS, "more tensor")
        shown.append(_problem(output, f"{others} of {output.path} are not on disk as they were written."))
    return problems + shown


def _problem(output: Output, fact: str, tensor: str = "") -> Problem:
    return Problem(
        fact,
        at=output.at,
        node=output.node,
        tensor=tensor,
        why="the system reported the write as done, and the disk holds other bytes: the disk, its cable or its driver "
        "is at fault",
        fix="run the same command again: it writes what is wrong anew; if that fails too, write to another disk",
    )


def _input_sha256(file: InputFile, advance: Advance) -> str:
    if is_remote(file.path):
        try:
            return remote_sha256(file.path, file.identity, advance)
        except InputError as error:
            raise RunError(*error.problems) from error
    try:
        digest = sha256_of(file.path, advance)
        with opened(file.path) as now:
            identity = now.identity
    except OSError as error:
        raise RunError(_changed(file, f"it cannot be read any more: {error.strerror}")) from error
    if identity != file.identity:
        raise RunError(_changed(file, f"it was {file.identity}, it is {identity}"))
    return digest


def _changed(file: InputFile, why: str) -> Problem:
    return Problem(
        f"{file.path} has changed since it was planned.",
        model=file.reference,
        why=why,
        fix="run the same command again with --overwrite: it begins again with the file as it is now",
    )
