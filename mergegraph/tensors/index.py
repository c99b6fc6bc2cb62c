"""What `model.safetensors.index.json` says, and whether the shards agree.

The index comes from strangers: a shard's name must stay inside the folder, on every system.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from mergegraph.errors import InputError, Problem
from mergegraph.tensors import strict_json
from mergegraph.tensors.header import DEFAULT_HEADER_BYTES, Header, StoredTensor, too_long
from mergegraph.tensors.missing import leads_out
from mergegraph.tensors.sources.door import opened, read_range
from mergegraph.tensors.sources.place import Place
from mergegraph.units import format_count

MOST_INDEX_BYTES = 100_000_000
_SHOWN_NAMES = 3


@dataclass(frozen=True, slots=True)
class Index:
    """`weight_map`: tensor name to file name. `total_size` is unchecked: it is often wrong in the wild."""

    path: Place
    weight_map: Mapping[str, str]
    total_size: object

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(sorted(set(self.weight_map.values())))


def read_index(path: Place, max_bytes: int = DEFAULT_HEADER_BYTES) -> Index:
    """At most `max_bytes` are read. InputError unless it maps tensor names to safetensors files inside its folder."""
    try:
        parsed: object = strict_json.parse(_index_bytes(path, max_bytes), floats=True)
    except ValueError as error:
        raise InputError(Problem(f"{path} is not an index: {error}.", fix="download it again")) from error
    except OSError as error:
        raise InputError(Problem(f"{path} cannot be read: {error.strerror}.", fix="download it again")) from error
    entries = cast("dict[str, Any]", parsed) if isinstance(parsed, dict) else {}
    weight_map = _weight_map(path, entries.get("weight_map"))
    metadata: object = entries.get("metadata")
    total_size = cast("dict[str, object]", metadata).get("total_size") if isinstance(metadata, dict) else None
    return Index(path, weight_map, total_size)


def compare(index: Index, headers: Mapping[str, Header]) -> list[Problem]:
    """Where the index and the shards (`headers` by file name) disagree: lost tensors are errors."""
    held_by = {name: file for file, header in headers.items() for name in header.tensors}
    lost = [name for name, file in index.weight_map.items() if file in headers and name not in headers[file].tensors]
    orphans = [name for name in held_by if name not in index.weight_map]
    problems = [_lost(index, name, held_by.get(name)) for name in lost[:_SHOWN_NAMES]]
    if len(lost) > _SHOWN_NAMES:
        problems.append(Problem(f"{len(lost) - _SHOWN_NAMES} more tensors of {index.path} are not where it says."))
    if orphans:
        problems.append(_orphans(index, orphans))
    return problems + ([] if lost else _total_size(index, headers.values()))


def disagreement(index: Index, sharded: Mapping[str, StoredTensor], single: Header, single_name: str) -> Problem:
    """What to say of a folder that holds the weights twice: an error unless both describe the same tensors."""
    both = f"{index.path.parent} has both {index.path.name} and {single_name}"
    described = {name: (tensor.dtype, tensor.shape) for name, tensor in sharded.items()}
    described_single = {name: (tensor.dtype, tensor.shape) for name, tensor in single.tensors.items()}
    fix = f"move away the one that an earlier save left, or name the file itself: {index.path.parent / single_name}"
    if described == described_single:
        why = "they describe the same tensors; the files of the index are read"
        return Problem(f"{both}.", why=why, fix=fix, severity="warning")
    differing = [name for name in described.keys() & described_single if described[name] != described_single[name]]
    differing += sorted(described.keys() ^ described_single.keys())
    return Problem(f"{both}, and they disagree.", why=f"they differ in {_some(differing)}", fix=fix)


def duplicates(headers: Mapping[str, Header]) -> list[Problem]:
    """Tensors that two files of one checkpoint hold."""
    holder: dict[str, str] = {}
    problems: list[Problem] = []
    for file, header in headers.items():
        for name in header.tensors:
            if name in holder and len(problems) < _SHOWN_NAMES:
                why = "which of the two belongs to the model cannot be told"
                fix = "move away the file that an earlier save left"
                problems.append(Problem(f"{holder[name]} and {file} both hold {name}.", tensor=name, why=why, fix=fix))
            holder[name] = file
    return problems


def _index_bytes(path: Place, max_bytes: int) -> bytes:
    with opened(str(path)) as file:
        if file.file_bytes > MOST_INDEX_BYTES:
            raise ValueError(f"it has {file.file_bytes:,} bytes, at most {MOST_INDEX_BYTES:,} are read")
        if file.file_bytes > max_bytes:
            raise InputError(too_long(str(path), "an index", file.file_bytes, max_bytes))
        return read_range(file, 0, file.file_bytes)


def _weight_map(path: Place, value: object) -> dict[str, str]:
    entries = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    if not entries or not all(isinstance(file, str) for file in entries.values()):
        why = "its weight_map should be an object that gives each tensor's file"
        raise InputError(Problem(f"{path} maps no tensors to files.", why=why, fix="download it again"))
    weight_map = cast("dict[str, str]", entries)
    problems = [_bad_file_name(path, file) for file in sorted(set(weight_map.values())) if not _is_shard_name(file)]
    if problems:
        raise InputError(*problems[:_SHOWN_NAMES])
    return weight_map


def _is_shard_name(file: str) -> bool:
    return file.endswith(".safetensors") and "\0" not in file and not leads_out(file)


def _bad_file_name(path: Place, file: str) -> Problem:
    return Problem(
        f'{path} names the file "{file[:200]}".',
        why="an index may only name .safetensors files inside its own folder",
        fix="do not use this checkpoint unless you know why; its index was made by hand",
    )


def _lost(index: Index, name: str, elsewhere: str | None) -> Problem:
    file = index.weight_map[name]
    why = f"it is in {elsewhere}" if elsewhere else "no file of the index holds it"
    fix = "download the index and all of its files again"
    return Problem(f"{index.path} says {file} holds {name}; it does not.", tensor=name, why=why, fix=fix)


def _orphans(index: Index, orphans: list[str]) -> Problem:
    fact = f"{index.path} leaves out {_some(orphans)}, which its files hold."
    return Problem(fact, why="they are read all the same", tensor=orphans[0], severity="warning")


def _total_size(index: Index, headers: Iterable[Header]) -> list[Problem]:
    stored = sum(tensor.nbytes for header in headers for tensor in header.tensors.values())
    if index.total_size is None or (type(index.total_size) in (int, float) and index.total_size == stored):
        return []
    fact = f"{index.path} gives a total_size of {str(index.total_size)[:40]}; its files hold {stored} bytes."
    return [Problem(fact, why="nothing depends on this number", severity="warning")]


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN_NAMES])
    return shown if len(names) <= _SHOWN_NAMES else f"{format_count(len(names), 'tensor')} ({shown}, …)"
