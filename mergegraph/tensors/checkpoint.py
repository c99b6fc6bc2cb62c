"""What a model reference holds: its files, tensors, configuration and space, read from headers alone.

A checkpoint is a folder in the layout of transformers, diffusers or Mistral, or one .safetensors file; on this machine,
on the Hub, or on another server.
Opening one reads no weights; everything that is wrong with it is said at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ParamSpec, TypeVar, cast

from mergegraph.errors import InputError, Location, Problem, raise_errors
from mergegraph.expr import Space
from mergegraph.tensors import foreign, strict_json
from mergegraph.tensors.block_scales import scaled_in_blocks, unquantised
from mergegraph.tensors.header import DEFAULT_HEADER_BYTES, Header, StoredTensor, parse_header
from mergegraph.tensors.index import Index, compare, disagreement, duplicates, read_index
from mergegraph.tensors.links import require_inside
from mergegraph.tensors.missing import find
from mergegraph.tensors.model_files import choose_files, shard_of
from mergegraph.tensors.sources.door import opened, prepare, read_range
from mergegraph.tensors.sources.location import shown
from mergegraph.tensors.sources.place import Place, is_there
from mergegraph.units import format_count

SPACE_KEY = "mergegraph.space"
MOST_CONFIG_BYTES = 10_000_000
_CONFIG_FIX = "correct it, or copy the config.json of the model that this one was tuned from"
_UNREADABLE_FIX = "put a file that you may read in its place, such as the config.json of what the model was tuned from"

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class StoredFile:
    """A file of a checkpoint. `path` is a path or the location on a server; `identity` says which file it was when its
    header was read: `file:<dev>,<ino>,<size>,<mtime_ns>`, `hf:…`, `https:…`, `s3:…`."""

    path: str
    file_bytes: int
    identity: str


@dataclass(frozen=True)
class Checkpoint:
    """A model as stored. `reference` is what the user wrote; sidecar files lie in `folder`.

    `tensors` is in storage order: file by file, then by offset. `config` is config.json, empty without one.
    """

    reference: str
    folder: Place
    is_folder: bool
    files: tuple[StoredFile, ...]
    tensors: Mapping[str, StoredTensor]
    config: Mapping[str, Any]
    space: Space
    warnings: tuple[Problem, ...]


def open_checkpoint(
    reference: str, folder: Path, subfolder: str | None = None, *, max_header_bytes: int = DEFAULT_HEADER_BYTES
) -> Checkpoint:
    """The model at `reference`; relative to `folder`, with `~` expanded. InputError with all problems found.

    No header or index above `max_header_bytes` is read.
    """
    try:
        path = find(reference, folder, subfolder)
        opening = _open_folder if path.is_dir() else _open_file
        return opening(reference, path, max_header_bytes)
    except InputError as error:
        raise InputError(*_of_model(reference, error.problems)) from error.__cause__


@dataclass
class _Findings:
    """Collects the problems of parts that fail one by one."""

    problems: list[Problem] = field(default_factory=list[Problem])

    def attempt(self, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """The result of a step, or None and its problems kept."""
        try:
            return step(*args, **kwargs)
        except InputError as error:
            self.problems += error.problems
            return None


def _open_folder(reference: str, folder: Place, max_header_bytes: int) -> Checkpoint:
    findings = _Findings()
    names = _names(folder)
    chosen = choose_files(folder, names)
    index = _index(folder, chosen.index, max_header_bytes) if chosen.index else None
    files = index.files if index else chosen.files
    headers = _headers(folder, files, index, max_header_bytes, findings)
    if index and len(headers) == len(files):
        findings.problems += compare(index, headers)
    if index and chosen.single and chosen.single not in files and len(headers) == len(files):
        findings.problems += _twice(index, headers, chosen.single, max_header_bytes, findings)
    findings.problems += _left_unread(folder, [name for name in chosen.others if name not in files])
    if "adapter_config.json" in names:
        why = "an adapter lies beside the weights; merge it into them first if it is part of the model"
        findings.problems.append(Problem(f"{folder} has an adapter_config.json.", why=why, severity="warning"))
    return _checkpoint(reference, folder, True, headers, findings)


def _open_file(reference: str, path: Place, max_header_bytes: int) -> Checkpoint:
    if path.name.startswith("adapter_model."):
        raise InputError(foreign.adapter(path.parent))
    if foreign.is_pickled_weights(path.name):
        raise InputError(foreign.pickled(path))
    if path.suffix == ".gguf":
        raise InputError(foreign.gguf(str(path)))
    if path.suffix == ".json":
        raise InputError(Problem(f"{path} holds no weights.", fix=f"name the model's folder: {path.parent}"))
    findings = _Findings()
    shard = shard_of(path.name)
    if shard and shard[1] > 1:
        fact = f"{path.name} is file {shard[0]} of the {shard[1]} of its model; the others are not read."
        findings.problems.append(Problem(fact, fix=f"name the folder: {path.parent}", severity="warning"))
    header = findings.attempt(parse_header, str(path), max_header_bytes)
    return _checkpoint(reference, path.parent, False, {path.name: header} if header else {}, findings)


def _checkpoint(
    reference: str, folder: Place, is_folder: bool, headers: Mapping[str, Header], findings: _Findings
) -> Checkpoint:
    """The record, once every part is found good. InputError with all problems otherwise."""
    tensors = {name: tensor for header in headers.values() for name, tensor in header.tensors.items()}
    # A server that gives no header is not asked for more.
    config = findings.attempt(_read_config, folder) or {} if headers or isinstance(folder, Path) else {}
    quantised = foreign.quantised(config, tensors)
    if quantised and not findings.problems and (folded := scaled_in_blocks(tensors, config)) is not None:
        tensors, config, quantised = folded, unquantised(config), None
    findings.problems += [quantised] if quantised else []
    findings.problems += duplicates(headers)
    findings.problems += [warning for header in headers.values() for warning in header.warnings]
    space = findings.attempt(_space, headers)
    if headers and not tensors:
        findings.problems.append(Problem(f"{', '.join(headers)} in {folder} holds no tensors."))
    warnings = raise_errors(_of_model(reference, findings.problems), InputError)
    return Checkpoint(
        reference=reference,
        folder=folder,
        is_folder=is_folder,
        files=tuple(StoredFile(str(folder / f), header.file_bytes, header.identity) for f, header in headers.items()),
        tensors=MappingProxyType(tensors),
        config=MappingProxyType(config),
        space=space or "weights",
        warnings=warnings,
    )


def _index(folder: Place, name: str, max_bytes: int) -> Index:
    require_inside(folder, folder / name)
    return read_index(folder / name, max_bytes)


def _headers(
    folder: Place, files: Iterable[str], index: Index | None, max_header_bytes: int, findings: _Findings
) -> dict[str, Header]:
    """The headers of all files that can be read, by file name."""
    headers: dict[str, Header] = {}
    prepare(str(folder / name) for name in files)
    for name in files:
        header = findings.attempt(_header, folder, name, index, max_header_bytes)
        if header:
            headers[name] = header
    return headers


def _header(folder: Place, name: str, index: Index | None, max_header_bytes: int) -> Header:
    path = folder / name
    if not is_there(path):
        held = sum(file == name for file in index.weight_map.values()) if index else 0
        why = f"{index.path.name} says that it holds {format_count(held, 'tensor')}" if index else ""
        raise InputError(Problem(f"{path} is missing.", why=why, fix="download the missing file"))
    require_inside(folder, path)
    return parse_header(str(path), max_header_bytes)


def _twice(
    index: Index, headers: Mapping[str, Header], single: str, max_header_bytes: int, findings: _Findings
) -> list[Problem]:
    header = findings.attempt(_header, index.path.parent, single, index, max_header_bytes)
    sharded = {name: tensor for shard in headers.values() for name, tensor in shard.tensors.items()}
    return [disagreement(index, sharded, header, single)] if header else []


def _left_unread(folder: Place, names: list[str]) -> list[Problem]:
    if not names:
        return []
    shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    why = "they do not belong to the model by their names; an earlier save may have left them"
    return [Problem(f"{folder} holds files that are not read: {shown}.", why=why, severity="warning")]


def _read_config(folder: Place) -> dict[str, Any]:
    path = folder / "config.json"
    if not is_there(path):
        return {}
    require_inside(folder, path)
    try:
        with opened(str(path)) as file:
            if file.file_bytes > MOST_CONFIG_BYTES:
                raise ValueError(f"it has {file.file_bytes:,} bytes, at most {MOST_CONFIG_BYTES:,} are read")
            raw = read_range(file, 0, file.file_bytes)
        strict_json.check_cost(raw)
        config: object = json.loads(strict_json.decode(raw))
    except json.JSONDecodeError as error:
        why = f"{error.msg}, at column {error.colno}"
        at = Location(str(path), error.lineno)
        raise InputError(Problem(f"{path} is not JSON.", at=at, why=why, fix=_CONFIG_FIX)) from error
    except (ValueError, RecursionError) as error:
        raise InputError(Problem(f"{path} is not JSON: {error}.", at=Location(str(path)), fix=_CONFIG_FIX)) from error
    except OSError as error:
        raise InputError(Problem(f"{path} cannot be read: {error.strerror}.", fix=_UNREADABLE_FIX)) from error
    if not isinstance(config, dict):
        raise InputError(Problem(f"{path} is not a JSON object.", at=Location(str(path), 1), fix=_CONFIG_FIX))
    return cast("dict[str, Any]", config)


def _space(headers: Mapping[str, Header]) -> Space:
    """What the files' metadata say; a file that says nothing holds weights."""
    stated = {name: header.metadata.get(SPACE_KEY, "weights") for name, header in headers.items()}
    said = set(stated.values())
    if len(said) > 1 or said - {"weights", "delta"}:
        why = ", ".join(f"{name}: {space}" for name, space in list(stated.items())[:5])
        raise InputError(Problem(f"The files disagree whether they hold weights or a delta ({SPACE_KEY}).", why=why))
    return "delta" if said == {"delta"} else "weights"


def _names(folder: Place) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError as error:
        fix = "give a folder that you may read"
        raise InputError(Problem(f"{folder} cannot be read: {error.strerror}.", fix=fix)) from error


def _of_model(reference: str, problems: Iterable[Problem]) -> tuple[Problem, ...]:
    return tuple(replace(problem, model=problem.model or shown(reference)) for problem in problems)
