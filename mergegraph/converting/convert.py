"""A pickled checkpoint becomes a safetensors folder: the same tensors, names and bits.

The files are opened by a child process; this one takes names and plain bytes from it, and writes them as a merge
writes its tensors: in a partial folder, journaled, renamed at the end. Run again after a stop, it goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from mergegraph.converting.contents import Held, aliases, compare_index, held_tensors, tied_aliases
from mergegraph.converting.sources import Pickled, Sources, choose, examine, require_unchanged
from mergegraph.converting.worker import Worker
from mergegraph.errors import InputError, Interrupted, OutputError, Problem, RunError
from mergegraph.methods.save import Save
from mergegraph.plan.sidecars import MODEL_FILES, TOKENIZER_FILES, matching_files, not_copied
from mergegraph.provenance.record import Conversion, PickledInput, RunInput, Stored, encode
from mergegraph.provenance.writing import beside_of, run_record, weights_of
from mergegraph.tensors import strict_json
from mergegraph.tensors.checksum import block_digests, bytes_per_block, tensor_checksum
from mergegraph.tensors.completed import PROVENANCE, RUN_RECORD, completed, damage
from mergegraph.tensors.foreign import converted_path
from mergegraph.tensors.layout import Layout, lay_out
from mergegraph.tensors.local_file import opened, read_range
from mergegraph.tensors.partial import is_partial, refuse_existing
from mergegraph.tensors.writer import OutputFolder
from mergegraph.units import format_count

OLDEST_TORCH = (2, 10)
_BLOCKS_PER_READ = 16
_MOST_CONFIG_BYTES = 10_000_000
_SHOWN = 8
_BESIDE = ("config.json", "adapter_config.json", *MODEL_FILES, *TOKENIZER_FILES)


@dataclass(frozen=True)
class Converted:
    """What stands at `path`: how many tensors in how many bytes and files, and what a person should know.

    `resumed`: tensors of an earlier, stopped conversion. `already_done`: the folder was complete before this one.
    """

    path: Path
    tensors: int
    file_bytes: int
    files: int
    resumed: int
    warnings: tuple[Problem, ...]
    already_done: bool = False


@dataclass(frozen=True)
class _Reading:
    """What the pickled files hold: of `tensors`, `left_out` heads are not written."""

    files: tuple[Pickled, ...]
    tensors: Mapping[str, Held]
    tied: Mapping[str, str]
    answers: tuple[Mapping[str, Any], ...]

    @property
    def written(self) -> list[Held]:
        return [held for name, held in self.tensors.items() if name not in self.tied]


def convert(source: Path, output: Path | None = None, *, key: str | None = None, overwrite: bool = False) -> Converted:
    """Write the checkpoint at `source` as a safetensors folder. InputError when it is refused; nothing is left then.

    `key`: where in the pickle the tensors are, when that is not where training programs keep them. Where the same
    conversion stands at the output already, nothing is written.
    """
    require_torch(version("torch"))
    started = time.time()
    sources = choose(source)
    final = output or converted_path(source)
    _refuse_place(final, sources)
    earlier = None if overwrite else _finished(final)
    if earlier is None:
        refuse_existing(final.absolute(), overwrite)
    files = tuple(examine(path) for path in sources.files)
    with Worker(max(file.file_bytes for file in files)) as worker:
        reading = _read(worker, sources, files, key)
        result_id = _result_id(reading, sources, key)
        layout = lay_out(
            [held.spec for held in reading.written],
            Save(input="", path="").max_shard_bytes,
            _metadata(files),
            sources.stem,
        )
        warnings = (*_confinement(worker.unconfined), *_said(sources, reading))
        if earlier == result_id:
            return Converted(final, len(layout.specs), layout.file_bytes, len(layout.files), 0, warnings, True)
        identities = {str(file.path): file.identity for file in files}
        engine = version("mergegraph")
        with OutputFolder.open(
            final, layout, result_id=result_id, engine=engine, inputs=identities, overwrite=overwrite
        ) as folder:
            resumed = len(folder.finished)
            with _telling(folder, len(layout.specs)):
                _write(worker, reading, layout, folder, key)
            for file in files:
                require_unchanged(file)
            for name, content in _sidecars(sources):
                folder.write_sidecar(name, content)
            versions = {"mergegraph": engine, "torch": worker.torch_version}
            folder.write_sidecar(PROVENANCE, encode(_provenance(reading, key, versions, layout, folder)))
            folder.write_sidecar(RUN_RECORD, _run_record(files, result_id, folder, started, resumed))
            folder.finalize()
            folder.publish()
    return Converted(final, len(layout.specs), layout.file_bytes, len(layout.files), resumed, warnings)


def _refuse_place(final: Path, sources: Sources) -> None:
    """OutputError where the output would take the place of its source, or of another output."""
    real = Path(os.path.realpath(final))
    held = next((path for path in sources.files if real in Path(os.path.realpath(path)).parents), None)
    if held is not None:
        fact, why = f"{final} holds what is to be converted: {held}.", "an output replaces all that is in its folder"
    elif is_partial(final.absolute()) or is_partial(real):
        fact, why = f"{final} cannot be an output folder.", "names that end in .partial are for what is not finished"
    else:
        return
    raise OutputError(Problem(fact, why=why, fix=f"leave -o out: {converted_path(sources.folder or sources.files[0])}"))


def _finished(final: Path) -> str | None:
    """The result id of what is complete at `final`, every file of its length; None without one."""
    there = completed(final)
    return there.result_id if there is not None and not damage(final, there) else None


def require_torch(installed: str) -> None:
    """RunError for a torch whose restricted unpickler is known to be unsafe."""
    numbers = tuple(int("".join(filter(str.isdigit, part)) or 0) for part in installed.split("+")[0].split(".")[:2])
    if numbers < OLDEST_TORCH:
        oldest = ".".join(map(str, OLDEST_TORCH))
        fact = f"Converting a pickle needs torch {oldest} or newer; {installed} is installed."
        why = "its restricted unpickler was unsafe before: CVE-2025-32434 below 2.6, CVE-2026-24747 below 2.10"
        raise RunError(Problem(fact, why=why, fix=f"pip install 'torch>={oldest}'"))


def _read(worker: Worker, sources: Sources, files: tuple[Pickled, ...], key: str | None) -> _Reading:
    """What all files hold together, before anything is made."""
    answers = tuple(worker.open(str(file.path), key) for file in files)
    tensors = held_tensors([(str(file.path), answer) for file, answer in zip(files, answers, strict=True)])
    compare_index(sources.weight_map, tensors)
    if not tensors:
        raise InputError(Problem(f"{sources.files[0]} holds no tensors.", fix="name the checkpoint itself"))
    return _Reading(files, tensors, tied_aliases(tensors, _config(sources.folder)), answers)


def _write(worker: Worker, reading: _Reading, layout: Layout, folder: OutputFolder, key: str | None) -> None:
    """Every tensor that is not on disk yet, file by file."""
    for index, file in enumerate(reading.files):
        wanted = [h for h in reading.written if h.file == index and h.spec.name not in folder.finished]
        if not wanted:
            continue
        if len(reading.files) > 1 and worker.open(str(file.path), key) != reading.answers[index]:
            require_unchanged(file)
        worker.send(held.spec.name for held in wanted)
        for held in wanted:
            _write_tensor(worker, held, folder)


@contextmanager
def _telling(folder: OutputFolder, tensors: int) -> Generator[None]:
    """A signal that ends the writing is told with what is kept."""
    try:
        yield
    except (KeyboardInterrupt, Interrupted) as stopped:
        kept = len(folder.checksums)
        fact = f"Stopped: {kept:,} of {tensors:,} tensors are on disk."
        why = f"they are kept in {folder.partial}" if kept else "nothing was finished yet, so nothing is kept"
        by_system = isinstance(stopped, Interrupted)
        raise Interrupted(Problem(fact, why=why, fix="run the same command again"), by_system=by_system) from stopped


def _write_tensor(worker: Worker, held: Held, folder: OutputFolder) -> None:
    spec, block = held.spec, bytes_per_block(held.spec.dtype)
    step = block * _BLOCKS_PER_READ
    digests: list[bytes] = []
    with memoryview(bytearray(min(step, spec.nbytes))) as buffer:
        for offset in range(0, spec.nbytes, step):
            piece = buffer[: min(step, spec.nbytes - offset)]
            worker.read_into(piece)
            folder.write(spec.name, offset, piece)
            digests.append(block_digests(piece, block))
    folder.tensor_done(spec.name, tensor_checksum(digests))


def _sidecars(sources: Sources) -> Iterator[tuple[str, bytes]]:
    """Configuration and tokenizer as they are; code never travels."""
    if sources.folder is None:
        return
    for path in _beside(sources.folder):
        if not_copied(sources.folder, path) is None:
            try:
                yield path.name, path.read_bytes()
            except OSError as error:
                raise RunError(Problem(f"{path} cannot be read: {error.strerror}.", fix="check the disk")) from error


def _beside(folder: Path) -> list[Path]:
    return [path for path in matching_files(folder, _BESIDE) if path.suffix != ".py"]


def _config(folder: Path | None) -> Mapping[str, Any]:
    """config.json, for what it ties; one that is not copied, or cannot be understood, ties nothing."""
    if folder is None or not_copied(folder, folder / "config.json") is not None:
        return {}
    try:
        with opened(str(folder / "config.json")) as file:
            config: object = strict_json.parse(read_range(file, 0, _MOST_CONFIG_BYTES), floats=True)
    except (OSError, ValueError):
        return {}
    return cast("dict[str, Any]", config) if isinstance(config, dict) else {}


def _metadata(files: Sequence[Pickled]) -> dict[str, str]:
    return {"mergegraph.converted": "from pickle, sha256 " + ", ".join(file.sha256 for file in files)}


def _result_id(reading: _Reading, sources: Sources, key: str | None) -> str:
    """What the bytes of the output depend on: the input's files, which of their tensors are taken, and what lies beside
    them."""
    files = [(file.path.name, file.sha256) for file in reading.files]
    beside = [(name, hashlib.sha256(content).hexdigest()) for name, content in _sidecars(sources)]
    parts = [files, sources.stem, key, [held.spec.name for held in reading.written], beside]
    return hashlib.sha256(json.dumps(["convert", *parts]).encode()).hexdigest()


def _provenance(
    reading: _Reading, key: str | None, versions: Mapping[str, str], layout: Layout, folder: OutputFolder
) -> Conversion:
    """Of a folder whose other files are written."""
    return Conversion(
        mergegraph=2,
        converted="from pickle",
        versions=dict(versions),
        key=key,
        inputs=tuple(PickledInput(file=x.path.name, bytes=x.file_bytes, sha256=x.sha256) for x in reading.files),
        tied=dict(reading.tied),
        weights=weights_of(layout, {}),
        beside=beside_of(layout, folder.sidecars),
        tensors={name: Stored(xxh3_128=checksum) for name, checksum in folder.checksums.items()},
    )


def _run_record(files: Sequence[Pickled], result_id: str, folder: OutputFolder, started: float, resumed: int) -> bytes:
    inputs = tuple(RunInput(path=str(file.path), identity=file.identity) for file in files)
    itself = folder.sidecars[PROVENANCE].sha256
    return run_record(inputs, result_id, itself, started=started, resumed=resumed, verified=False)


def _confinement(unconfined: Sequence[str]) -> Iterator[Problem]:
    for what in unconfined:
        fact = f"The process that opened the pickle could not be {what}."
        why = "it builds nothing but tensors all the same; this would have been a second lock"
        yield Problem(fact, why=why, severity="warning")


def _said(sources: Sources, reading: _Reading) -> Iterator[Problem]:
    """What was taken from where, and everything that was not."""
    for file, answer in zip(reading.files, reading.answers, strict=True):
        left_out = [str(each) for each in answer["left_out"]]
        if answer["under"]:
            fact = f'{file.path.name} keeps the model under "{answer["under"]}", and it was taken from there.'
            why = f"beside it, and left out: {_some(left_out)}" if left_out else ""
            yield Problem(fact, why=why, severity="warning")
        elif left_out:
            fact = f"{file.path.name} holds entries that are no tensors, and they were left out."
            yield Problem(fact, why=_some(left_out), severity="warning")
    for name, embedding in reading.tied.items():
        fact = f"{name} is {embedding}, and config.json ties them: it was written once."
        yield Problem(fact, severity="warning")
    twice = [name for name in aliases(reading.tensors) if name not in reading.tied]
    if twice:
        fact = f"{format_count(len(twice), 'tensor')} shared storage with another, and each was written by itself."
        yield Problem(fact, why=_some(twice), severity="warning")
    if sources.others:
        fact = f"{sources.folder} holds pickled files that were not read: {_some(sources.others)}."
        yield Problem(fact, severity="warning")
    if sources.folder:
        yield from filter(None, (not_copied(sources.folder, path) for path in _beside(sources.folder)))
    if sources.folder and (code := [path.name for path in matching_files(sources.folder, ("*.py",))]):
        fact = f"Code was not copied: {_some(code)}."
        yield Problem(fact, why="convert neither runs nor passes on what came with a pickle", severity="warning")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
